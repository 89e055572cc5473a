"""``mtab-bench batching``: utterances of like length together, beside padded batches as they arrive."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from tqdm import tqdm

from mtab.batching import in_batches
from mtab.data import Utterance
from mtab.errors import DataError
from mtab.limits import BatchLimits
from mtab.machine import OtherLoad, describe_machine
from mtab.model import Model, length_of
from mtab.preprocess import Features
from mtab.synthetic_inputs import speech
from mtab.timing import interleaved

ARRIVAL = (8, 16)
"""Utterances in the batches that are padded as they arrive."""
STRETCHES = 10


def batching(model: Model, dataset: str, utterances: Sequence[Utterance], threads: int) -> dict[str, Any]:
    """How fast ``model`` answers utterances of real lengths, batched in each way; plain JSON values.

    Of an utterance its duration and its transcript count: the sound is noise, for what it says changes no
    time. A way's batches are cut into `STRETCHES`, on which the ways are timed in interleaved blocks.
    """
    features = [_features(model, utterance) for utterance in utterances]
    seconds = [each.seconds or 0.0 for each in features]
    ways = [
        *((f"of {size} as they arrive", size, _as_they_arrive(len(features), size)) for size in ARRIVAL),
        ("of like length", BatchLimits().utterances, _of_like_length(features)),
    ]
    stretches = [np.array_split(np.array(batches, dtype=object), STRETCHES) for _, _, batches in ways]

    def run(way: int, stretch: int) -> None:
        for batch in stretches[way][stretch]:
            model.run([features[i] for i in batch])

    with (
        OtherLoad() as load_beside,
        tqdm(total=100, desc="measuring", unit="%", disable=None, leave=False) as bar,
    ):

        def show(share: float) -> None:
            bar.update(int(100 * share) - bar.n)

        runs = {name: lambda stretch, way=way: run(way, stretch) for way, (name, _, _) in enumerate(ways)}
        timing = interleaved(runs, lambda stretch: stretch, STRETCHES, STRETCHES, progress=show)
    totals = [STRETCHES * float(timing.samples(name).mean()) for name in runs]
    spoken = sum(seconds)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "dataset": dataset,
        "durations": {"count": len(features), "total_seconds": spoken},
        "timing": {"threads": threads, "other_load": load_beside.cores},
        "engine": model.engine.name,
        "precision": model.engine.precision,
        "ways": [
            {
                "name": name,
                "batch_size": size,
                "padding": sum(len(batch) * max(seconds[i] for i in batch) for batch in batches) / spoken,
                "seconds": float(total),
                "throughput": {"unit": "utterances/s", "value": len(features) / float(total)},
                "speedup": float(totals[0] / total),
            }
            for (name, size, batches), total in zip(ways, totals, strict=True)
        ],
    }


def _features(model: Model, utterance: Utterance) -> Features:
    if utterance.start is None or utterance.end is None:
        raise DataError(f"{utterance.id}: has no times, expected annotations that tell durations")
    audio = speech(np.random.default_rng(0), utterance.end - utterance.start)
    modalities = model.bundle.config.modalities
    return model.read(
        audio if "audio" in modalities else None,
        utterance.text if "text" in modalities else None,
        name=utterance.id,
    )


def _of_like_length(features: Sequence[Features]) -> list[list[int]]:
    """The batches that `Model.stream` computes, each a list of the utterances' numbers."""
    batches: list[list[int]] = []

    def compute(batch: list[int]) -> list[int]:
        batches.append(batch)
        return batch

    for _ in in_batches(range(len(features)), lambda i: length_of(features[i]), compute, BatchLimits()):
        pass
    return batches


def _as_they_arrive(count: int, size: int) -> list[list[int]]:
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]
