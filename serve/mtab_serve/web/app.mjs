// The page: a recording and its words in, probabilities out.

import { decode, record } from "./audio.mjs";
import { InputError, SAMPLE_RATE } from "./preprocess.mjs";
import { draw } from "./waveform.mjs";

// The colours of a timeline's page, by label.
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#b8b200"];
const NAMES = { wasm: "WebAssembly", webgpu: "WebGPU" };

const $ = (id) => document.getElementById(id);
const site = await (await fetch("site.json")).json();
const hears = site.modalities.includes("audio"), reads = site.modalities.includes("text");
// What is to be answered: the recording's name and samples, mono at 16 kHz; and what was answered of it.
let clip = null, answered = null, attention = null, recording = null;

// The model in its worker.
const worker = new Worker("worker.mjs", { type: "module" });
const waiting = new Map();
let calls = 0, toLoad = 0, loaded = 0;

function ask(call, values = {}) {
  return new Promise((resolve, reject) => {
    waiting.set(++calls, { resolve, reject });
    worker.postMessage({ id: calls, call, ...values });
  });
}

worker.onmessage = ({ data }) => {
  if (data.loaded) {
    loaded += data.loaded;
    $("progress").value = loaded / toLoad;
    $("loaded").textContent = `${(loaded / 1e6).toFixed(1)} of ${(toLoad / 1e6).toFixed(1)} MB`;
    return;
  }
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  if ("error" in data) reject(new (data.input ? InputError : Error)(data.error));
  else resolve(data.value);
};
worker.onerror = (event) => fail(new Error(event.message || "the model's worker cannot be started"));

/** Open the model on a backend; the one before stays where it is refused. */
async function use(backend) {
  const parts = [site.graph.file, site.graph.data, site.tokens?.file, site.self_test.samples, site.runtimes[backend].binary];
  toLoad = parts.filter(Boolean).reduce((sum, name) => sum + (site.files[name] || site.later[name]).size, 0);
  loaded = 0;
  $("loading").hidden = false;
  $("predict").disabled = true;
  try {
    const { threads } = await ask("open", { site, backend });
    const where = backend === "wasm" ? `${NAMES.wasm}, ${threads} ${threads === 1 ? "thread" : "threads"}` : NAMES.webgpu;
    $("engine").textContent = `ONNX Runtime Web ${site.onnxruntime_web} in ${where}.`;
    $("predict").disabled = false;
    return true;
  } finally {
    $("loading").hidden = true;
  }
}

function fail(error, name) {
  $("error").textContent = error ? `${name ? `${name}: ` : ""}${error.message}` : "";
}

/** Try something; what cannot be is said in a line. */
async function attempt(work, name) {
  fail(null);
  try {
    return await work();
  } catch (error) {
    fail(error, error instanceof InputError ? name : undefined);
  }
}

async function take(file, own = false) {
  clip = answered = attention = null;
  $("clip").hidden = $("attention-part").hidden = true;
  await attempt(async () => {
    const samples = await decode(file, $("player"), site.limits.seconds);
    clip = { name: file.name, samples };
    const seconds = samples.length / SAMPLE_RATE;
    $("clip").hidden = false;
    $("clip-name").textContent = `${file.name} · ${seconds.toFixed(2)} s`;
    $("save").hidden = !own;
    $("save").href = $("player").src;
    redraw();
  }, file.name);
  // What needs no words waits for none.
  if (clip && !reads && !$("predict").disabled) await predict();
}

async function predict() {
  const { name, samples } = clip ?? { name: "text", samples: null };
  const text = reads ? $("text").value : null;
  attention = null;
  await attempt(async () => {
    const begun = performance.now();
    const found = await ask("answer", { utterance: name, samples, text });
    answered = { samples, text };
    show(found, (performance.now() - begun) / 1000);
  }, name);
  redraw();
}

function show(found, seconds) {
  $("said").textContent = `${found.label}, ${found.probabilities[found.label].toFixed(3)} (from ${found.modalities.join(" and ")}, in ${seconds.toFixed(2)} s)`;
  const falling = Object.entries(found.probabilities).sort(([, a], [, b]) => b - a);
  $("shares").tBodies[0].replaceChildren(...falling.map(([label, share]) => {
    const row = document.createElement("tr"), name = document.createElement("th"), bar = document.createElement("div");
    name.scope = "row";
    name.textContent = label;
    row.append(name);
    const number = row.insertCell(), cell = row.insertCell();
    number.className = "number";
    number.textContent = share.toFixed(3);
    cell.ariaHidden = "true";
    bar.className = "share";
    bar.style.width = `${100 * share}%`;
    const place = site.labels.indexOf(label);
    bar.style.background = PALETTE[place] ?? `hsl(${(place * 137) % 360} 55% 50%)`;
    cell.append(bar);
    return row;
  }));
  $("dimensions").replaceChildren(...Object.entries(found.dimensions ?? {}).map(([name, value]) => {
    const pair = document.createElement("div"), term = document.createElement("dt"), number = document.createElement("dd");
    term.textContent = name;
    number.textContent = value.toFixed(2);
    pair.append(term, number);
    return pair;
  }));
  $("truncated").hidden = !found.text_truncated;
  $("json").textContent = JSON.stringify([found], null, 2);
  $("answer").hidden = false;
  $("attention-part").hidden = !(site.reasons && found.modalities.includes("audio"));
  $("attention").disabled = false;
  $("attention-said").textContent = "";
}

function redraw() {
  if (!clip || $("clip").hidden) return;
  draw($("view"), clip.samples, attention);
  const seconds = (clip.samples.length / SAMPLE_RATE).toFixed(2);
  $("view").ariaLabel = `Waveform of ${seconds} s${attention ? `, and the model's attention, most at ${attention.peak.toFixed(2)} s` : ""}`;
}

async function attend() {
  $("attention").disabled = true;
  $("attention-said").textContent = "Loading.";
  const found = await attempt(() => ask("attend", answered));
  $("attention-said").textContent = "";
  $("attention").disabled = Boolean(found);
  if (!found) return;
  const peak = found.times[found.values.indexOf(found.values.reduce((a, b) => Math.max(a, b)))];
  attention = { ...found, peak, seconds: clip.samples.length / SAMPLE_RATE };
  $("attention-said").textContent = `The line is where the temporal-aware block looks, most at ${peak.toFixed(2)} s.`;
  redraw();
}

async function toggleRecording() {
  if (!recording) {
    recording = await attempt(record);
    if (!recording) return;
    $("record").textContent = "Stop";
    const begun = recording;
    const tick = () => {
      if (recording !== begun) return;
      $("recorded").textContent = `${begun.seconds().toFixed(1)} s`;
      if (begun.seconds() >= site.limits.seconds) toggleRecording();
      else setTimeout(tick, 100);
    };
    tick();
    return;
  }
  const done = recording;
  recording = null;
  $("record").textContent = "Record";
  $("recorded").textContent = "";
  await take(await done.stop(), true);
}

async function keepForOffline() {
  if (!("serviceWorker" in navigator)) return;
  const registration = await navigator.serviceWorker.register("service-worker.js");
  const tell = () => ($("newer").hidden = !(registration.waiting && registration.active));
  registration.onupdatefound = () => (registration.installing.onstatechange = tell);
  tell();
  $("reload").onclick = () => {
    navigator.serviceWorker.oncontrollerchange = () => location.reload();
    registration.waiting.postMessage("take over");
  };
  await navigator.serviceWorker.ready;
  $("offline").textContent = "Kept on this device: works without a network.";
}

$("about").textContent = `A model trained on ${site.title}. It answers from ${site.supported_modalities.map((each) => each.join(" and ")).join(" or ")}.`;
$("synthetic").hidden = !site.synthetic;
$("audio-part").hidden = !hears;
$("text-part").hidden = !reads;
$("text-need").textContent = site.supported_modalities.some((each) => !each.includes("text")) ? "It may be left out." : "";

$("file").onchange = ({ target }) => target.files.length && take(target.files[0]);
$("record").onclick = toggleRecording;
$("attention").onclick = attend;
$("form").onsubmit = (event) => {
  event.preventDefault();
  predict();
};
$("text").onkeydown = (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  $("form").requestSubmit($("predict"));
};
for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && hears && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
window.addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

$("webgpu").onchange = async ({ target }) => {
  target.disabled = true;
  const used = await attempt(() => use(target.checked ? "webgpu" : "wasm"));
  if (!used) target.checked = !target.checked;
  target.disabled = $("predict").disabled = false;
};

if (await attempt(() => use("wasm"))) {
  $("webgpu").disabled = !("gpu" in navigator);
  if (clip && !reads) await predict();
}
keepForOffline();
