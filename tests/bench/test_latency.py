"""The summary of samples against the standard library's; engines in turns."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.errors import EngineError
from mtab_bench.interleaving import MIN_SAMPLES, first_answers, time_interleaved, with_speedups
from mtab_bench.sections.samples import latency, real_time_factor, throughput


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
    assert throughput(np.array([samples]), 8)["value"] == pytest.approx(8 * len(samples) / sum(samples))


def test_real_time_factor_counts_each_pass() -> None:
    # Two passes over 10 s of speech, 1 s of computing each.
    assert real_time_factor(np.full((2, 4), 0.25), speech=10.0)["value"] == pytest.approx(0.1)


def sleeping(seconds: float) -> Callable[[], np.ndarray]:
    def call() -> np.ndarray:
        time.sleep(seconds)
        return np.ones(2)

    return call


def test_each_engine_has_its_own_time_and_enough_of_it() -> None:
    taken = time_interleaved({"slow": sleeping(0.02), "fast": sleeping(0.002)}, min_seconds=0.1)
    assert 0.02 <= np.median(taken["slow"]) < 0.1
    assert 0.002 <= np.median(taken["fast"]) < 0.02
    for seconds in taken.values():
        assert seconds.size >= MIN_SAMPLES
        assert seconds.sum() >= 0.1


def test_an_engine_that_does_not_answer_is_told_apart() -> None:
    def refuses() -> np.ndarray:
        raise EngineError("engine.plan: too large")

    calls = {"a": sleeping(0), "b": refuses, "c": lambda: np.array([0.5, np.nan]), "d": sleeping(0)}
    answers, failures = first_answers(calls)
    assert list(answers) == ["a", "d"]
    assert failures == {"b": "engine.plan: too large", "c": "answers with values that are no numbers"}


def test_speedups_are_over_the_reference() -> None:
    values = {"x": 30.0, "pytorch": 10.0}
    engines = {key: {"throughput": {"value": value}} for key, value in values.items()}
    assert {k: e["speedup"] for k, e in with_speedups(engines).items()} == {"x": 3.0, "pytorch": 1.0}
    alone = with_speedups({"x": {"throughput": {"value": 30.0}}})
    assert alone["x"]["speedup"] is None
