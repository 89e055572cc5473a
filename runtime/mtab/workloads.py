"""What an engine is timed on: utterances one at a time, or many that wait, as at a saturated server."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from mtab.batching import in_batches, length_of
from mtab.choice import Choice
from mtab.engines.base import Engine
from mtab.limits import BATCH_SIZE, BatchLimits
from mtab.machine import usable_cores
from mtab.preprocess import Features, Preprocessor
from mtab.timing import Timing, interleaved
from mtab.traffic import NewLengths

AT_ONCE = 64
"""Utterances that wait at once, at least; more where each core is to have a batch of its own."""

_PASSES = 3

Backend = tuple[Engine, Choice]
"""An engine, and the choice that says which batches are formed for it."""


class OneByOne:
    """A request is an utterance alone, of a new length."""

    utterances = 1
    speech = None

    def __init__(self, preprocess: Preprocessor, features: Sequence[Features]) -> None:
        self._preprocess = preprocess
        self._features = features
        self._new = NewLengths(preprocess.config.min_samples)

    def time(self, backends: Mapping[str, Backend], min_seconds: float) -> Timing:
        """What `interleaved` measures of requests, each utterance in turn."""
        answers = {name: engine.run for name, (engine, _) in backends.items()}
        count = len(self._features)
        return interleaved(answers, self._draw, count, _PASSES * count, min_seconds)

    def _draw(self, item: int) -> dict[str, np.ndarray]:
        return self._preprocess.collate([self._new.features(self._features[item])])


class ManyAtOnce:
    """A request is all ``utterances`` that wait, each of a new length, in an order of chance.

    They are answered as `mtab.Model.stream` answers: in batches of like length, several at once.
    """

    def __init__(self, preprocess: Preprocessor, features: Sequence[Features]) -> None:
        self._preprocess = preprocess
        self.utterances = max(AT_ONCE, BATCH_SIZE * usable_cores())
        order = np.random.default_rng(0).permutation(self.utterances)
        self._features = [features[i % len(features)] for i in order]
        self._drawn: list[float] = []

    @property
    def speech(self) -> float:
        """Seconds of speech in an utterance, the mean of all that were timed."""
        return float(np.mean(self._drawn))

    def time(self, backends: Mapping[str, Backend], min_seconds: float) -> Timing:
        """What `interleaved` measures of requests."""
        new = NewLengths(self._preprocess.config.min_samples)

        def draw(_: int) -> list[Features]:
            request = [new.features(each) for each in self._features]
            self._drawn += [each.seconds or 0.0 for each in request]
            return request

        answers = {name: partial(self._answer, *backend) for name, backend in backends.items()}
        return interleaved(answers, draw, 1, _PASSES, min_seconds)

    def _answer(self, engine: Engine, choice: Choice, features: Sequence[Features]) -> None:
        def compute(batch: list[Features]) -> list[np.ndarray]:
            return [*engine.run(self._preprocess.collate(batch))["logits"]]

        limits = BatchLimits(choice.batch_size)
        for _ in in_batches(features, length_of, compute, limits, engine.streams):
            pass


WORKLOADS = {"latency": OneByOne, "throughput": ManyAtOnce}
"""What is timed, by what it is tuned for."""
