"""``mtab-bench batching``: utterances of like length together, beside padded batches as they arrive."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from mtab.batching import in_batches
from mtab.console import Command
from mtab.data import DATASETS, Utterance
from mtab.errors import DataError
from mtab.limits import BatchLimits
from mtab.machine import OtherLoad, describe_machine, usable_cores
from mtab.model import Model, length_of
from mtab.preprocess import Features
from mtab.synthetic_inputs import speech
from mtab.timing import BLOCK, interleaved
from mtab_bench.options import (
    bundle_option,
    data_dir_option,
    newest_bundle,
    out_option,
    overwrite_option,
    report_folder,
    threads_option,
)

ARRIVAL = (8, 16)
"""Utterances in the batches that are padded as they arrive."""


def batching(model: Model, dataset: str, utterances: Sequence[Utterance], threads: int) -> dict[str, Any]:
    """How fast ``model`` answers utterances of real lengths, batched in each way; plain JSON values.

    Of an utterance its duration and its transcript count: the sound is noise, for what it says changes no
    time. A way's batches are cut into `BLOCK` stretches, and the ways take turns on them.
    """
    features = [_features(model, utterance) for utterance in utterances]
    seconds = [each.seconds or 0.0 for each in features]
    ways = [
        *((f"of {size} as they arrive", size, _as_they_arrive(len(features), size)) for size in ARRIVAL),
        ("of like length", BatchLimits().utterances, _of_like_length(features)),
    ]
    stretches = [np.array_split(np.array(batches, dtype=object), BLOCK) for _, _, batches in ways]

    def run(way: int, stretch: int) -> None:
        for batch in stretches[way][stretch]:
            model.run([features[i] for i in batch])

    with (
        OtherLoad() as load_beside,
        tqdm(total=BLOCK, desc="measuring", disable=None, leave=False) as progress,
    ):
        runs = [lambda stretch, way=way: run(way, stretch) for way in range(len(ways))]
        measured = interleaved(runs, BLOCK, progress=progress.update)
    totals = measured.sum(axis=(1, 2))
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


@click.command("batching", cls=Command)
@click.option("--dataset", type=click.Choice(DATASETS), required=True, help="The corpus's layout.")
@data_dir_option
@bundle_option
@click.option("--utterances", type=click.IntRange(min=32), help="The first so many only.  [default: all]")
@threads_option
@out_option
@overwrite_option
def batching_command(
    dataset: str,
    data_dir: Path | None,
    bundle: Path | None,
    utterances: int | None,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
) -> None:
    """How much the grouping by length gains on the durations of a corpus, beside padded batches.

    Utterances have the durations and transcripts of the annotations, in their order, and noise for sound; no
    clip is opened. ONNX Runtime on the CPU, the most exact graph.

    \b
    Example:
      mtab-bench batching --dataset meld --data-dir MELD.Raw
    """
    from mtab.data import read_corpus
    from mtab.loading import load
    from mtab_bench.report import add_section, bundle_record, check_section, written
    from mtab_bench.text import to_text

    bundle = bundle or newest_bundle()
    out = report_folder(out, bundle)
    threads = threads or usable_cores()
    corpus = read_corpus(dataset, data_dir)
    model = load(bundle, "cpu", engine="onnxruntime", threads=threads)
    record = bundle_record(model.bundle)
    check_section(out, record, "batching", overwrite)
    section = batching(model, corpus.title, corpus.utterances[:utterances], threads)
    report = add_section(out, "batching", section, record, overwrite)
    click.echo(f"{to_text(report, 'batching')}\n\n{written(out)}")
