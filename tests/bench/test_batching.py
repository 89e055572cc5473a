"""`mtab-bench batching`: what is computed, and in which batches."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab import Model, load
from mtab.batching import WINDOW, padded_seconds, padded_seconds_as_they_come
from mtab.data import Utterance
from mtab.errors import DataError
from mtab.limits import BatchLimits
from mtab_bench.sections.batching import (
    ARRIVAL,
    STRETCHES,
    Durations,
    _as_they_arrive,
    measure_batching,
    stretch_of,
)


@pytest.fixture(scope="module")
def model(tone_bundle: Path) -> Model:
    return load(tone_bundle, "cpu", threads=1)


def spoken(durations: list[float]) -> list[Utterance]:
    return [
        Utterance(f"u{i}", None, "it is high", "high", start=10.0, end=10.0 + seconds)
        for i, seconds in enumerate(durations)
    ]


def test_padding_is_that_of_the_runtime_and_of_arithmetic(model: Model) -> None:
    durations = [0.1 + 0.05 * (7 * i % 41) for i in range(48)]
    measured = measure_batching(model, "synthetic", spoken(durations), threads=1)
    eight, sixteen, ours = measured.strategies
    total = sum(durations)
    assert measured.durations == Durations(48, pytest.approx(total, abs=1e-3))
    for way, size in ((eight, 8), (sixteen, 16)):
        expected = padded_seconds_as_they_come(durations, size) / total
        assert way.padding == pytest.approx(expected, rel=1e-3)
    # Texts are alike, so that lengths alone make the batches.
    assert ours.padding == pytest.approx(padded_seconds(durations, BatchLimits()) / total, rel=0.02)
    assert ours.padding < eight.padding < sixteen.padding
    assert eight.speedup is None
    for way in measured.strategies:
        assert way.throughput.value == pytest.approx(48 / way.seconds)
        assert way.speedup is None or way.speedup.low <= way.speedup.value <= way.speedup.high


def test_what_was_tuned_for_throughput_stands_beside_it(model: Model, tone_bundle: Path) -> None:
    tuned = load(tone_bundle, "cpu", threads=2)
    tuned.batch_size, tuned.engine.streams = 3, 2
    measured = measure_batching(model, "synthetic", spoken([0.1 + 0.05 * i for i in range(40)]), 1, tuned)
    *_, ours, other = measured.strategies
    assert other.name == "tuned: onnxruntime fp32, batches of 3, 2 at once"
    assert (ours.batch_size, other.batch_size) == (BatchLimits().utterances, 3)
    assert 1 <= other.padding < ours.padding
    assert other.throughput.value == pytest.approx(40 / other.seconds)


def test_every_utterance_is_computed_alike(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[list[float | None]] = []
    monkeypatch.setattr(model, "run", lambda features: batches.append([each.seconds for each in features]))
    measure_batching(model, "synthetic", spoken([0.5 + 0.01 * i for i in range(40)]), threads=1)
    counted = sorted(seconds for batch in batches for seconds in batch if seconds is not None)
    assert set(counted) == {0.5 + 0.01 * i for i in range(40)} or len(set(counted)) == 40
    # In each of three ways, and those before the clock counts once more.
    assert min(map(counted.count, counted)) >= 3


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 100), st.integers(1, 20))
def test_batches_as_they_arrive_hold_each_once_in_order(count: int, size: int) -> None:
    batches = _as_they_arrive(list(range(count)), size)
    assert [i for batch in batches for i in batch] == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 20_000))
def test_a_stretch_cuts_no_batch_short(count: int) -> None:
    size = stretch_of(count)
    assert all(size % arriving == 0 for arriving in ARRIVAL)
    assert size % (WINDOW * BatchLimits().utterances) == 0
    assert -(-count // size) <= STRETCHES


def test_an_utterance_without_times_is_an_error(model: Model) -> None:
    without = dataclasses.replace(spoken([1.0])[0], end=None)
    with pytest.raises(DataError, match="u0: has no times, expected annotations"):
        measure_batching(model, "synthetic", [without], threads=1)
