"""Engines in turns on the same input: what they answer first, then how long they take."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mtab.errors import MtabError
from mtab.timing import interleaved
from mtab_bench.backends import REFERENCE

WARMUP = 2
"""Runs of each engine before the clock counts."""
MIN_SAMPLES = 4
"""Runs of each engine that are timed, however long they take."""

Calls = Mapping[str, Callable[[], np.ndarray]]
"""By an engine's key, what computes its answer to one input."""


def first_answers(calls: Calls) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What each engine answers, or why it does not: it need not take every shape, nor compute in range."""
    answers: dict[str, np.ndarray] = {}
    failures: dict[str, str] = {}
    for key, call in calls.items():
        try:
            answer = call()
        except MtabError as error:
            failures[key] = str(error)
            continue
        if np.isfinite(answer).all():
            answers[key] = answer
        else:
            failures[key] = "answers with values that are no numbers"
    return answers, failures


def time_interleaved(calls: Calls, min_seconds: float) -> dict[str, np.ndarray]:
    """The seconds of each run, float64 (runs, 1): at least `MIN_SAMPLES`, and ``min_seconds`` in all."""
    for call in calls.values():
        for _ in range(WARMUP):
            call()
    backends = {key: lambda _, call=call: call() for key, call in calls.items()}
    timing = interleaved(backends, lambda item: item, 1, MIN_SAMPLES, min_seconds)
    return {key: timing.samples(key)[:, None] for key in calls}


def with_speedups(engines: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each engine with its ``throughput`` over the reference's, None where that was not measured."""
    reference = engines.get(REFERENCE)
    for engine in engines.values():
        engine["speedup"] = reference and engine["throughput"]["value"] / reference["throughput"]["value"]
    return engines
