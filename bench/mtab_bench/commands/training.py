"""``mtab-bench training``."""

import dataclasses
import json
from pathlib import Path

import click

from mtab.console import Command
from mtab.options import corpus_options
from mtab_bench.commands.options import (
    out_option,
    overwrite_option,
    report_folder,
)
from mtab_bench.sections.training import measure_training
from mtab_train.config import PRESETS


@click.command(cls=Command)
@corpus_options(required=True)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="tiny",
    show_default=True,
    help="Size of the model.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=2),
    default=16,
    show_default=True,
    help="Size of the larger batches.",
)
@click.option(
    "--utterances",
    type=click.IntRange(min=20),
    help="Number of utterances to train on, spread over the corpus.  [default: all]",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Number of epochs to time for each variant.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Bundle whose report gets the section.  [default: print only]",
)
@out_option
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def training(
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

    The same model, utterances and seed each way, on the CPU, an epoch of each in turn so that noise strikes
    all alike. bf16 where the processor has it.

    \b
    Examples:
      mtab-bench training --dataset iemocap --data-dir data/iemocap
      mtab-bench training --dataset emodb --data-dir EmoDB --bundle runs/mine/bundle
    """
    from mtab.bundle import open_bundle
    from mtab.data import read_corpus, validate
    from mtab_bench.render.text import to_text
    from mtab_bench.report import add_section, bundle_record, check_section, written

    record = None
    if bundle is not None:
        out = report_folder(out, bundle)
        record = bundle_record(open_bundle(bundle))
        check_section(out, record, "training", overwrite)
    elif out is not None:
        raise click.UsageError("--out is the report of a bundle, expected --bundle beside it")
    corpus = validate(read_corpus(dataset, data_dir, columns))
    if utterances is not None:
        step = max(1, len(corpus.utterances) // utterances)
        corpus = dataclasses.replace(corpus, utterances=corpus.utterances[::step][:utterances])
    section = measure_training(corpus, preset, batch_size, epochs)
    click.echo(json.dumps(section, indent=2) if as_json else to_text({"training": section}, "training"))
    if record is not None and out is not None:
        add_section(out, "training", section, record, overwrite)
        click.echo(f"\n{written(out)}", err=as_json)
