"""What ``mtab-bench live`` measures: the delay of updates, and whether the end is what predict answers."""

import time
from dataclasses import dataclass

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.errors import MtabError
from mtab.machine import OtherLoad
from mtab.model import Model
from mtab.progress import track
from mtab.results import Failure
from mtab.synthetic_inputs import speech, transcript

LONGEST_CHUNK = 0.5
"""Seconds of the longest chunk; the others are of any length up to that."""


@dataclass(frozen=True, slots=True)
class LiveStreams:
    """What became of ``streams`` of synthetic speech in chunks of any size.

    A delay is the time, in seconds, from the chunk that completes a hop to the update: ``p50``, ``p99`` and
    ``longest`` of ``updates``. ``real_time_factor`` is the share of all computing in the time of the speech,
    ``unlike`` counts the streams whose answer at the end is not what predict answers for the whole.
    """

    streams: int
    seconds: float
    window: float
    hop: float
    updates: int
    p50: float
    p99: float
    longest: float
    real_time_factor: float
    unlike: int
    warning: str | None


def measure_live(
    model: Model, streams: int, seconds: float, window: float, hop: float, seed: int = 0
) -> LiveStreams:
    """Stream synthetic speech through ``model``, as fast as it is taken; the first stream warms up.

    Raises `MtabError` for a model that does not listen, and as `mtab.Model.live`.
    """
    if "audio" not in model.bundle.config.modalities:
        raise MtabError(f"{model.bundle.folder}: reads text alone, expected a model that listens")
    random = np.random.default_rng(seed)
    delays: list[float] = []
    computed = heard = 0.0
    unlike = 0
    with OtherLoad() as beside:
        for number in track(range(streams + 1), "streaming", "streams"):
            samples = speech(random, seconds * random.uniform(0.9, 1.1))
            text = transcript(random, 8) if "text" in model.bundle.config.modalities else None
            live = model.live(window=window, hop=hop, max_seconds=max(window, 2 * seconds))
            place, spent = 0, []
            # At the beginning, so that every window of a model that reads has words.
            said = text
            while place < len(samples):
                size = int(random.integers(1, round(LONGEST_CHUNK * SAMPLE_RATE)))
                begun = time.perf_counter()
                for update in live.accept(samples[place : place + size], said):
                    # Of several in a chunk the second waits for the first.
                    spent.append(time.perf_counter() - begun)
                    if isinstance(update.result, Failure) and text is None:
                        raise update.result.error
                computed += time.perf_counter() - begun if number else 0.0
                place += size
                said = None
            if number:
                delays += spent
                heard += len(samples) / SAMPLE_RATE
                unlike += live.finish().result != model.predict(samples, text)
    return LiveStreams(
        streams=streams,
        seconds=heard,
        window=window,
        hop=hop,
        updates=len(delays),
        p50=float(np.percentile(delays, 50)),
        p99=float(np.percentile(delays, 99)),
        longest=max(delays),
        real_time_factor=computed / heard,
        unlike=unlike,
        warning=beside.warning,
    )
