// A clip's waveform, with attention over it.

const ROOM = 8;

/** Draw mono samples on a canvas; `attention` is {times, values} with the `seconds` of the clip, or null. */
export function draw(canvas, samples, attention) {
  const { clientWidth: width, clientHeight: height } = canvas, ratio = window.devicePixelRatio || 1;
  const colour = (name) => getComputedStyle(canvas).getPropertyValue(name).trim();
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const peaks = Array.from({ length: Math.floor(width) }, (_, i) => {
    const [first, last] = [i, i + 1].map((x) => Math.floor((x / width) * samples.length));
    const part = samples.subarray(first, Math.max(last, first + 1));
    return part.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  });
  const loudest = Math.max(...peaks, 1e-9);
  context.fillStyle = colour("--wave");
  peaks.forEach((peak, x) => {
    const bar = Math.max(1, (peak / loudest) * (height - ROOM));
    context.fillRect(x, (height - bar) / 2, 1, bar);
  });
  if (!attention) return;
  const { times, values, seconds } = attention;
  const [least, most] = [Math.min, Math.max].map((pick) => values.reduce((a, b) => pick(a, b)));
  context.strokeStyle = colour("--ink");
  context.lineWidth = 1.5;
  context.beginPath();
  times.forEach((time, i) => {
    const share = (values[i] - least) / Math.max(most - least, 1e-9);
    context.lineTo((time / seconds) * width, height - ROOM / 2 - share * (height - ROOM));
  });
  context.stroke();
}
