"""``mtab-bench invariance``."""

from pathlib import Path

import click

from mtab.console import Command
from mtab.errors import MtabError
from mtab.options import corpus_options, threads_option
from mtab_bench.commands.options import (
    bundle_option,
    checkpoint_option,
    newest_bundle,
    out_option,
    overwrite_option,
    report_folder,
)
from mtab_bench.sections.invariance import beyond_budget, measure_invariance


@click.command("invariance", cls=Command)
@corpus_options("Layout of the corpus.  [default: synthetic inputs]")
@bundle_option
@checkpoint_option
@click.option(
    "--utterances",
    type=click.IntRange(min=2),
    default=32,
    show_default=True,
    help="Number of utterances to compare.",
)
@click.option(
    "--batch-size", type=click.IntRange(min=2), default=8, show_default=True, help="Size of the batches."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the batches and of synthetic inputs.",
)
@threads_option
@out_option
@overwrite_option
def invariance_command(
    dataset: str | None,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    bundle: Path | None,
    checkpoint: Path | None,
    utterances: int,
    batch_size: int,
    seed: int,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Check that answers do not depend on the batch.

    Asks every engine and precision for the same utterances unbatched, in random batches, in other orders and
    with more padding. The exit code is 1 if a probability moves by more than the budget of its precision.
    Beside them stands the published implementation of the audio encoder, on the same weights.

    \b
    Examples:
      mtab-bench invariance --dataset iemocap
      mtab-bench invariance --bundle runs/mine/bundle --utterances 100
    """
    from mtab.bundle import open_bundle
    from mtab_bench.render.text import to_text
    from mtab_bench.report import add_section, bundle_record, check_section, written

    bundle = bundle or newest_bundle()
    out = report_folder(out, bundle)
    opened = open_bundle(bundle)
    record = bundle_record(opened)
    check_section(out, record, "invariance", overwrite)
    section = measure_invariance(
        opened, dataset, data_dir, checkpoint, utterances, batch_size, seed, threads, columns
    )
    click.echo(to_text(add_section(out, "invariance", section, record, overwrite), "invariance"))
    click.echo(f"\n{written(out)}")
    if beyond := beyond_budget(section):
        raise MtabError("; ".join(beyond))
