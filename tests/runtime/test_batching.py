"""Batches of like length: the least computing, the caller's order, and no more held than the window."""

import gc
import itertools
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.batching import (
    WINDOW,
    Length,
    in_batches,
    padded_seconds,
    padded_seconds_as_they_come,
    plan,
)
from mtab.data import read_corpus
from mtab.errors import MtabError
from mtab.limits import BatchLimits, Limits

CALL = 0.5


def partitions(items: Sequence[int]) -> Iterator[list[list[int]]]:
    """Every way to divide some items into sets."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for count in range(len(rest) + 1):
        for others in itertools.combinations(rest, count):
            left = [item for item in rest if item not in others]
            for division in partitions(left):
                yield [[first, *others], *division]


def cost(seconds: Sequence[float], batches: Sequence[Sequence[int]]) -> float:
    return sum(len(batch) * max(seconds[i] for i in batch) + CALL for batch in batches)


def allowed(seconds: Sequence[float], batch: Sequence[int], limits: BatchLimits) -> bool:
    padded = len(batch) * max(seconds[i] for i in batch)
    return len(batch) <= limits.utterances and (len(batch) == 1 or padded <= limits.seconds)


LENGTHS = st.lists(st.floats(0.05, 20), min_size=1, max_size=6)
LIMITS = st.builds(BatchLimits, st.integers(1, 6), st.floats(0.5, 60))


@settings(deadline=None, max_examples=60)
@given(LENGTHS, LIMITS)
def test_no_other_batches_take_less_computing(seconds: list[float], limits: BatchLimits) -> None:
    """Of all ways to divide the utterances, in order of length or not."""
    batches = plan([Length(each) for each in seconds], limits)
    assert sorted(itertools.chain(*batches)) == list(range(len(seconds)))
    assert all(allowed(seconds, batch, limits) for batch in batches)
    least = min(
        cost(seconds, division)
        for division in partitions(range(len(seconds)))
        if all(allowed(seconds, batch, limits) for batch in division)
    )
    assert cost(seconds, batches) == pytest.approx(least)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 512)), max_size=40), LIMITS)
def test_every_utterance_once_and_within_the_limits(
    lengths: list[tuple[float, int]], limits: BatchLimits
) -> None:
    batches = plan([Length(*each) for each in lengths], limits)
    assert sorted(itertools.chain(*batches)) == list(range(len(lengths)))
    assert all(allowed([seconds for seconds, _ in lengths], batch, limits) for batch in batches)


def test_one_long_clip_pads_no_short_ones() -> None:
    for long in (40.0, 8.0):
        batches = plan([Length(each) for each in (1.0, 1.1, 1.2, long, 0.9, 1.0, 1.3, 1.1)], BatchLimits())
        assert [3] in batches


def test_one_long_text_pads_no_short_ones() -> None:
    for seconds in (0.0, 1.0):
        lengths = [Length(seconds, tokens) for tokens in (5, 6, 512, 4, 8)]
        assert sorted(plan(lengths, BatchLimits())) == [[2], [3, 0, 1, 4]]


def test_utterances_of_one_length_fill_batches() -> None:
    batches = plan([Length(3.0, 12)] * 17, BatchLimits(8, 60))
    assert sorted(map(len, batches)) == [1, 8, 8]
    assert max(map(len, plan([Length(10.0)] * 17, BatchLimits(8, 60)))) == 6


# In order, lazily


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.05, 40), max_size=150), LIMITS, st.integers(1, 3))
def test_answers_come_in_order(seconds: list[float], limits: BatchLimits, streams: int) -> None:
    batches: list[list[tuple[int, float]]] = []

    def compute(batch: list[tuple[int, float]]) -> list[int]:
        batches.append(batch)
        return [number for number, _ in batch]

    numbers = in_batches(enumerate(seconds), lambda each: Length(each[1]), compute, limits, streams)
    assert list(numbers) == list(range(len(seconds)))
    assert sorted(number for batch in batches for number, _ in batch) == list(range(len(seconds)))
    for batch in batches:
        assert allowed([each for _, each in batch], range(len(batch)), limits)


class Clip:
    """An item of so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Clips:
    """Makes items, and counts those made and those that live."""

    def __init__(self) -> None:
        self.taken = 0
        self.live: weakref.WeakSet[Clip] = weakref.WeakSet()

    def __call__(self, seconds: float) -> Clip:
        clip = Clip(seconds)
        self.live.add(clip)
        self.taken += 1
        return clip


@pytest.fixture
def clips() -> Clips:
    return Clips()


def answers(clips: Iterator[Clip], limits: BatchLimits, streams: int = 1) -> Iterator[float]:
    def compute(batch: list[Clip]) -> list[float]:
        return [clip.seconds for clip in batch]

    return in_batches(clips, lambda clip: Length(clip.seconds), compute, limits, streams)


@pytest.mark.parametrize("streams", [1, 2])
def test_no_more_is_held_than_the_window_however_long_the_stream(clips: Clips, streams: int) -> None:
    limits = BatchLimits(2, 60)
    window = 2 * WINDOW
    endless = (clips(1 + i % 7) for i in itertools.count())
    found = answers(endless, limits, streams)
    assert clips.taken == 0
    most = 0
    for number, seconds in enumerate(itertools.islice(found, 5 * window)):
        assert seconds == 1 + number % 7
        most = max(most, len(clips.live))
        # A consumer that is slow holds the stream up: what it has not asked for is not taken.
        assert clips.taken <= (number // window + 1) * window
    assert window - 4 * streams <= most <= window
    found.close()  # pyright: ignore[reportAttributeAccessIssue]
    del endless
    gc.collect()
    assert not clips.live


def test_of_long_clips_fewer_are_held(clips: Clips) -> None:
    """So that memory is bounded in seconds as well as in utterances."""
    found = answers((clips(600.0) for _ in itertools.count()), BatchLimits(8, 60))
    next(found)
    assert clips.taken == -(-WINDOW * 60 // 600)
    found.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_the_first_answer_takes_one_batch() -> None:
    batches = []

    def compute(batch: list[float]) -> list[float]:
        batches.append(batch)
        return batch

    found = in_batches([9.0, 1.0] * 50, Length, compute, BatchLimits(4, 60))
    assert next(found) == 9.0
    assert batches == [[9.0] * len(batches[0])]
    assert next(found) == 1.0
    assert len(batches) == 2


def test_what_fails_to_compute_is_raised() -> None:
    def compute(batch: list[float]) -> list[float]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        next(in_batches([1.0], Length, compute, BatchLimits()))


# Several at once


def test_so_many_batches_are_computed_at_once_and_no_more() -> None:
    both = threading.Barrier(2)
    under_way = 0
    lock = threading.Lock()

    def compute(batch: list[float]) -> list[float]:
        nonlocal under_way
        with lock:
            under_way += 1
            assert under_way <= 2
        both.wait(60)  # nobody passes alone
        with lock:
            under_way -= 1
        return batch

    seconds = [float(n) for n in range(1, 13)]
    assert list(in_batches(seconds, Length, compute, BatchLimits(1), 2)) == seconds


def test_what_is_not_asked_for_is_soon_not_computed() -> None:
    computed: list[float] = []

    def compute(batch: list[float]) -> list[float]:
        computed.extend(batch)
        return batch

    found = in_batches([1.0] * 20, Length, compute, BatchLimits(1), 2)
    time.sleep(0.02)
    assert not computed
    for number in range(1, 6):
        next(found)
        assert number <= len(computed) <= number + 3
    found.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(computed) <= 8
    assert not [each for each in threading.enumerate() if each.name.startswith("mtab-stream")]


def test_of_several_the_one_that_fails_is_raised_in_its_turn() -> None:
    def compute(batch: list[float]) -> list[float]:
        if 3.0 in batch:
            raise ZeroDivisionError
        return batch

    found = in_batches([1.0, 2.0, 3.0, 4.0], Length, compute, BatchLimits(1), 3)
    assert [next(found), next(found)] == [1.0, 2.0]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert list(found) == []


# Padding


def test_padding_worked_out_by_hand() -> None:
    seconds = [1.0, 4.0, 1.0, 4.0, 2.0]
    assert padded_seconds_as_they_come(seconds, 2) == 2 * 4 + 2 * 4 + 2
    assert padded_seconds_as_they_come(seconds, 8) == 5 * 4
    assert padded_seconds(seconds, BatchLimits(2, 60)) == 2 * 1 + 2 * 4 + 2
    assert padded_seconds(seconds, BatchLimits(1, 60)) == sum(seconds)


def test_the_padding_of_real_durations() -> None:
    """MELD's utterances in their order: without any padding 2.27 and 2.79 times less would be computed."""
    data = os.environ.get("MTAB_TEST_DATA")
    if not data:
        pytest.skip("needs MELD's annotation files: set MTAB_TEST_DATA to the folder that holds meld/")
    utterances = read_corpus("meld", Path(data) / "meld").utterances
    seconds = [u.end - u.start for u in utterances if u.start is not None and u.end is not None]
    batched = padded_seconds(seconds, BatchLimits())
    assert padded_seconds_as_they_come(seconds, 8) / batched > 2.2
    assert padded_seconds_as_they_come(seconds, 16) / batched > 2.7
    assert batched / sum(seconds) < 1.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchLimits(0), "batches of 0 utterances, expected 1 or more"),
        (lambda: BatchLimits(1, 0.0), "batches of 0.0 seconds, expected more than 0"),
        (lambda: BatchLimits(1, float("nan")), "batches of nan seconds, expected more than 0"),
        (lambda: Limits(0), "at most 0 seconds, expected more than 0"),
        (lambda: Limits(1, -1), "at most -1 characters, expected more than 0"),
    ],
)
def test_limits_that_leave_room_for_nothing(make: type, message: str) -> None:
    with pytest.raises(MtabError) as caught:
        make()
    assert str(caught.value) == message
