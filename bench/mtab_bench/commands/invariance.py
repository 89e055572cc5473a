"""``mtab-bench invariance``."""

from pathlib import Path

import click

from mtab.console import Command
from mtab.errors import MtabError
from mtab.options import corpus_options, json_option, threads_option
from mtab_bench.commands.options import (
    bundle_option,
    checkpoint_option,
    out_option,
    overwrite_option,
)


@click.command("invariance", cls=Command)
@corpus_options("Layout of the corpus.  [default: synthetic inputs]")
@bundle_option
@checkpoint_option
@click.option(
    "--utterances",
    type=click.IntRange(min=2),
    default=32,
    show_default=True,
    help="Number of utterances to ask for.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    help="Number of utterances in a batch.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of batches and of synthetic inputs.",
)
@threads_option
@out_option
@overwrite_option
@json_option
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
    as_json: bool,
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
    from mtab_bench.commands.target import Target
    from mtab_bench.sections.invariance import beyond_budget, measure_invariance

    target = Target.open(bundle, out, overwrite, "invariance")
    section = measure_invariance(
        target.bundle, dataset, data_dir, checkpoint, utterances, batch_size, seed, threads, columns
    )
    target.add(section, as_json)
    if beyond := beyond_budget(section):
        raise MtabError("; ".join(beyond))
