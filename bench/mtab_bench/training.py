"""``mtab-bench training``: an epoch of our trainer beside the padded loop that papers' code uses."""

import dataclasses
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import click

from mtab.console import Command, table
from mtab.data import DATASETS, Corpus
from mtab_train.config import PRESETS


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the same epoch."""

    name: str
    batch_size: int
    bucketing: bool
    cache: bool


def variants(batch_size: int) -> tuple[Variant, ...]:
    """From the paper's kind of code to ours, one change at a time."""
    return (
        Variant("batches of 2, as they come", 2, False, False),
        Variant(f"batches of {batch_size}, as they come", batch_size, False, False),
        Variant(f"batches of {batch_size}, bucketed", batch_size, True, False),
        Variant(f"batches of {batch_size}, bucketed, frozen layers cached", batch_size, True, True),
    )


def measure_training(corpus: Corpus, preset: str, batch_size: int, epochs: int) -> list[dict[str, Any]]:
    """Train the same model on the same utterances each way, an epoch of each in turn; plain JSON values.

    The encoders are frozen as in the paper's preset (wav2vec2's convolutions, RoBERTa whole) and start from
    random weights. The figures are the median seconds of an epoch's training, without its validation, and
    samples computed for each sample of speech.
    """
    from mtab.data import default_scheme, make_folds
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
    tried = variants(batch_size)
    with tempfile.TemporaryDirectory() as place:
        trainers = []
        for number, variant in enumerate(tried):
            train = dataclasses.replace(
                base.train, epochs=epochs, batch_size=variant.batch_size, bucketing=variant.bucketing
            )
            run = begin_run(Path(place) / str(number), Start(model, train, preset), corpus, scheme, fold)
            trainers.append(Trainer(run, corpus, "cpu", cache=variant.cache))
        rounds = list(zip(*(trainer.epochs() for trainer in trainers), strict=True))
        return [
            {
                "name": variant.name,
                "seconds": [row["train"]["seconds"] for row in rows],
                "median_seconds": median(row["train"]["seconds"] for row in rows),
                "padding": _padding(trainer.batches(1), lengths(trainer.train)),
                "losses": [row["train"]["loss"] for row in rows],
                "utterances": len(trainer.train),
            }
            for variant, trainer, rows in zip(tried, trainers, zip(*rounds, strict=True), strict=True)
        ]


def _padding(batches: list[list[int]], lengths: list[int]) -> float:
    computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return computed / sum(lengths)


@click.command(cls=Command)
@click.option("--dataset", type=click.Choice(DATASETS), required=True, help="The corpus's layout.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The corpus, or its parent.")
@click.option("--preset", type=click.Choice(list(PRESETS)), default="tiny", show_default=True)
@click.option("--batch-size", type=click.IntRange(min=2), default=16, show_default=True)
@click.option("--utterances", type=click.IntRange(min=20), help="The first so many only.  [default: all]")
@click.option("--epochs", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def training(
    dataset: str,
    data_dir: Path | None,
    preset: str,
    batch_size: int,
    utterances: int | None,
    epochs: int,
    as_json: bool,
) -> None:
    """Time an epoch: padded batches of 2, larger ones, bucketed ones, with frozen layers cached.

    The same model, utterances and seed each way, on the CPU, an epoch of each in turn so that noise strikes
    all alike.

    \b
    Example:
      mtab-bench training --dataset iemocap --data-dir data/iemocap
    """
    from mtab.data import read_corpus, validate
    from mtab.machine import describe_machine, usable_cores

    corpus = validate(read_corpus(dataset, data_dir))
    if utterances is not None:
        step = max(1, len(corpus.utterances) // utterances)
        corpus = dataclasses.replace(corpus, utterances=corpus.utterances[::step][:utterances])
    measured = measure_training(corpus, preset, batch_size, epochs)
    machine = describe_machine()
    if as_json:
        report = {"title": corpus.title, "preset": preset, "machine": machine, "variants": measured}
        click.echo(json.dumps(report, indent=2))
        return
    slowest = measured[0]["median_seconds"]
    rows = [
        (
            each["name"],
            f"{each['median_seconds']:.1f}",
            f"{slowest / each['median_seconds']:.2f}",
            f"{each['padding']:.2f}",
            f"{each['losses'][-1]:.3f}",
        )
        for each in measured
    ]
    click.echo(f"\n{measured[0]['utterances']} training utterances of {corpus.title}, preset {preset}")
    click.echo(f"{machine['cpu']} ({', '.join(machine['instruction_sets'] or [])}), {usable_cores()} cores")
    click.echo(table(rows, ("epoch", "seconds", "times", "padding", "loss")))
