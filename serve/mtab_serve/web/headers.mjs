// At which rate a file was recorded, which browsers do not tell.

/** The rate in Hz of a wav, FLAC, Ogg Vorbis or mp3 file; null for another. */
export function sampleRateOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const has = (at, text) => [...text].every((character, i) => bytes[at + i] === character.charCodeAt(0));
  try {
    if (has(8, "WAVE")) return waveRate(view, has);
    if (has(0, "fLaC")) return view.getUint32(18) >>> 12;
    if (has(0, "OggS")) return has(29, "vorbis") ? view.getUint32(40, true) : null;
    return mp3Rate(view, has);
  } catch {
    // It ends within its header.
    return null;
  }
}

function waveRate(view, has) {
  let at = 12;
  while (!has(at, "fmt ")) at += 8 + view.getUint32(at + 4, true);
  return view.getUint32(at + 12, true);
}

function mp3Rate(view, has) {
  // The length of an ID3 tag has 7 bits a byte.
  const at = has(0, "ID3") ? 10 + [6, 7, 8, 9].reduce((sum, i) => 128 * sum + view.getUint8(i), 0) : 0;
  const header = view.getUint32(at), version = (header >> 19) & 3, rate = [44100, 48000, 32000][(header >> 10) & 3];
  if (header >>> 21 !== 0x7ff || version === 1 || !rate) return null;
  return rate / { 3: 1, 2: 2, 0: 4 }[version];
}
