"""Batches of synthetic utterances, to time backends on: ever new lengths around one, or that one again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mtab.audio import SAMPLE_RATE, normalize
from mtab.preprocess import Features, Preprocessor
from mtab.synthetic_inputs import speech
from mtab.traffic import NewLengths
from mtab_bench.backends import Inputs

TOKENS_PER_SECOND = 3
"""Beside the two that begin and end a transcript."""
LONGER = 16 / 15
"""How much longer an utterance is before up to an eighth is cut from it: what is left is right on average."""
_EVERY_VOCABULARY = range(5, 256)
"""Token ids that are no special ones, and that every vocabulary of byte-level BPE has."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A batch of ``batch_size`` utterances of ``seconds`` and ``tokens``; ``inputs`` are its arrays.

    ``longest`` are those of the longest utterances that `new_lengths` draws from.
    """

    batch_size: int
    seconds: float
    tokens: int
    inputs: Inputs
    longest: Inputs
    _utterances: tuple[Features, ...]
    _preprocess: Preprocessor
    _lengths: NewLengths = field(default_factory=NewLengths)

    def new_lengths(self, _: int = 0) -> Inputs:
        """A batch whose utterances have lengths that none had before, about ``seconds`` each."""
        return self._preprocess.collate([self._lengths.features(each) for each in self._utterances])


def make_cases(
    preprocess: Preprocessor, batch_sizes: Sequence[int], seconds: Sequence[float], seed: int = 0
) -> list[Case]:
    """Every batch size with every length: noise at the pace of syllables, tokens in proportion."""
    config = preprocess.config
    cases = []
    for length in seconds:
        spoken = max(length, config.min_samples / SAMPLE_RATE)
        tokens = min(round(TOKENS_PER_SECOND * length) + 2, config.max_tokens)
        most = min(round(LONGER * tokens), config.max_tokens)
        for batch_size in batch_sizes:
            random = np.random.default_rng(seed)
            longest = tuple(
                Features(
                    normalize(speech(random, LONGER * spoken)) if "audio" in config.modalities else None,
                    random.choice(_EVERY_VOCABULARY, most) if "text" in config.modalities else None,
                    LONGER * spoken,
                    False,
                )
                for _ in range(batch_size)
            )
            inputs = [_cut(each, round(spoken * SAMPLE_RATE), tokens) for each in longest]
            cases.append(
                Case(
                    batch_size,
                    length,
                    tokens,
                    preprocess.collate(inputs),
                    preprocess.collate(longest),
                    longest,
                    preprocess,
                    NewLengths(config.min_samples, seed),
                )
            )
    return cases


def _cut(features: Features, samples: int, tokens: int) -> Features:
    values, ids = features.input_values, features.input_ids
    return replace(
        features,
        input_values=None if values is None else values[:samples],
        input_ids=None if ids is None else ids[:tokens],
        seconds=samples / SAMPLE_RATE,
    )
