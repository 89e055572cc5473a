"""The section ``training``: an epoch of our trainer beside the padded loop that papers' code uses."""

import dataclasses
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

from mtab.data import Corpus
from mtab.machine import OtherLoad, describe_machine, instruction_sets, usable_cores
from mtab_train.config import PRESETS


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the same epoch."""

    name: str
    batch_size: int
    bucketing: bool = False
    cache: bool = False
    mixed_precision: Literal["no", "bf16"] = "no"


def variants(batch_size: int, bf16: bool) -> tuple[Variant, ...]:
    """From the paper's kind of code to ours, one change at a time; the last one where there is ``bf16``."""
    padded, bucketed = f"batches of {batch_size}", f"batches of {batch_size}, bucketed"
    tried = (
        Variant("batches of 2, as they come", 2),
        Variant(f"{padded}, as they come", batch_size),
        Variant(bucketed, batch_size, bucketing=True),
        Variant(f"{bucketed}, frozen layers cached", batch_size, bucketing=True, cache=True),
    )
    if not bf16:
        return tried
    return (*tried, dataclasses.replace(tried[-1], name=f"{tried[-1].name}, bf16", mixed_precision="bf16"))


def measure_training(corpus: Corpus, preset: str, batch_size: int, epochs: int) -> dict[str, Any]:
    """Train the same model on the same utterances each way, an epoch of each in turn; plain JSON values.

    The encoders are frozen as in the paper's preset (wav2vec2's convolutions, RoBERTa whole) and start from
    random weights. ``seconds`` are those of each epoch's training, without its validation;
    ``prepare_seconds`` those before the first, in which frozen layers are computed where they are cached;
    ``padding`` is samples computed for each sample of speech.
    """
    from mtab.data import corpus_hash, default_scheme, make_folds
    from mtab_train.examples import lengths
    from mtab_train.start import Start, begin_run
    from mtab_train.trainer import Trainer

    base = PRESETS[preset]
    model = dataclasses.replace(
        base.model,
        audio_model=None,
        text_model=None,
        audio_training="conv-frozen",
        text_training="frozen",
    )
    scheme = default_scheme(corpus)
    fold = make_folds(corpus, scheme)[0].name
    tried = variants(batch_size, "bf16" in (instruction_sets() or ()))
    with tempfile.TemporaryDirectory() as place, OtherLoad() as load_beside:
        trainers, prepared = [], []
        for number, variant in enumerate(tried):
            train = dataclasses.replace(
                base.train,
                epochs=epochs,
                batch_size=variant.batch_size,
                bucketing=variant.bucketing,
                mixed_precision=variant.mixed_precision,
            )
            run = begin_run(Path(place) / str(number), Start(model, train, preset), corpus, scheme, fold)
            begun = time.perf_counter()
            trainers.append(Trainer(run, corpus, "cpu", cache=variant.cache))
            prepared.append(time.perf_counter() - begun)
        rounds = list(zip(*(trainer.epochs() for trainer in trainers), strict=True))
        rows_of = list(zip(*rounds, strict=True))
        medians = [median(row["train"]["seconds"] for row in rows) for rows in rows_of]
        return {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": describe_machine(),
            "protocol": {
                "dataset": corpus.name,
                "title": corpus.title,
                "synthetic": corpus.synthetic,
                "corpus_sha256": corpus_hash(corpus.utterances),
                "folds": scheme,
                "fold": fold,
                "protocol": base.train.protocol,
                "seed": base.train.seed,
                "classes": list(corpus.labels),
                "utterances": len(trainers[0].train),
            },
            "timing": {"threads": usable_cores(), "other_load": load_beside.cores},
            "preset": preset,
            "epochs": epochs,
            "variants": [
                {
                    "name": variant.name,
                    "precision": "fp32" if variant.mixed_precision == "no" else variant.mixed_precision,
                    "seconds": [row["train"]["seconds"] for row in rows],
                    "median_seconds": middle,
                    "speedup": medians[0] / middle,
                    "prepare_seconds": before,
                    "padding": _padding(trainer.batches(1), lengths(trainer.train)),
                    "losses": [row["train"]["loss"] for row in rows],
                    "validation_losses": [row["validation"]["loss"] for row in rows],
                    "utterances": len(trainer.train),
                }
                for variant, trainer, rows, middle, before in zip(
                    tried, trainers, rows_of, medians, prepared, strict=True
                )
            ],
        }


def _padding(batches: list[list[int]], lengths: list[int]) -> float:
    computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return computed / sum(lengths)
