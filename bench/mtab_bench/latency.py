"""Timing engines side by side: one utterance at a time, warm, interleaved, every sample kept."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from mtab_bench.engines import Engine

WARMUP = 10
"""Utterances, spread over the lengths, that every engine answers before the clock counts."""
BLOCK = 10
"""Utterances that an engine answers in a row before it is the next one's turn."""
PAUSE = 0.02
"""Seconds before each turn, in which the idle threads of the engine before stop spinning."""
MIN_SAMPLES = 200
"""Few utterances are passed over again until each engine has so many samples."""

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one engine answered and how long it took: ``probabilities`` (N, C), ``seconds`` (passes, N)."""

    probabilities: np.ndarray
    seconds: np.ndarray


def measure(
    engines: Sequence[Engine], inputs: Sequence[Inputs], min_samples: int = MIN_SAMPLES
) -> list[Measurement]:
    """Run every engine over every utterance, N of them, each as a batch of one.

    The engines take turns on each block of `BLOCK` utterances, in alternating order, so that noise strikes
    all alike. Before each turn are a pause and an utterance untimed: the threads of the engine before, which
    spin for a while when idle, go to sleep, and its own threads and weights come back.
    """
    for i in spread(inputs, WARMUP):
        for engine in engines:
            engine.run(inputs[i])
    passes = math.ceil(min_samples / len(inputs))
    seconds = np.zeros((len(engines), passes, len(inputs)))
    answers: list[list[np.ndarray]] = [[] for _ in engines]
    turn = list(enumerate(engines))
    with tqdm(
        total=passes * len(inputs), desc="measuring", unit="utt", disable=None, leave=False
    ) as progress:
        for run in range(passes):
            for first in range(0, len(inputs), BLOCK):
                block = range(first, min(first + BLOCK, len(inputs)))
                for e, engine in turn:
                    time.sleep(PAUSE)
                    engine.run(inputs[first])
                    for i in block:
                        start = time.perf_counter()
                        probabilities = engine.run(inputs[i])
                        seconds[e, run, i] = time.perf_counter() - start
                        if run == 0:
                            answers[e].append(probabilities[0])
                turn.reverse()
                progress.update(len(block))
    return [Measurement(np.stack(a), s) for a, s in zip(answers, seconds, strict=True)]


def spread(inputs: Sequence[Inputs], count: int) -> list[int]:
    """Up to ``count`` indices whose utterances span the lengths, from the shortest to the longest."""
    order = sorted(range(len(inputs)), key=lambda i: sum(array.nbytes for array in inputs[i].values()))
    return [order[round(k)] for k in np.linspace(0, len(order) - 1, min(count, len(order)))]


def latency(seconds: np.ndarray) -> dict[str, Any]:
    """Samples and their summary, under optimum-benchmark's names; percentiles interpolate linearly."""
    values = seconds.ravel()
    mean, deviation = float(values.mean()), float(values.std())
    return {
        "unit": "s",
        "count": len(values),
        "total": float(values.sum()),
        "mean": mean,
        **{f"p{q}": float(np.percentile(values, q)) for q in (50, 90, 95, 99)},
        "stdev": deviation,
        "stdev_": 100 * deviation / mean,
        "values": values.tolist(),
    }


def throughput(seconds: np.ndarray) -> dict[str, Any]:
    """Utterances a second, one after the other."""
    return {"unit": "utterances/s", "value": seconds.size / float(seconds.sum())}


def real_time_factor(seconds: np.ndarray, speech: float) -> dict[str, Any]:
    """Seconds of computing for a second of speech, ``speech`` being that of one pass: below 1 keeps up."""
    return {"unit": "s/s", "value": float(seconds.sum()) / (len(seconds) * speech)}
