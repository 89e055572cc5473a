// The model, apart from the page, so that the page never stands still.

import { openModel, refusal } from "./model.mjs";
import { InputError } from "./preprocess.mjs";

const MAX_THREADS = 4;

let site, model;

async function read(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: the server answers ${response.status}, expected the file`);
  const { size } = site.files[name] || site.later[name], bytes = new Uint8Array(size);
  let done = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { value } = await reader.read();
    if (!value) break;
    if (done + value.length <= size) bytes.set(value, done);
    done += value.length;
    postMessage({ loaded: value.length });
  }
  if (done !== size) throw new Error(`${name}: ${done} bytes, expected ${size}; load this page again`);
  return bytes;
}

const calls = {
  /** Open the model on a backend; the one before stays where this is refused. */
  async open({ backend, ...rest }) {
    site = rest.site;
    if (backend === "webgpu" && !(await navigator.gpu?.requestAdapter()))
      throw new Error("WebGPU is refused: this browser finds no GPU for it");
    const { module, binary } = site.runtimes[backend];
    const ort = await import(`./${module}`);
    const threads = self.crossOriginIsolated ? Math.min(MAX_THREADS, navigator.hardwareConcurrency) : 1;
    if (!ort.env.wasm.wasmBinary) {
      ort.env.logLevel = "error";
      ort.env.wasm.numThreads = threads;
      ort.env.wasm.wasmBinary = (await read(binary)).buffer;
    }
    const opened = await openModel(ort, site, read, backend);
    const reason = refusal(await opened.difference(), site.self_test);
    if (reason) {
      await opened.release();
      throw new Error(`${backend === "wasm" ? "WebAssembly" : "WebGPU"} is refused: ${reason}`);
    }
    await model?.release();
    model = opened;
    return { threads };
  },
  answer: ({ utterance, samples, text }) => model.answer(utterance, samples, text),
  attend: ({ samples, text }) => model.attend(samples, text),
};

// One after the other: a session computes one at a time.
let before = Promise.resolve();
self.onmessage = ({ data: { id, call, ...rest } }) => {
  before = before.then(async () => {
    try {
      postMessage({ id, value: await calls[call](rest) });
    } catch (error) {
      const message = String(error?.message ?? error).split("\n")[0];
      postMessage({ id, error: message, input: error instanceof InputError });
    }
  });
};
