"""``mtab-bench training``."""

import dataclasses
import json
from pathlib import Path

import click

from mtab.console import Command
from mtab.options import corpus_options, json_option
from mtab_bench.commands.options import (
    out_option,
    overwrite_option,
)
from mtab_train.config import PRESETS


@click.command("training", cls=Command)
@corpus_options(required=True)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="tiny",
    show_default=True,
    help="Preset of the model that is trained.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=2),
    default=16,
    show_default=True,
    help="Number of utterances in the larger batches.",
)
@click.option(
    "--utterances",
    type=click.IntRange(min=20),
    help="Number of utterances, spread over the corpus.  [default: all]",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Number of epochs of each recipe.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Bundle whose report the section is added to.  [default: print only]",
)
@out_option
@overwrite_option
@json_option
def training_command(
    dataset: str,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    preset: str,
    batch_size: int,
    utterances: int | None,
    epochs: int,
    bundle: Path | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Time an epoch of training with each way of batching.

    Batches of 2, larger ones, bucketed ones, with cached outputs of frozen layers, and in bf16.

    The same model, utterances and seed in each recipe, on the CPU, an epoch of each in turn so that noise
    strikes all alike. bf16 where the processor has it.

    \b
    Examples:
      mtab-bench training --dataset iemocap --data-dir data/iemocap
      mtab-bench training --dataset emodb --data-dir EmoDB --bundle runs/mine/bundle
    """
    from mtab.config import to_dict
    from mtab.data import read_corpus, validate
    from mtab_bench.commands.target import Target
    from mtab_bench.render.text import to_text
    from mtab_bench.report import NO_BUNDLE, new_report
    from mtab_bench.sections.training import measure_training

    target = None if bundle is None else Target.open(bundle, out, overwrite, "training")
    if target is None and out is not None:
        raise click.UsageError("--out is the report of a bundle, expected --bundle beside it")
    corpus = validate(read_corpus(dataset, data_dir, columns))
    if utterances is not None:
        step = max(1, len(corpus.utterances) // utterances)
        corpus = dataclasses.replace(corpus, utterances=corpus.utterances[::step][:utterances])
    section = measure_training(corpus, preset, batch_size, epochs)
    if target is not None:
        target.add(section, as_json)
    elif as_json:
        click.echo(json.dumps(to_dict(section), indent=2))
    else:
        click.echo(to_text(new_report(NO_BUNDLE, section), "training"))
