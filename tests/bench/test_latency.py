"""The summary of samples against the standard library's; engines in turns."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.errors import EngineError
from mtab_bench.interleaving import Phase, first_answers, time_phases
from mtab_bench.sections.samples import Latency, Timed


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=300))
def test_summary(samples: list[float]) -> None:
    summary = Latency.of(np.reshape(samples, (1, -1)))
    assert summary.values == tuple(samples)
    assert summary.count == len(samples)
    assert summary.total == pytest.approx(sum(samples))
    assert summary.mean == pytest.approx(statistics.fmean(samples))
    assert summary.stdev == pytest.approx(statistics.pstdev(samples), rel=1e-6, abs=1e-12)
    # The inclusive method of the standard library is linear interpolation too.
    cuts = statistics.quantiles(samples * 2 if len(samples) == 1 else samples, n=100, method="inclusive")
    for q in (50, 90, 95, 99):
        assert getattr(summary, f"p{q}") == pytest.approx(cuts[q - 1])
    assert Timed.of(np.array([samples])).throughput.value == pytest.approx(len(samples) / sum(samples))
    assert Timed.of(np.array([samples]), 8).throughput.value == pytest.approx(8 * len(samples) / sum(samples))


def test_real_time_factor_is_of_the_mean_batch() -> None:
    # 0.25 s of computing for 2.5 s of speech, in each batch.
    timed = Timed.of(np.full(8, 0.25), speech=2.5)
    assert timed.rtf is not None
    assert timed.rtf.value == pytest.approx(0.1)
    assert Timed.of(np.full(8, 0.25)).rtf is None


def sleeping(seconds: float) -> Callable[[], np.ndarray]:
    def call() -> np.ndarray:
        time.sleep(seconds)
        return np.ones(2)

    return call


def test_each_backend_has_its_own_time_and_enough_of_it() -> None:
    slow, fast = sleeping(0.02), sleeping(0.002)
    backends = {"slow": lambda _: slow(), "fast": lambda _: fast()}
    [timing], interrupted = time_phases(backends, [Phase(lambda item: item, 1, 6, 0.1)])
    assert not interrupted
    assert 0.02 <= timing.median("slow") < 0.1
    assert 0.002 <= timing.median("fast") < 0.02
    assert all(timing.samples(key).size >= 6 for key in backends)


def test_what_is_complete_is_kept_at_an_interrupt() -> None:
    asked = 0

    def second_phase(item: int) -> int:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise KeyboardInterrupt
        return item

    phases = [Phase(lambda item: item, 1, 6), Phase(second_phase, 1, 100)]
    timings, interrupted = time_phases({"a": lambda _: None}, phases)
    assert interrupted
    assert len(timings) == 1


def test_an_engine_that_does_not_answer_is_told_apart() -> None:
    def refuses() -> np.ndarray:
        raise EngineError("engine.plan: too large")

    calls = {"a": sleeping(0), "b": refuses, "c": lambda: np.array([0.5, np.nan]), "d": sleeping(0)}
    answers, failures = first_answers(calls)
    assert list(answers) == ["a", "d"]
    assert failures == {"b": "engine.plan: too large", "c": "answers with values that are no numbers"}
