// What the microphone gives, in blocks of mono samples at its own rate.

const BLOCK = 2048;

registerProcessor("recorder", class extends AudioWorkletProcessor {
  block = new Float32Array(BLOCK);
  filled = 0;

  process([channels]) {
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      this.block[this.filled++] = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
      if (this.filled < BLOCK) continue;
      this.port.postMessage(this.block, [this.block.buffer]);
      this.block = new Float32Array(BLOCK);
      this.filled = 0;
    }
    return true;
  }
});
