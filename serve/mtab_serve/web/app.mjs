// The page: a recording and its words in, probabilities out.

import { decode, record } from "./audio.mjs";
import { startModel } from "./client.mjs";
import { keepForOffline } from "./offline.mjs";
import { InputError, SAMPLE_RATE } from "./preprocess.mjs";
import { draw } from "./waveform.mjs";

// The colours of a timeline's page, by label.
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#b8b200"];

const $ = (id) => document.getElementById(id);
const site = await (await fetch("site.json")).json();
const hears = site.modalities.includes("audio"), reads = site.modalities.includes("text");
// What is to be answered: the recording's name and samples, mono at 16 kHz; and what was answered of it.
let clip = null, answered = null, attention = null, recording = null;
// Bytes of the model.
let toLoad = 0, loaded = 0;

const ask = startModel({
  loaded(bytes) {
    loaded += bytes;
    $("progress").value = loaded / toLoad;
    $("loaded").textContent = `${(loaded / 1e6).toFixed(1)} of ${(toLoad / 1e6).toFixed(1)} MB`;
  },
  failed: fail,
});

/** Open the model on a backend; the one before stays where it is refused. */
async function use(backend) {
  const { graph, tokens, self_test, runtimes, files, later } = site;
  const parts = [graph.file, graph.data, tokens?.file, self_test.samples, runtimes[backend].binary];
  toLoad = parts.filter(Boolean).reduce((sum, name) => sum + (files[name] || later[name]).size, 0);
  loaded = 0;
  $("loading").hidden = false;
  $("predict").disabled = true;
  try {
    const { threads } = await ask("open", { site, backend });
    const shared = threads === 1 ? "1 thread" : `${threads} threads`;
    const where = { wasm: `WebAssembly, ${shared}`, webgpu: "WebGPU" }[backend];
    $("engine").textContent = `ONNX Runtime Web ${site.onnxruntime_web} in ${where}.`;
    $("predict").disabled = false;
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

/** Take a recording in the place of the one before; `own` is what the microphone gave. */
async function take(file, own = false) {
  const taken = (clip = { name: file.name, samples: null });
  $("clip").hidden = true;
  forget();
  await attempt(async () => {
    const samples = await decode(file, $("player"), site.limits.seconds);
    // Another may have come meanwhile.
    if (clip !== taken) return;
    clip.samples = samples;
    $("clip").hidden = false;
    $("clip-name").textContent = `${file.name} · ${(samples.length / SAMPLE_RATE).toFixed(2)} s`;
    $("save").hidden = !own;
    $("save").href = $("player").src;
    redraw();
  }, file.name);
  // What needs no words waits for none.
  if (clip === taken && clip.samples && !reads && !$("predict").disabled) await predict();
}

async function predict() {
  const asked = clip, { name, samples } = clip ?? { name: "text", samples: null };
  const text = reads ? $("text").value : null;
  forget();
  await attempt(async () => {
    const begun = performance.now();
    const found = await ask("answer", { utterance: name, samples, text });
    if (clip !== asked) return;
    answered = { samples, text };
    show(found, (performance.now() - begun) / 1000);
  }, name);
}

/** Take back the answer that is shown. */
function forget() {
  answered = attention = null;
  $("said").textContent = "None yet.";
  $("answer").hidden = $("attention-part").hidden = true;
  $("attention").ariaPressed = false;
  $("attention-said").textContent = "";
  redraw();
}

function show(found, seconds) {
  const { label, probabilities, dimensions, modalities } = found;
  const basis = `from ${modalities.join(" and ")}, in ${seconds.toFixed(2)} s`;
  $("said").textContent = `${label}, ${probabilities[label].toFixed(3)} (${basis})`;
  const falling = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  $("shares").tBodies[0].replaceChildren(...falling.map(([name, share]) => shareRow(name, share)));
  const pairs = Object.entries(dimensions ?? {}).map(([name, value]) =>
    made("div", {}, made("dt", {}, name), made("dd", {}, value.toFixed(2))),
  );
  $("dimensions").replaceChildren(...pairs);
  $("truncated").hidden = !found.text_truncated;
  $("json").textContent = JSON.stringify([found], null, 2);
  $("answer").hidden = false;
  $("attention-part").hidden = !(site.reasons && modalities.includes("audio"));
}

/** A label with its probability, as a number and as a bar. */
function shareRow(label, share) {
  const place = site.labels.indexOf(label), bar = made("div", { className: "share" });
  bar.style.width = `${100 * share}%`;
  bar.style.background = PALETTE[place] ?? `hsl(${(place * 137) % 360} 55% 50%)`;
  return made(
    "tr",
    {},
    made("th", { scope: "row" }, label),
    made("td", { className: "number" }, share.toFixed(3)),
    made("td", { ariaHidden: "true" }, bar),
  );
}

function made(tag, properties, ...content) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...content);
  return element;
}

function redraw() {
  if ($("clip").hidden) return;
  draw($("view"), clip.samples, attention);
  const seconds = (clip.samples.length / SAMPLE_RATE).toFixed(2);
  const looks = attention ? `, and the model's attention, most at ${attention.peak.toFixed(2)} s` : "";
  $("view").ariaLabel = `Waveform of ${seconds} s${looks}`;
}

/** Show the attention, or hide it again. */
async function toggleAttention() {
  const shown = attention;
  attention = null;
  if (!shown) {
    $("attention-said").textContent = "Loading.";
    const of = answered, found = await attempt(() => ask("attend", of));
    if (answered !== of) return;
    if (found) {
      const most = found.values.reduce((a, b) => Math.max(a, b)), peak = found.times[found.values.indexOf(most)];
      attention = { ...found, peak, seconds: clip.samples.length / SAMPLE_RATE };
    }
  }
  $("attention").ariaPressed = Boolean(attention);
  $("attention-said").textContent = attention
    ? `The line is where the temporal-aware block looks, most at ${attention.peak.toFixed(2)} s.`
    : "";
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

const sources = site.supported_modalities.map((each) => each.join(" and ")).join(" or ");
$("about").textContent = `A model trained on ${site.title}. It answers from ${sources}.`;
$("synthetic").hidden = !site.synthetic;
$("audio-part").hidden = !hears;
$("text-part").hidden = !reads;
const optional = site.supported_modalities.some((each) => !each.includes("text"));
$("text-need").textContent = optional ? "It may be left out." : "";

$("file").onchange = ({ target }) => target.files.length && take(target.files[0]);
$("record").onclick = toggleRecording;
$("attention").onclick = toggleAttention;
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
  $("webgpu-said").textContent = "";
  try {
    await use(target.checked ? "webgpu" : "wasm");
  } catch (error) {
    target.checked = !target.checked;
    $("webgpu-said").textContent = error.message;
  }
  target.disabled = $("predict").disabled = false;
};

await attempt(async () => {
  await use("wasm");
  $("webgpu").disabled = !("gpu" in navigator);
  if (clip?.samples && !reads) await predict();
});
await keepForOffline({
  kept: () => ($("offline").textContent = "Kept on this device: works without a network."),
  newer(replace) {
    $("newer").hidden = false;
    $("reload").onclick = replace;
  },
}).catch(() => ($("offline").textContent = "This browser keeps nothing: each visit needs the network."));
