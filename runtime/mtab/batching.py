"""Which utterances are computed at once: those of like length, so that little of a batch is padding."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from mtab.limits import BatchLimits
from mtab.preprocess import Features

WINDOW = 32
"""Batches' worth of utterances that are held at once, to find those of like length among them."""

# What a token costs the text encoder, in seconds of speech through the audio encoder; and what a call of the
# engine costs beside its arithmetic: both of the size of base on a CPU.
_TOKEN_SECONDS = 0.012
_CALL_SECONDS = 0.5

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Length(NamedTuple):
    """How long an utterance is: seconds of speech, tokens of text; 0 for a modality that it lacks."""

    seconds: float = 0.0
    tokens: int = 0

    @property
    def cost(self) -> float:
        """Its share of the arithmetic, in seconds of speech."""
        return self.seconds + _TOKEN_SECONDS * self.tokens


def length_of(features: Features) -> Length:
    """How long an utterance is."""
    ids = features.input_ids
    return Length(features.seconds or 0.0, 0 if ids is None else len(ids))


def plan(lengths: Sequence[Length], limits: BatchLimits) -> list[list[int]]:
    """Every index once, in the batches within ``limits`` that take the least computing.

    A batch costs as many utterances as it holds, each of the longest speech and the longest text in it, and a
    call of the engine. Only neighbours in the order of their length share one.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i].cost)
    # For the first n of them: what their batches cost, and where the last of these starts.
    best = [(0.0, 0)]
    for end in range(1, len(order) + 1):
        longest = Length()
        options = []
        for start in reversed(range(max(0, end - limits.utterances), end)):
            added = lengths[order[start]]
            longest = Length(max(longest.seconds, added.seconds), max(longest.tokens, added.tokens))
            cost = (end - start) * longest.cost
            if options and cost > limits.seconds:
                break
            options.append((best[start][0] + cost + _CALL_SECONDS, start))
        best.append(min(options))
    batches = []
    end = len(order)
    while end:
        start = best[end][1]
        batches.append(order[start:end])
        end = start
    return batches


def in_batches(
    items: Iterable[Item],
    length: Callable[[Item], Length],
    compute: Callable[[list[Item]], Sequence[Answer]],
    limits: BatchLimits,
    streams: int = 1,
) -> Iterator[Answer]:
    """The answers for ``items`` in their order, of which ``compute`` gives those of one batch.

    Lazy: `WINDOW` batches' worth of items are taken, each batch is computed once an answer in it is asked
    for, and no more is taken before all of these are answered. An item is let go of once it is computed. What
    ``items`` raises is raised in its turn, after the answers for those before it. So many batches as there
    are ``streams`` are computed at once, on threads, and as many more wait for one to be free.
    """
    source = iter(items)
    raised: list[Exception] = []
    while not raised and (waiting := dict(enumerate(_window(source, length, limits, raised)))):
        batches = plan([length(item) for item in waiting.values()], limits)
        # The next one is always that of the first answer that is not there.
        batches.sort(key=min)
        computed = _computed(batches, waiting, compute, min(streams, len(batches)))
        answers: dict[int, Answer] = {}
        for i in range(len(waiting)):
            if i not in answers:
                answers.update(next(computed))
            yield answers.pop(i)
    if raised:
        raise raised[0]


def _computed(
    batches: Iterable[list[int]],
    waiting: dict[int, Item],
    compute: Callable[[list[Item]], Sequence[Answer]],
    streams: int,
) -> Iterator[Iterable[tuple[int, Answer]]]:
    """The answers of each batch in turn, by their numbers; its items leave ``waiting`` for that."""
    if streams == 1:
        for batch in batches:
            yield zip(batch, compute([waiting.pop(i) for i in batch]), strict=True)
        return
    pool = ThreadPoolExecutor(streams, "mtab-stream")
    under_way: deque[tuple[list[int], Future[Sequence[Answer]]]] = deque()
    try:
        for batch in batches:
            under_way.append((batch, pool.submit(compute, [waiting.pop(i) for i in batch])))
            if len(under_way) == 2 * streams:
                first, answers = under_way.popleft()
                yield zip(first, answers.result(), strict=True)
        for batch, answers in under_way:
            yield zip(batch, answers.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _window(
    items: Iterator[Item], length: Callable[[Item], Length], limits: BatchLimits, raised: list[Exception]
) -> Iterator[Item]:
    seconds = 0.0
    for _ in range(WINDOW * limits.utterances):
        if seconds >= WINDOW * limits.seconds:
            return
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as error:  # whatever the source raises
            raised.append(error)
            return
        seconds += length(item).cost
        yield item


def padded_seconds(seconds: Sequence[float], limits: BatchLimits) -> float:
    """The speech that is computed, with its padding, for utterances that arrive in this order.

    The batches are those of `in_batches`.
    """
    computed = 0.0

    def compute(batch: list[float]) -> list[float]:
        nonlocal computed
        computed += len(batch) * max(batch)
        return batch

    for _ in in_batches(seconds, Length, compute, limits):
        pass
    return computed


def padded_seconds_as_they_come(seconds: Sequence[float], batch_size: int) -> float:
    """The speech that is computed, with its padding, in batches in the order of arrival."""
    batches = (seconds[start : start + batch_size] for start in range(0, len(seconds), batch_size))
    return sum(len(batch) * max(batch) for batch in batches)
