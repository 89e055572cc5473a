// From any rate to 16 kHz by a windowed sinc with the passband of the runtime's soxr.
//
// Browsers have resamplers of their own, but not one that a model would not notice: Chromium's changes a
// probability of the EmoDB model by up to 5e-2, this one by less than 1e-3.

import { SAMPLE_RATE } from "./preprocess.mjs";

// Shares of the lower rate's Nyquist frequency that pass; and how much is left beyond it, in dB.
const PASSBAND = 0.9137, ATTENUATION = 126;

/** Mono samples at a whole rate in Hz, at 16 kHz. */
export function resample(samples, rate) {
  if (rate === SAMPLE_RATE) return samples;
  const common = divisor(rate, SAMPLE_RATE), up = SAMPLE_RATE / common, down = rate / common;
  const { kernels, reach } = kernelsOf(rate, up);
  const found = new Float32Array(Math.round((samples.length * up) / down));
  for (let i = 0; i < found.length; i++) {
    const kernel = kernels[(i * down) % up], first = Math.floor((i * down) / up) - reach + 1;
    const from = Math.max(0, -first), to = Math.min(2 * reach, samples.length - first);
    let sum = 0;
    for (let k = from; k < to; k++) sum += kernel[k] * samples[first + k];
    found[i] = sum;
  }
  return found;
}

/** For each place of an output between two inputs, the weights of the `reach` inputs before and behind it. */
function kernelsOf(rate, up) {
  const nyquist = Math.min(1, SAMPLE_RATE / rate), cutoff = (nyquist * (1 + PASSBAND)) / 2;
  // Kaiser's formulas.
  const half = (ATTENUATION - 8) / (2 * 2.285 * Math.PI * nyquist * (1 - PASSBAND)), reach = Math.ceil(half);
  const beta = 0.1102 * (ATTENUATION - 8.7), scale = cutoff / bessel(beta);
  const weight = (distance) => {
    const share = 1 - (distance / half) ** 2, phase = Math.PI * cutoff * distance;
    return share < 0 ? 0 : scale * (phase ? Math.sin(phase) / phase : 1) * bessel(beta * Math.sqrt(share));
  };
  const kernels = Array.from({ length: up }, (_, i) =>
    Float64Array.from({ length: 2 * reach }, (_, k) => weight(k - reach + 1 - i / up)),
  );
  return { kernels, reach };
}

/** The modified Bessel function of the first kind, of order 0. */
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-17 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

function divisor(a, b) {
  return b ? divisor(b, a % b) : a;
}
