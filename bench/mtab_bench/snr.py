"""How loud speech is beside its noise, estimated from a clip alone."""

import numpy as np

from mtab.audio import SAMPLE_RATE

FRAME = SAMPLE_RATE // 50
QUIET = 10
"""The percentile of the frames' power that counts as noise: the pauses of speech."""
MOST = 60.0
"""What is louder than its noise by more is said to be so: digital silence has no noise at all."""


def estimate_snr(samples: np.ndarray) -> float | None:
    """The signal-to-noise ratio of samples (n,) at 16 kHz in dB; None for silence and fewer than ten frames.

    Noise is the 10th percentile of the power of frames of 20 ms, the signal the mean power less that. No
    pause, or music, makes it less than it is: it orders the clips of a corpus, and measures none.
    """
    count = len(samples) // FRAME
    power = np.square(samples[: count * FRAME].reshape(count, FRAME), dtype=np.float64).mean(axis=1)
    if count < 10 or not power.any():
        return None
    noise, mean = float(np.percentile(power, QUIET)), float(power.mean())
    if mean - noise >= noise * 10 ** (MOST / 10):
        return MOST
    return 10 * float(np.log10((mean - noise) / noise))
