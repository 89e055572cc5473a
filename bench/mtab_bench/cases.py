"""Batches of made-up utterances, to time engines on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtab.audio import SAMPLE_RATE, normalize
from mtab.preprocess import Features, Preprocessor
from mtab.synthetic_inputs import speech
from mtab_bench.backends import Inputs

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
        spoken = max(length, config.min_samples / SAMPLE_RATE)
        tokens = min(round(TOKENS_PER_SECOND * length) + 2, config.max_tokens)
        for batch_size in batch_sizes:
            random = np.random.default_rng(seed)
            features = [
                Features(
                    normalize(speech(random, spoken)) if "audio" in config.modalities else None,
                    random.choice(_EVERY_VOCABULARY, tokens) if "text" in config.modalities else None,
                    spoken,
                    False,
                )
                for _ in range(batch_size)
            ]
            cases.append(Case(batch_size, length, tokens, preprocess.collate(features)))
    return cases
