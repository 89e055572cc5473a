"""Made-up utterances, for times and invariance where there is no corpus; they mean nothing."""

import numpy as np

from mtab.audio import SAMPLE_RATE

_WORDS = ("well", "never", "wonderful", "said", "going", "what", "please", "I", "tomorrow", "you", "happened")
_SYLLABLES = 4
"""A second."""


def speech(random: np.random.Generator, seconds: float, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Noise, darker or lighter, that swells at the pace of syllables: float32 (samples,) at ``rate`` Hz."""
    count = round(seconds * rate)
    colour = random.uniform(0.3, 0.9) ** np.arange(64)
    noise = np.convolve(random.normal(size=count + len(colour) - 1), colour, mode="valid")
    phase = 2 * np.pi * (_SYLLABLES * np.arange(count) / rate + random.uniform())
    # Some noise in a thousand peaks beyond what a file holds.
    return np.clip(0.05 * noise * (1.1 + np.sin(phase)), -1, 1).astype(np.float32)


def transcript(random: np.random.Generator, words: int) -> str:
    """So many words in no order."""
    return " ".join(random.choice(_WORDS, words))
