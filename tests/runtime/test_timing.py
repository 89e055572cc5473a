"""Interleaved timing: the factor of what is known, its interval, noise that is told, time that is bounded."""

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtab.timing
from mtab.timing import (
    FREE_SECONDS,
    MIN_BLOCKS,
    PATIENCE,
    RETRIES,
    SLOW,
    Block,
    Interrupted,
    Timing,
    interleaved,
)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtab.timing, "WAIT", 0)
    monkeypatch.setattr(mtab.timing, "PAUSE", 0)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    loads(monkeypatch, itertools.repeat(0.0))


def loads(monkeypatch: pytest.MonkeyPatch, cores: Iterator[float | None]) -> None:
    """Let other processes use so many cores, an attempt after the other, a second each."""

    class Load:
        seconds = 1.0

        def __enter__(self) -> "Load":
            self.cores = next(cores)
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(mtab.timing, "OtherLoad", Load)


class Clock:
    """A clock that stands still but for what the backends take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def taking(self, seconds: Callable[[int], float]) -> Callable[[int], None]:
        def answer(item: int) -> None:
            self.now += seconds(item)

        return answer


def same(item: int) -> int:
    return item


def timing_of(blocks: list[list[tuple[float, float]]], load: float = 0.0) -> Timing:
    """A timing of two backends from their seconds for each request of each block."""
    pairs = np.array([pair for block in blocks for pair in block], dtype=np.float64)
    made = tuple(Block(len(block), 1.0, load, 1) for block in blocks)
    return Timing({"a": pairs[:, 0], "b": pairs[:, 1]}, np.zeros(len(pairs), np.int64), made)


@pytest.mark.usefixtures("quiet")
def test_the_factor_is_of_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    backends = {
        "slow": clock.taking(lambda i: 0.003 * (i + 1)),
        "fast": clock.taking(lambda i: 0.001 * (i + 1)),
    }
    timing = interleaved(backends, same, 7, min_samples=30)
    assert len(timing.items) == 35  # whole passes
    np.testing.assert_array_equal(timing.items, np.arange(35) % 7)
    np.testing.assert_allclose(timing.seconds["slow"], 0.003 * (timing.items + 1))
    ratio = timing.speedup("fast", over="slow")
    # Lengths differ by seven, and the factor does not.
    assert (ratio.value, ratio.low, ratio.high) == (pytest.approx(3),) * 3
    assert not ratio.disturbed
    assert timing.speedup("slow", over="fast").value == pytest.approx(1 / 3)
    assert len(timing.blocks) >= MIN_BLOCKS
    assert sum(block.requests for block in timing.blocks) == 35


@pytest.mark.usefixtures("quiet")
def test_it_works_for_as_long_as_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    backends = {"a": clock.taking(lambda _: 0.01), "b": clock.taking(lambda _: 0.005)}
    shares: list[float] = []
    timing = interleaved(backends, same, 1, min_samples=4, min_seconds=2, progress=shares.append)
    assert 2 <= timing.samples("b").sum() < 2.5
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)


@pytest.mark.usefixtures("quiet")
def test_the_rest_of_a_pass_is_measured_in_whole_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more items than samples are wanted all are answered, as fast as those, and the end is foreseen."""
    clock = Clock(monkeypatch)
    shares: list[float] = []
    backends = {"a": clock.taking(lambda _: 0.01), "b": clock.taking(lambda _: 0.01)}
    timing = interleaved(backends, same, 1000, min_samples=100, progress=shares.append)
    assert len(timing.items) == 1000
    # 25 requests of both fill half a second.
    assert len(timing.blocks) <= MIN_BLOCKS + 1000 / 25 + 2
    assert shares == sorted(shares)
    assert shares[len(shares) // 2] == pytest.approx(0.5, abs=0.1)
    assert shares[-2] < 1 == shares[-1]


@pytest.mark.usefixtures("quiet")
def test_every_request_is_drawn_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    drawn = itertools.count()
    answered: dict[str, list[int]] = {"a": [], "b": []}
    pay = clock.taking(lambda _: 0.01)

    def answers(name: str) -> Callable[[int], None]:
        def answer(request: int) -> None:
            answered[name].append(request)
            pay(request)

        return answer

    timing = interleaved({name: answers(name) for name in answered}, lambda _: next(drawn), 5, 20)
    assert sorted(answered["a"]) == sorted(answered["b"]) == list(range(next(drawn)))
    # What does not count is a request of its own, or it would spoil the first of new lengths.
    assert len(answered["a"]) == len(timing.items) + len(timing.blocks)
    # In alternating order.
    assert len(set(answered["a"])) == len(answered["a"])


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("factor", [10, 1000])
def test_a_slow_one_stretches_no_other(monkeypatch: pytest.MonkeyPatch, factor: int) -> None:
    clock = Clock(monkeypatch)
    backends = {
        "reference": clock.taking(lambda _: 0.01),
        "slow": clock.taking(lambda _: 0.01 * factor),
        "other": clock.taking(lambda _: 0.02),
    }
    timing = interleaved(backends, same, 10, min_samples=1000)
    assert len(timing.samples("reference")) == len(timing.samples("other")) == 1000
    slow = timing.samples("slow")
    assert MIN_BLOCKS <= len(slow) < 1000
    fair = SLOW * timing.samples("reference").sum()
    assert slow.sum() <= FREE_SECONDS + fair + MIN_BLOCKS * 0.01 * factor
    if factor == 10:
        assert slow.sum() > 0.8 * fair
    assert timing.speedup("reference", over="slow").value == pytest.approx(factor)


@pytest.mark.usefixtures("quiet")
def test_a_slow_one_has_the_samples_that_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    backends = {"fast": clock.taking(lambda _: 0.001), "slow": clock.taking(lambda _: 0.03)}
    timing = interleaved(backends, same, 1, min_samples=200, min_seconds=1)
    assert len(timing.samples("fast")) >= 1000
    assert 200 <= len(timing.samples("slow")) < 400


def test_a_disturbed_block_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    cores = iter([0.0, 0.9, 0.9, 0.1, *[0.05] * 100])
    loads(monkeypatch, cores)
    drawn: list[int] = []

    def draw(item: int) -> int:
        drawn.append(item)
        return item

    timing = interleaved({"a": clock.taking(lambda _: 0.01)}, draw, 1, min_samples=MIN_BLOCKS)
    assert [block.attempts for block in timing.blocks] == [1, 3, *[1] * (MIN_BLOCKS - 2)]
    assert timing.blocks[1].other_load == 0.1
    assert not timing.disturbed
    assert len(timing.items) == MIN_BLOCKS
    assert len(drawn) == 2 * (MIN_BLOCKS + 2)


def test_what_stays_disturbed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    attempts = itertools.count()
    loads(monkeypatch, (0.9 + 0 * next(attempts) for _ in itertools.count()))
    backends = {"a": clock.taking(lambda _: 0.01), "b": clock.taking(lambda _: 0.02)}
    timing = interleaved(backends, same, 1, min_samples=200)
    assert timing.disturbed
    assert timing.speedup("a", over="b").disturbed
    assert timing.other_load == pytest.approx(0.9)
    # It gives up before long.
    assert next(attempts) == len(timing.blocks) + RETRIES * PATIENCE


def test_without_a_clock_of_others_nothing_is_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    loads(monkeypatch, itertools.repeat(None))
    timing = interleaved({"a": clock.taking(lambda _: 0.01)}, same, 1)
    assert timing.other_load is None
    assert not timing.disturbed


def test_a_block_is_judged_beyond_what_the_clock_can_tell() -> None:
    assert not Block(1, 0.01, 1.0, 1).disturbed  # a tick
    assert Block(1, 0.1, 0.9, 1).disturbed
    assert Block(1, 10.0, 0.21, 1).disturbed
    assert not Block(1, 10.0, 0.19, 1).disturbed
    # A little everywhere is noise all in all, and one noisy block is not.
    assert timing_of([[(1, 1)]] * 20, load=0.25).disturbed
    quiet, noisy = Block(1, 1.0, 0.0, 1), Block(1, 1.0, 0.9, 3)
    assert not Timing({"a": np.ones(10)}, np.zeros(10, np.int64), (noisy, *[quiet] * 9)).disturbed


def test_an_interruption_keeps_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    loads(monkeypatch, itertools.repeat(0.0))
    pay = clock.taking(lambda _: 0.01)
    left = iter(range(9))

    def answer(item: int) -> None:
        pay(item)
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        interleaved({"a": answer, "b": pay}, same, 1, min_samples=100)
    assert isinstance(caught.value, Interrupted)
    timing = caught.value.timing
    assert timing is not None
    assert 1 <= len(timing.items) == len(timing.seconds["a"]) == len(timing.seconds["b"]) < 9
    with pytest.raises(Interrupted) as caught:
        interleaved({"a": answer}, same, 1)
    assert caught.value.timing is None


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 4))
def test_the_interval_holds_the_median_and_narrows(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)

    def ratio_of(count: int) -> tuple[float, float, float]:
        blocks = [[(factor * random.lognormal(0, 0.1), 1.0) for _ in range(10)] for _ in range(count)]
        found = timing_of(blocks).speedup("b", over="a")
        return found.low, found.value, found.high

    low, value, high = ratio_of(60)
    assert low <= value <= high
    assert low > factor * 0.95
    assert high < factor * 1.05
    assert high - low < 0.1 * factor


def test_the_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        # What disturbs a block disturbs all of its requests.
        blocks = [
            [(2 * each * random.lognormal(0, 0.05), 1.0) for _ in range(8)]
            for each in random.lognormal(0, 0.1, size=20)
        ]
        found = timing_of(blocks).speedup("b", over="a")
        covered += found.low <= 2 <= found.high
    assert covered >= 50


def test_one_wild_request_changes_nothing() -> None:
    blocks = [[(1.0, 0.5), (3.0, 1.5)] for _ in range(6)]
    blocks[2][0] = (50.0, 0.5)
    blocks[4][1] = (3.0, 100.0)
    assert timing_of(blocks).speedup("b", over="a").value == 2


def test_for_real() -> None:
    backends = {"a": lambda _: time.sleep(0.004), "b": lambda _: time.sleep(0.002)}
    timing = interleaved(backends, same, 3, min_samples=30)
    assert 1.3 < timing.speedup("b", over="a").value < 2.5
    assert 0.004 <= timing.median("a") < 0.02
