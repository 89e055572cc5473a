// A recording, from a file or the microphone, to mono samples at 16 kHz.

import { sampleRateOf } from "./headers.mjs";
import { InputError, mono } from "./preprocess.mjs";
import { resample } from "./resample.mjs";

// That of films and of what browsers record: where a file's own is not known, its browser makes this of it.
const USUAL_RATE = 48000;

// A browser that is told to save data may never tell how long a file plays.
const PATIENCE = 3000;

/** The samples of a file, which `player` gets to play. Throws an InputError if it is longer than `most` seconds. */
export async function decode(file, player, most) {
  if (!file.size) throw new InputError("holds no byte, expected an audio file");
  // Its length first: hours of silence are a small file.
  const seconds = await playable(player, file);
  if (Number.isFinite(seconds) && seconds > most)
    throw new InputError(`${seconds.toFixed(2)} s long, expected at most ${most} s`);
  const content = await file.arrayBuffer();
  const rate = sampleRateOf(new Uint8Array(content)) ?? USUAL_RATE;
  try {
    const buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(content);
    const samples = mono(Array.from({ length: buffer.numberOfChannels }, (_, i) => buffer.getChannelData(i)));
    return resample(samples, rate);
  } catch {
    throw new InputError("the browser cannot decode it, expected an audio file");
  }
}

function playable(player, file) {
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  return new Promise((resolve) => {
    player.onloadedmetadata = () => resolve(player.duration);
    player.onerror = () => resolve(NaN);
    setTimeout(() => resolve(NaN), PATIENCE);
  });
}

/** The microphone, recording. `stop` ends it and gives a wav file: what is recorded is decoded as any other. */
export async function record() {
  if (!navigator.mediaDevices) throw new InputError("the microphone cannot be used here, expected https or localhost");
  let stream;
  try {
    const plain = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  } catch (error) {
    throw new InputError(`the microphone cannot be used (${error.message || error.name}), expected leave to record`);
  }
  const context = new AudioContext();
  await context.audioWorklet.addModule("recorder.mjs");
  const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  const parts = [];
  recorder.port.onmessage = ({ data }) => parts.push(data);
  context.createMediaStreamSource(stream).connect(recorder);
  return {
    seconds: () => parts.reduce((sum, part) => sum + part.length, 0) / context.sampleRate,
    async stop() {
      const rate = context.sampleRate;
      for (const track of stream.getTracks()) track.stop();
      await context.close();
      return new File([wav(parts, rate)], "recording.wav", { type: "audio/wav" });
    },
  };
}

/** Float32Arrays, one after the other, as a mono wav file of 32-bit floats. */
function wav(parts, rate) {
  const size = parts.reduce((sum, part) => sum + 4 * part.length, 0), head = new DataView(new ArrayBuffer(44));
  const name = (at, text) => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  name(0, "RIFF"); head.setUint32(4, 36 + size, true); name(8, "WAVEfmt ");
  head.setUint32(16, 16, true); head.setUint16(20, 3, true); head.setUint16(22, 1, true);
  head.setUint32(24, rate, true); head.setUint32(28, 4 * rate, true); head.setUint16(32, 4, true);
  head.setUint16(34, 32, true); name(36, "data"); head.setUint32(40, size, true);
  return new Blob([head, ...parts]);
}
