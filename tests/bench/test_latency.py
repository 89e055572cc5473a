"""Timing: what is run, how often, in which turn, and the summary of the samples."""

import statistics
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab_bench.engines import Engine
from mtab_bench.latency import BLOCK, WARMUP, latency, measure, real_time_factor, spread, throughput


def inputs(*lengths: int) -> list[dict[str, np.ndarray]]:
    return [{"input_values": np.full((1, length), float(i), np.float32)} for i, length in enumerate(lengths)]


def engine(name: str, calls: list[tuple[str, int]], seconds: float = 0.0) -> Engine:
    def run(arrays: dict[str, np.ndarray]) -> np.ndarray:
        index = int(arrays["input_values"][0, 0])
        calls.append((name, index))
        time.sleep(seconds)
        return np.array([[index, len(name)]], np.float32)

    return Engine(name, "cpu", "fp32", 1, run)


def test_every_engine_answers_every_utterance_in_turns() -> None:
    calls: list[tuple[str, int]] = []
    first, second = measure([engine("a", calls), engine("bb", calls)], inputs(300, 100, 200), min_samples=6)
    assert first.probabilities.tolist() == [[0, 1], [1, 1], [2, 1]]
    assert second.probabilities.tolist() == [[0, 2], [1, 2], [2, 2]]
    assert first.seconds.shape == second.seconds.shape == (2, 3)
    # Warm-up from the shortest to the longest, both engines each.
    assert calls[:6] == [("a", 1), ("bb", 1), ("a", 2), ("bb", 2), ("a", 0), ("bb", 0)]
    # Then a block each in alternating order, its first utterance untimed before it.
    a, bb = ([(name, i) for i in (0, 0, 1, 2)] for name in ("a", "bb"))
    assert calls[6:] == [*a, *bb, *bb, *a]


def test_blocks_divide_the_utterances() -> None:
    calls: list[tuple[str, int]] = []
    measure([engine("a", calls), engine("bb", calls)], inputs(*range(1, 2 * BLOCK + 2)), min_samples=1)
    first, second, third = (list(range(k, min(k + BLOCK, 2 * BLOCK + 1))) for k in (0, BLOCK, 2 * BLOCK))
    order = [("a", first), ("bb", first), ("bb", second), ("a", second), ("a", third), ("bb", third)]
    expected = [(name, i) for name, block in order for i in (block[0], *block)]
    assert calls[2 * WARMUP :] == expected


def test_time_is_the_engines_own() -> None:
    calls: list[tuple[str, int]] = []
    slow, fast = measure(
        [engine("slow", calls, 0.02), engine("fast", calls, 0.001)], inputs(10, 20), min_samples=10
    )
    assert slow.seconds.size == fast.seconds.size == 10
    assert 0.02 <= np.median(slow.seconds) < 0.04
    assert 0.001 <= np.median(fast.seconds) < 0.02


def test_as_many_utterances_as_samples_are_passed_once() -> None:
    (measurement,) = measure([engine("a", [])], inputs(*range(1, 8)), min_samples=7)
    assert measurement.seconds.shape == (1, 7)


def test_warm_up_spans_the_lengths() -> None:
    lengths = list(np.random.default_rng(0).permutation(100) + 1)
    chosen = [lengths[i] for i in spread(inputs(*lengths), WARMUP)]
    assert chosen == sorted(set(chosen))
    assert (len(chosen), chosen[0], chosen[-1]) == (WARMUP, 1, 100)
    assert spread(inputs(5), WARMUP) == [0]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=300))
def test_summary(samples: list[float]) -> None:
    summary = latency(np.reshape(samples, (1, -1)))
    assert summary["values"] == samples
    assert summary["count"] == len(samples)
    assert summary["total"] == pytest.approx(sum(samples))
    assert summary["mean"] == pytest.approx(statistics.fmean(samples))
    assert summary["stdev"] == pytest.approx(statistics.pstdev(samples), rel=1e-6, abs=1e-12)
    # The inclusive method of the standard library is linear interpolation too.
    cuts = statistics.quantiles(samples * 2 if len(samples) == 1 else samples, n=100, method="inclusive")
    for q in (50, 90, 95, 99):
        assert summary[f"p{q}"] == pytest.approx(cuts[q - 1])
    assert throughput(np.array([samples]))["value"] == pytest.approx(len(samples) / sum(samples))


def test_real_time_factor_counts_each_pass() -> None:
    # Two passes over 10 s of speech, 1 s of computing each.
    assert real_time_factor(np.full((2, 4), 0.25), speech=10.0)["value"] == pytest.approx(0.1)
