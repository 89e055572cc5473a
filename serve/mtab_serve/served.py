"""A bundle that is served: open, warm, and asked for utterances one by one or in lists."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from mtab.aio import AsyncModel, Request, Timings
from mtab.audio import SAMPLE_RATE
from mtab.errors import MtabError
from mtab.loading import load
from mtab.output import record
from mtab.results import Failure, Result, ResultOptions
from mtab.synthetic_inputs import speech, transcript
from mtab_serve import metrics
from mtab_serve.body import Asked
from mtab_serve.problems import problem_of
from mtab_serve.settings import Settings

_WARM_SECONDS = (1.0, 4.0)


class Outcome(NamedTuple):
    """What an utterance is answered with, or why it is not."""

    name: str
    answer: Result | Failure
    timings: Timings | None

    def record(self) -> dict[str, Any]:
        """It as ``mtab predict --format json`` writes it, with its embedding and timings."""
        found = record(self.name, self.answer)
        if isinstance(self.answer, Failure):
            return found
        if self.answer.embedding is not None:
            found["embedding"] = self.answer.embedding.tolist()
        return found if self.timings is None else {**found, "timings": asdict(self.timings)}


class Served:
    """A bundle on an engine, with its queue; ``name`` is what requests call it."""

    def __init__(self, name: str, folder: str, settings: Settings) -> None:
        """Open the bundle and answer a few made-up utterances. Raises what `mtab.load` does."""
        self.name = name
        model = load(
            folder,
            settings.device,
            engine=settings.engine,
            precision=settings.precision,
            threads=settings.threads,
            tuned_for=settings.tuned_for,
        )
        model.limits = settings.limits
        self.engine = f"{model.engine.name} {model.engine.device} {model.engine.precision}"
        random = np.random.default_rng(0)
        for seconds in _WARM_SECONDS:
            clip = speech(random, min(seconds, model.limits.seconds)) if model.preprocess.listens else None
            words = None if model.preprocess.tokenizer is None else transcript(random, 1)
            model.predict(clip, words, sampling_rate=SAMPLE_RATE)
        self.model = AsyncModel(
            model,
            batch_size=settings.batch_size,
            batch_seconds=settings.batch_seconds,
            max_latency=settings.max_latency,
            max_queue=settings.max_queue,
        )
        metrics.MODELS.labels(name, self.engine, model.bundle.content).set(1)

    def describe(self) -> dict[str, Any]:
        """What ``/v1/models`` says of it."""
        model = self.model.model
        return {
            "name": self.name,
            "content": model.bundle.content,
            "labels": list(model.labels),
            "dimensions": list(model.dimensions),
            "modalities": [list(each) for each in model.bundle.config.supported_modalities],
            "engine": model.engine.name,
            "device": model.engine.device,
            "precision": model.engine.precision,
            "streams": model.engine.streams,
            "batch_size": self.model.limits.utterances,
        }

    async def answer(self, utterances: Sequence[Asked], options: ResultOptions) -> list[Outcome]:
        """An outcome for each utterance.

        Raises `QueueFullError` if there is no place for all of them. Where it is cancelled, utterances that
        are not yet computed never are.
        """
        requests: list[Request] = []
        try:
            for each in utterances:
                request = self.model.submit(
                    each.audio,
                    each.text,
                    name=each.name,
                    top_k=options.top_k,
                    abstain=options.abstain,
                    return_embedding=options.return_embedding,
                )
                requests.append(request)
            self._show_queue()
            found = await asyncio.gather(*map(asyncio.wrap_future, requests), return_exceptions=True)
        finally:
            for request in requests:
                request.cancel()
            self._show_queue()
        return [
            self._outcome(each.name, request.timings, outcome)
            for each, request, outcome in zip(utterances, requests, found, strict=True)
        ]

    def _outcome(self, name: str, timings: Timings | None, found: "Result | BaseException") -> Outcome:
        if isinstance(found, MtabError):
            self.count(problem_of(found).kind)
            return Outcome(name, Failure(name, found), timings)
        if isinstance(found, BaseException):
            raise found
        self.count("answered")
        if timings is not None:
            metrics.observe(self.name, self.engine, timings, found.duration)
        return Outcome(name, found, timings)

    def count(self, outcome: str) -> None:
        """Count the outcome of an utterance."""
        metrics.OUTCOMES.labels(self.name, self.engine, outcome).inc()

    def _show_queue(self) -> None:
        metrics.QUEUE.labels(self.name, self.engine).set(self.model.unanswered)
