"""Made-up speech of any length, to time engines on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtab.audio import SAMPLE_RATE, normalize
from mtab.preprocess import Features, Preprocessor
from mtab_bench.peers import Inputs

TOKENS_PER_SECOND = 3
"""Beside the two that begin and end a transcript."""
_EVERY_VOCABULARY = range(5, 256)
"""Token ids that are no special ones, and that every vocabulary of byte-level BPE has."""


@dataclass(frozen=True, slots=True)
class Case:
    """A batch of ``batch_size`` utterances, all of ``seconds`` and ``tokens``; ``inputs`` are its arrays."""

    batch_size: int
    seconds: float
    tokens: int
    inputs: Inputs

    @property
    def title(self) -> str:
        return f"batch of {self.batch_size}, {self.seconds:g} s"


def make_cases(
    preprocess: Preprocessor, batch_sizes: Sequence[int], seconds: Sequence[float], seed: int = 0
) -> list[Case]:
    """Every batch size with every length: noise at the pace of syllables, tokens in proportion."""
    config = preprocess.config
    cases = []
    for length in seconds:
        samples = max(round(length * SAMPLE_RATE), config.min_samples)
        tokens = min(round(TOKENS_PER_SECOND * length) + 2, config.max_tokens)
        for batch_size in batch_sizes:
            random = np.random.default_rng(seed)
            features = [
                Features(
                    speech(random, samples) if "audio" in config.modalities else None,
                    random.choice(_EVERY_VOCABULARY, tokens) if "text" in config.modalities else None,
                    samples / SAMPLE_RATE,
                    False,
                )
                for _ in range(batch_size)
            ]
            cases.append(Case(batch_size, length, tokens, preprocess.collate(features)))
    return cases


def speech(random: np.random.Generator, samples: int) -> np.ndarray:
    """Noise, darker or lighter, that swells four times a second; normalised, float32 (samples,)."""
    noise = np.convolve(random.normal(size=samples), random.uniform(0.3, 0.9) ** np.arange(64), mode="same")
    phase = 2 * np.pi * (4 * np.arange(samples) / SAMPLE_RATE + random.uniform())
    return normalize((noise * (1.1 + np.sin(phase))).astype(np.float32))
