"""The section ``batching``: utterances of like length together, beside padded batches as they arrive."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np

from mtab.batching import WINDOW, in_batches, length_of
from mtab.data import Utterance
from mtab.limits import BATCH_SECONDS, BatchLimits
from mtab.model import Model
from mtab.preprocess import Features
from mtab.synthetic_inputs import speech
from mtab.timing import Ratio
from mtab_bench.interleaving import HOW, Phase, time_phases
from mtab_bench.sections.samples import Quantity
from mtab_bench.sections.section import Conditions, Machine, Section, now
from mtab_bench.serving import duration_of

ARRIVAL = (8, 16)
"""Utterances in the batches that are padded as they arrive."""
STRETCHES = 12
"""Into so many the utterances are cut; all strategies answer each."""
DESCRIPTION = (
    f"The utterances are cut into up to {STRETCHES} stretches, which every strategy answers whole. {HOW}"
)

Batches = list[list[int]]


@dataclass(frozen=True, slots=True)
class Durations:
    """How many utterances, and their seconds in all."""

    count: int
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to form batches of up to ``batch_size``. ``padding`` is seconds computed for a second spoken.

    ``seconds`` are those of all utterances; ``speedup`` is over the first strategy, None for itself.
    """

    name: str
    batch_size: int
    padding: float
    seconds: float
    throughput: Quantity
    speedup: Ratio | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching(Section):
    """How fast utterances of a corpus's durations are answered, batched by each strategy.

    By one engine, and by what was chosen for throughput on this machine.
    """

    name: ClassVar[str] = "batching"
    title: ClassVar[str] = "Batches"
    command: ClassVar[str] = "mtab-bench batching"

    timing: Conditions
    dataset: str
    durations: Durations
    engine: str
    precision: str
    strategies: tuple[Strategy, ...]


class _Way(NamedTuple):
    """A strategy as it is run: how a stretch becomes batches, and who answers them."""

    name: str
    batch_size: int
    form: Callable[[list[int]], Batches]
    model: Model


def measure_batching(
    model: Model, dataset: str, utterances: Sequence[Utterance], threads: int, tuned: Model | None = None
) -> Batching:
    """How fast ``model`` answers utterances of real lengths, batched by each strategy.

    ``tuned`` is the same bundle's model as it was chosen for throughput, with batches and streams of its own.
    Of an utterance its duration and its transcript count: the sound is noise, for what it says changes no
    time. Raises `KeyboardInterrupt` where Ctrl-C leaves too little to say anything.
    """
    features = [_features(model, utterance) for utterance in utterances]
    seconds = [each.seconds or 0.0 for each in features]
    stretches = _as_they_arrive(list(range(len(features))), stretch_of(len(features)))
    ways = [
        _Way(f"of {size} as they arrive", size, partial(_as_they_arrive, size=size), model)
        for size in ARRIVAL
    ]
    ways.append(_like_length("of like length", features, model))
    if tuned is not None:
        ways.append(_like_length(_told(tuned), features, tuned))
    batches = {way.name: [way.form(part) for part in stretches] for way in ways}
    runs = {way.name: partial(_run, way, features, batches[way.name]) for way in ways}
    phase = Phase(lambda stretch: stretch, len(stretches), len(stretches))
    timings, interrupted = time_phases(runs, [phase])
    if not timings:
        raise KeyboardInterrupt
    [timing] = timings
    spoken, first = sum(seconds), ways[0].name
    found = []
    for way in ways:
        # On average, for Ctrl-C may have left out some stretches.
        total = len(stretches) * float(timing.samples(way.name).mean())
        computed = sum(
            len(batch) * max(seconds[i] for i in batch) for stretch in batches[way.name] for batch in stretch
        )
        found.append(
            Strategy(
                name=way.name,
                batch_size=way.batch_size,
                padding=computed / spoken,
                seconds=total,
                throughput=Quantity("utterances/s", len(features) / total),
                speedup=None if way.name == first else timing.speedup(way.name, first),
            )
        )
    return Batching(
        created=now(),
        machine=Machine.here(),
        interrupted=interrupted,
        protocol=None,
        timing=Conditions.of(threads, timings, DESCRIPTION),
        dataset=dataset,
        durations=Durations(len(features), spoken),
        engine=model.engine.name,
        precision=model.engine.precision,
        strategies=tuple(found),
    )


def _like_length(name: str, features: Sequence[Features], model: Model) -> _Way:
    limits = model.batch_limits(None, BATCH_SECONDS)
    return _Way(name, limits.utterances, partial(_of_like_length, features, limits), model)


def _told(tuned: Model) -> str:
    engine = tuned.engine
    return f"tuned: {engine.name} {engine.precision}, batches of {tuned.batch_size}, {engine.streams} at once"


def _run(way: _Way, features: Sequence[Features], batches: Sequence[Batches], stretch: int) -> None:
    """Answer a stretch's batches, as many at once as the engine has streams."""
    with ThreadPoolExecutor(way.model.engine.streams) as pool:
        answers = pool.map(lambda batch: way.model.run([features[i] for i in batch]), batches[stretch])
        deque(answers, maxlen=0)


def stretch_of(count: int) -> int:
    """How many of ``count`` utterances a stretch has: such that none of its batches would be cut short.

    As many as `Model.stream` looks ahead, or a multiple of that; the last stretch has the rest.
    """
    ahead = math.lcm(WINDOW * BatchLimits().utterances, *ARRIVAL)
    return ahead * math.ceil(count / (STRETCHES * ahead))


def _features(model: Model, utterance: Utterance) -> Features:
    audio = speech(np.random.default_rng(0), duration_of(utterance))
    modalities = model.bundle.config.modalities
    return model.read(
        audio if "audio" in modalities else None,
        utterance.text if "text" in modalities else None,
        name=utterance.id,
    )


def _of_like_length(features: Sequence[Features], limits: BatchLimits, part: list[int]) -> Batches:
    """The batches of the utterances numbered in ``part`` that `Model.stream` computes."""
    batches: Batches = []

    def compute(batch: list[int]) -> list[int]:
        batches.append(batch)
        return batch

    for _ in in_batches(part, lambda i: length_of(features[i]), compute, limits):
        pass
    return batches


def _as_they_arrive(part: list[int], size: int) -> Batches:
    return [part[start : start + size] for start in range(0, len(part), size)]
