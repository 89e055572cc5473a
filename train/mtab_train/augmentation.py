"""Variants of a training clip: another speed, level and background, the same whoever asks. No torch."""

import hashlib

import numpy as np
import soxr

from mtab.audio import SAMPLE_RATE

VERSION = 1
"""Of what `variant` makes; a change of it is another number, so that no cached encoding outlives it."""

SPEED = 0.14
"""Largest natural logarithm of the change of speed, which moves pitch and formants with it."""

GAIN = 3.0
"""Largest change of level, in dB."""

NOISY = 0.4
"""Share of variants with noise."""

SNR = (10.0, 30.0)
"""Signal-to-noise ratio of those, in dB, lowest and highest."""


def variant(samples: np.ndarray, number: int) -> np.ndarray:
    """The clip's variant ``number``, 1 or more: float32 (n,) at 16 kHz -> float32 (m,).

    Speed, level and noise are drawn by the clip's own samples and the number, so that every run and fold
    hears the same ones. Noise is between white and that of speech in colour.
    """
    digest = hashlib.sha256(samples.tobytes()).digest()
    random = np.random.default_rng([number, *np.frombuffer(digest, np.uint32)])
    speed = np.exp(random.uniform(-SPEED, SPEED))
    varied = soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE).astype(np.float32)
    varied *= 10 ** (random.uniform(-GAIN, GAIN) / 20)
    if random.random() < NOISY:
        noise = random.normal(size=len(varied))
        # A pole on the way to 1 makes it fall off as speech does.
        noise = np.convolve(noise, random.uniform(0, 0.95) ** np.arange(64))[: len(varied)]
        share = 10 ** (-random.uniform(*SNR) / 20)
        loudness, own = np.sqrt(np.mean(varied**2)), np.sqrt(np.mean(noise**2))
        varied += (share * loudness / max(own, 1e-12) * noise).astype(np.float32)
    return varied
