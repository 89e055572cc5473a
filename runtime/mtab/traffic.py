"""Requests of ever new lengths, as real traffic has them: an engine may pay for one never seen before."""

from dataclasses import replace
from itertools import chain

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.preprocess import Features

_CUT = 8
"""The part of a clip that is cut from its end, at most, while lengths last."""


class NewLengths:
    """Cuts utterances so that none has as many samples as one before, while there are such numbers.

    ``least`` is how many samples remain at least; the same ``seed`` cuts alike. What is cut is the end: for
    times alone, since a cut clip says less and its samples are not normalised again.
    """

    def __init__(self, least: int = 400, seed: int = 0) -> None:
        self._least = least
        self._random = np.random.default_rng(seed)
        self._seen: set[int] = set()

    def features(self, features: Features) -> Features:
        """An utterance cut to a new number of samples, its tokens to any of the last eighth.

        One without audio has a number of tokens that may come again: there are too few of them.
        """
        samples, ids = features.input_values, features.input_ids
        if samples is not None:
            samples = self.samples(samples)
        if ids is not None:
            # The last token ends the text.
            cut = int(self._random.integers(max(len(ids) // _CUT, min(len(ids) - 2, 1), 0) + 1))
            ids = np.concatenate([ids[: len(ids) - 1 - cut], ids[-1:]])
        seconds = None if samples is None else len(samples) / SAMPLE_RATE
        return replace(features, input_values=samples, input_ids=ids, seconds=seconds)

    def samples(self, samples: np.ndarray) -> np.ndarray:
        """A clip (samples, ...) cut to a number of samples that no other was cut to; the array's own memory.

        When all are used up, as they soon are of a clip hardly longer than ``least``, one comes again.
        """
        longest = len(samples)
        least = min(self._least, longest)
        drawn = int(self._random.integers(max(longest - longest // _CUT, least), longest + 1))
        for length in chain(range(drawn, least - 1, -1), range(drawn + 1, longest + 1)):
            if length not in self._seen:
                self._seen.add(length)
                return samples[:length]
        return samples[:drawn]
