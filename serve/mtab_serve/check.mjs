// Under Node: why the model of a site may not answer, or null, as a line of JSON.

import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/`);
const read = async (name) => new Uint8Array(await readFile(new URL(name, folder)));
const site = JSON.parse(new TextDecoder().decode(await read("site.json")));
const { module, binary } = site.runtimes.wasm;
const ort = await import(new URL(module, folder));
const { openModel, refusal } = await import(new URL("model.mjs", folder));
ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = (await read(binary)).buffer;
const model = await openModel(ort, site, read, "wasm");
console.log(JSON.stringify(refusal(await model.difference(), site.self_test)));
