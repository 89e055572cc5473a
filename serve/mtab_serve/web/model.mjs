// A bundle's whole model in ONNX Runtime Web, and the proof that it answers here what it answered at the build.

import { audioValues, checkedText, requireSupported, SAMPLE_RATE } from "./preprocess.mjs";
import { tokenizerOf } from "./tokenizer.mjs";

/**
 * The graph of `site` on a backend, "wasm" or "webgpu". `ort` is ONNX Runtime Web, `read` gives the bytes of a
 * file of the site.
 */
export async function openModel(ort, site, read, backend) {
  const json = async (file) => JSON.parse(new TextDecoder().decode(await read(file)));
  const tokenize = site.tokens && tokenizerOf(await json(site.tokens.file), site.tokens);
  const session = await openGraph(ort, site.graph, read, backend);
  let reasons = null;

  const features = (samples, text) => {
    const values = samples && site.modalities.includes("audio") ? audioValues(samples, site) : null;
    const said = tokenize && checkedText(text, site);
    const tokens = said ? tokenize(said) : null;
    const modalities = [...(values ? ["audio"] : []), ...(tokens ? ["text"] : [])];
    requireSupported(modalities, site.supported_modalities);
    return { values, tokens, modalities };
  };

  const inputs = ({ values, tokens }) => {
    const { min_samples, pad_token_id } = site.preprocessing, found = {};
    const length = (row) => new ort.Tensor("int64", BigInt64Array.of(BigInt(row ? row.length : 0)), [1]);
    if (site.modalities.includes("audio")) {
      const row = values || new Float32Array(min_samples);
      found.input_values = new ort.Tensor("float32", row, [1, row.length]);
      found.audio_lengths = length(values);
    }
    if (site.modalities.includes("text")) {
      const row = tokens ? tokens.ids : [pad_token_id];
      found.input_ids = new ort.Tensor("int64", BigInt64Array.from(row, BigInt), [1, row.length]);
      found.text_lengths = length(tokens && tokens.ids);
    }
    return found;
  };

  /** Numbers in the order of `site.labels` and `site.dimensions`, and what they rest on. */
  const compute = async (samples, text) => {
    const given = features(samples, text);
    const wanted = ["probabilities", ...(site.dimensions.length ? ["dimensions"] : [])];
    const { probabilities, dimensions } = await session.run(inputs(given), wanted);
    return { ...given, probabilities: [...probabilities.data], dimensions: [...(dimensions?.data ?? [])] };
  };

  return {
    /** What `mtab predict --format json` says of mono samples at 16 kHz and a text, each may be null. */
    async answer(utterance, samples, text) {
      const found = await compute(samples, text);
      const { probabilities, dimensions, values, tokens, modalities } = found;
      const named = (names, numbers) => Object.fromEntries(names.map((name, i) => [name, numbers[i]]));
      return {
        utterance,
        label: site.labels[probabilities.indexOf(Math.max(...probabilities))],
        probabilities: named(site.labels, probabilities),
        ...(dimensions.length ? { dimensions: named(site.dimensions.map((each) => each.name), dimensions) } : {}),
        duration: values && values.length / SAMPLE_RATE,
        modalities,
        text_truncated: Boolean(tokens?.truncated),
      };
    },

    /** The temporal-aware block's attention, 0 to 1, at seconds of a clip: {times, values}. */
    async attend(samples, text) {
      const { hop, ...graph } = site.reasons;
      reasons ??= await openGraph(ort, graph, read, backend);
      const given = features(samples, text), field = site.preprocessing.min_samples;
      const found = await reasons.run(inputs(given), ["tab_attention"]);
      const frames = Math.floor((samples.length - field) / hop) + 1;
      const times = Array.from({ length: frames }, (_, i) => (i * hop + field / 2) / SAMPLE_RATE);
      return { times, values: [...found.tab_attention.data.slice(0, frames)] };
    },

    /**
     * How far this is from what the runtime answered: the largest change of a probability; of a dimension, in
     * standard deviations; and the first text with other tokens, or null.
     */
    async difference() {
      const test = site.self_test, whole = new Int16Array((await read(test.samples)).buffer);
      const largest = (found, expected, unit = () => 1) =>
        found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]) / unit(i)), 0);
      let probabilities = 0, dimensions = 0;
      for (const { first, count, text, ...expected } of test.utterances) {
        const clip = Float32Array.from(whole.subarray(first, first + count), (value) => value / 32768);
        const found = await compute(count ? clip : null, text);
        probabilities = Math.max(probabilities, largest(found.probabilities, expected.probabilities));
        const change = largest(found.dimensions, expected.dimensions, (i) => site.dimensions[i].std);
        dimensions = Math.max(dimensions, change);
      }
      const other = test.texts.find(({ text, ids }) => tokenize(text).ids.join() !== ids.join());
      return { probabilities, dimensions, text: other ? other.text : null };
    },

    release: () => Promise.all([session, reasons].map((each) => each?.release())),
  };
}

/** Why a model may not answer here, in a line; null if it may. */
export function refusal({ probabilities, dimensions, text }, { tolerance, dimensions_tolerance }) {
  if (text !== null) return `it reads the words of ${JSON.stringify(text)} as other tokens than the runtime`;
  const by = (found, expected, unit) =>
    `its answers to the stored inputs differ by ${found.toExponential(1)}${unit}, ` +
    `expected at most ${expected.toExponential(0)}`;
  if (!(probabilities <= tolerance)) return by(probabilities, tolerance, "");
  if (!(dimensions <= dimensions_tolerance)) return by(dimensions, dimensions_tolerance, " standard deviations");
  return null;
}

async function openGraph(ort, { file, data }, read, backend) {
  const externalData = data ? [{ path: data.split("/").pop(), data: await read(data) }] : [];
  return ort.InferenceSession.create(await read(file), {
    executionProviders: [backend],
    externalData,
    // Operators that are fused for WebGPU answer differently, by up to 1e-2.
    graphOptimizationLevel: backend === "webgpu" ? "basic" : "all",
    logSeverityLevel: 3,
  });
}
