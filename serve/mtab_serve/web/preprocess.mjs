// From a clip and its transcript to what the graph takes: mtab.preprocess again, in the browser.

export const SAMPLE_RATE = 16000;
// Beyond it a variance overflows float32; and what is beyond the other is on the scale of whole numbers.
const MAX_PEAK = 2 ** 31, MAX_UNNORMALIZED = 64;
// What Python's str.isspace is true for.
const BLANK = /^[\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$/;

/** What a user can mend: a line that says what was found and what was expected. */
export class InputError extends Error {}

/** Float32Arrays of one length, averaged. */
export function mono(channels) {
  const whole = channels.map(unskewed);
  if (whole.length === 1) return whole[0];
  return Float32Array.from(whole[0], (_, i) => whole.reduce((sum, each) => sum + each[i], 0) / whole.length);
}

/**
 * Samples of a 16-bit or 8-bit file by one scale. Chromium divides those above zero by the largest one, 32767,
 * and those below by the least, 32768; where all of them lie on the first scale, they are put on the second.
 */
function unskewed(samples) {
  for (const most of [32767, 127]) {
    const near = (value) => Math.abs(value * most - Math.round(value * most)) < 3e-3;
    if (samples.every((value) => value <= 0 || near(value)))
      return samples.map((value) => (value > 0 ? Math.round(value * most) / (most + 1) : value));
  }
  return samples;
}

/** Zero mean and unit variance. */
export function normalize(samples) {
  const mean = samples.reduce((sum, value) => sum + value, 0) / samples.length;
  const variance = samples.reduce((sum, value) => sum + (value - mean) ** 2, 0) / samples.length;
  const scale = Math.sqrt(variance + 1e-7);
  return samples.map((value) => (value - mean) / scale);
}

/** Mono samples at 16 kHz as the graph takes them. Throws an InputError for what is no clip. */
export function audioValues(samples, { preprocessing, limits }) {
  const seconds = samples.length / SAMPLE_RATE, least = preprocessing.min_samples;
  if (!samples.length) throw new InputError("holds no sample, expected a clip");
  if (seconds > limits.seconds)
    throw new InputError(`${seconds.toFixed(2)} s long, expected at most ${limits.seconds} s`);
  if (samples.length < least)
    throw new InputError(
      `${samples.length} samples at 16 kHz (${seconds.toFixed(4)} s), ` +
        `expected at least ${least} (${(least / SAMPLE_RATE).toFixed(4)} s)`,
    );
  const peak = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const found = `holds a sample of ${peak}`;
  if (!(peak <= MAX_PEAK)) throw new InputError(`${found}, expected finite numbers up to ${MAX_PEAK}`);
  if (preprocessing.do_normalize) return normalize(samples);
  if (peak > MAX_UNNORMALIZED) throw new InputError(`${found}, expected -1 to 1: it is not normalised`);
  return samples;
}

/** The text, or null where it is empty or white space. Throws an InputError for what is none. */
export function checkedText(text, { limits }) {
  if (text === null) return null;
  const lone = text.search(/\p{Surrogate}/u);
  if (lone >= 0) {
    const code = text.charCodeAt(lone).toString(16).toUpperCase();
    const place = [...text.slice(0, lone)].length;
    throw new InputError(`text has the lone surrogate U+${code} at ${place}, expected valid Unicode`);
  }
  if (BLANK.test(text)) return null;
  const length = [...text].length;
  if (length > limits.characters)
    throw new InputError(`text of ${length} characters, expected at most ${limits.characters}`);
  return text;
}

/** Throws an InputError unless a model answers from these modalities. */
export function requireSupported(modalities, supported) {
  if (supported.some((each) => each.join() === modalities.join())) return;
  const expected = `this model answers from ${supported.map((each) => each.join(" and ")).join(" or ")}`;
  if (!modalities.includes("text") && supported.some((each) => each.includes("text")))
    throw new InputError(`no transcript, expected one: ${expected}`);
  throw new InputError(`no audio, expected some: ${expected}`);
}
