"""`AsyncModel`: requests that arrive at the same time are answered together, in asyncio and from threads."""

import asyncio
import functools
import os
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition
from types import TracebackType
from typing import Any, Self

from mtab import batching
from mtab.audio import SAMPLE_RATE
from mtab.errors import MtabError, QueueFullError
from mtab.inputs import Audio, Input
from mtab.limits import BATCH_SECONDS
from mtab.model import Model
from mtab.preprocess import Features
from mtab.results import Result, ResultOptions

_READERS = 4


@dataclass(frozen=True, slots=True)
class Timings:
    """What a request took, in seconds: until it was read and preprocessed, waiting, and in the engine.

    ``batch`` is the number of requests that were computed with it, itself included.
    """

    read: float
    wait: float
    compute: float
    batch: int


class Request(Future[Result]):
    """The answer to come of `AsyncModel.submit`; ``timings`` are there once it was computed."""

    timings: Timings | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read for a request, how long that took, and the time from which it waits for others."""

    features: Features
    options: ResultOptions
    took: float
    since: float


class AsyncModel:
    """A `Model` that collects requests into batches. Safe from any number of event loops and threads.

    >>> async with AsyncModel(mtab.load("bundle")) as model:             # doctest: +SKIP
    ...     result = await model.predict("clip.wav", text="I never said that!")

    While the engine is at work, with as many batches at once as it has ``streams``, requests collect. Once it
    is free, the oldest of them waits up to ``max_latency`` seconds for those that are being read, and not
    once ``batch_size`` (None: the model's) are there; alone it does not wait. Batches are of like length and
    ``batch_seconds`` as in `Model.stream`, and the oldest request is always in the next. At most
    ``max_queue`` requests are unanswered at once. Audio is decoded on threads beside the event loop.
    A process that is forked begins without a request, and with threads and an engine of its own.
    """

    def __init__(
        self,
        model: Model,
        *,
        batch_size: int | None = None,
        batch_seconds: float = BATCH_SECONDS,
        max_latency: float = 0.01,
        max_queue: int = 256,
    ) -> None:
        """Raises `MtabError` for bounds that leave room for nothing."""
        if max_queue < 1:
            raise MtabError(f"a queue of {max_queue} requests, expected 1 or more")
        if not max_latency >= 0:
            raise MtabError(f"a latency of {max_latency} s, expected 0 or more")
        self.model = model
        self.limits = model.batch_limits(batch_size, batch_seconds)
        self.max_latency = max_latency
        self.max_queue = max_queue
        self._closed = False
        self._begin()
        _live.add(self)

    def _begin(self) -> None:
        """Without a request, and with threads of this process."""
        self._changed = Condition()
        # All that are unanswered, and of these the ones that wait for the engine, oldest first, and those
        # that it computes.
        self._accepted: set[Request] = set()
        self._waiting: dict[Request, _Read] = {}
        self._computing: set[Request] = set()
        self._working = 0
        self._readers = ThreadPoolExecutor(_READERS, "mtab-reader")
        self._engine = ThreadPoolExecutor(self.model.engine.streams, "mtab-engine")

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "batch_size": self.limits.utterances,
            "batch_seconds": self.limits.seconds,
            "max_latency": self.max_latency,
            "max_queue": self.max_queue,
        }
        return functools.partial(AsyncModel, **options), (self.model,)

    async def predict(
        self,
        audio: Audio | None,
        text: str | None = None,
        *,
        sampling_rate: float = SAMPLE_RATE,
        top_k: int | None = None,
        abstain: float | None = None,
        return_embedding: bool = False,
    ) -> Result:
        """The emotion of one utterance, as `Model.predict`. A request that is cancelled is not computed.

        Raises what `Model.predict` does for this utterance alone, `QueueFullError` at once where there are
        too many, and `MtabError` once it is closed.
        """
        answer = self.submit(
            audio,
            text,
            sampling_rate=sampling_rate,
            top_k=top_k,
            abstain=abstain,
            return_embedding=return_embedding,
        )
        return await asyncio.wrap_future(answer)

    def submit(
        self,
        audio: Audio | None,
        text: str | None = None,
        *,
        sampling_rate: float = SAMPLE_RATE,
        name: str | None = None,
        top_k: int | None = None,
        abstain: float | None = None,
        return_embedding: bool = False,
    ) -> Request:
        """`predict` for threads: the result as a future. Raises as `predict`, or the future does.

        ``name`` is what errors call the utterance (None: as `predict` does).
        """
        options = ResultOptions(top_k, abstain, return_embedding)
        answer = Request()
        with self._changed:
            if self._closed:
                raise MtabError("the model is closed, expected requests before that")
            if len(self._accepted) >= self.max_queue:
                raise QueueFullError(
                    f"{len(self._accepted)} requests are unanswered, expected fewer than {self.max_queue}; "
                    "try again later"
                )
            self._accepted.add(answer)
            self._readers.submit(
                self._read, answer, Input(audio, text, None, None, sampling_rate, name), options
            )
        answer.add_done_callback(self._forget)
        return answer

    def close(self) -> None:
        """Take no more requests, and return once all that were accepted are answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # In this order: what is read last is still computed.
        self._readers.shutdown()
        self._engine.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    @property
    def unanswered(self) -> int:
        """How many requests are accepted and have no answer yet."""
        with self._changed:
            return len(self._accepted)

    def _forget(self, answer: Future[Result]) -> None:
        assert isinstance(answer, Request)
        with self._changed:
            self._accepted.discard(answer)
            self._waiting.pop(answer, None)
            self._computing.discard(answer)
            self._changed.notify_all()

    def _read(self, answer: Request, given: Input, options: ResultOptions) -> None:
        if answer.cancelled():
            return
        started = time.monotonic()
        try:
            features = self.model.read(
                given.audio, given.text, sampling_rate=given.sampling_rate, name=given.name
            )
        except Exception as error:  # whatever it is, the request must not wait for ever
            if answer.set_running_or_notify_cancel():
                answer.set_exception(error)
            return
        with self._changed:
            if answer.cancelled():
                return
            now = time.monotonic()
            self._waiting[answer] = _Read(features, options, now - started, now)
            if self._working < self.model.engine.streams:
                self._working += 1
                self._engine.submit(self._work)
            self._changed.notify_all()

    def _work(self) -> None:
        """Compute batches until no request waits; on each stream of the engine."""
        while batch := self._next_batch():
            started = {
                answer: read for answer, read in batch.items() if answer.set_running_or_notify_cancel()
            }
            begun = time.monotonic()
            try:
                found = self.model.answer_each([read.features for read in started.values()])
            except Exception as error:  # as above
                for answer in started:
                    answer.set_exception(error)
                continue
            took = time.monotonic() - begun
            for (answer, read), outcome in zip(started.items(), found, strict=True):
                answer.timings = Timings(read.took, begun - read.since, took, len(started))
                if isinstance(outcome, Result):
                    answer.set_result(read.options.apply(outcome))
                else:
                    answer.set_exception(outcome)

    def _next_batch(self) -> dict[Request, _Read]:
        """The oldest request, and others of like length, once it waits no longer; empty without one."""
        with self._changed:
            while self._waiting:
                left = next(iter(self._waiting.values())).since + self.max_latency - time.monotonic()
                to_come = len(self._accepted) - len(self._computing)
                enough = len(self._waiting) >= min(self.limits.utterances, to_come)
                if left <= 0 or self._closed or enough:
                    # Of a long queue the front, so that planning stays cheap.
                    front = list(self._waiting)[: batching.WINDOW * self.limits.utterances]
                    lengths = [batching.length_of(self._waiting[answer].features) for answer in front]
                    indices = next(batch for batch in batching.plan(lengths, self.limits) if 0 in batch)
                    batch = {front[i]: self._waiting.pop(front[i]) for i in indices}
                    self._computing |= batch.keys()
                    return batch
                self._changed.wait(left)
            self._working -= 1
            return {}


_live: weakref.WeakSet[AsyncModel] = weakref.WeakSet()


def _begin_again() -> None:
    for model in list(_live):
        model._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
