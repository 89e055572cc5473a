"""``mtab tune``: the fastest way to run a bundle on this machine."""

import json
from pathlib import Path
from typing import get_args

import click

from mtab.console import Command
from mtab.options import bundle_argument, corpus_options, json_option, require_dataset
from mtab.types import TunedFor


@click.command(cls=Command)
@bundle_argument
@corpus_options("Layout of the corpus of the export.  [default: synthetic inputs]")
@click.option(
    "--for",
    "tuned_for",
    type=click.Choice(get_args(TunedFor)),
    help="What is to be fast: the answer to one utterance, or those to many that wait. Each has a choice of "
    "its own.  [default: latency; with --reset both]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device whose engines are tried: cpu, cuda or cuda:N. auto is all of them.",
)
@click.option(
    "--utterances",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Largest number of utterances to judge and to time on.",
)
@click.option(
    "--min-seconds",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Shortest time to measure each candidate for, in seconds; it makes three passes at least.",
)
@click.option("--reset", is_flag=True, help="Forget what was chosen for BUNDLE here, and try nothing.")
@json_option
def tune(
    bundle: Path,
    dataset: str | None,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    tuned_for: TunedFor | None,
    device: str,
    utterances: int,
    min_seconds: float,
    reset: bool,
    as_json: bool,
) -> None:
    """Choose the fastest accurate engine for BUNDLE on this machine.

    Every engine, precision and number of threads is judged and timed beside the default. The choice is kept
    in the user's cache for this bundle on this machine, and mtab uses it from then on. Ctrl-C leaves the
    choice as it was.

    With --for throughput the size of batches and how many are computed at once are tried too. mtab predict,
    mtab serve and mtab info take that choice with --for throughput.

    \b
    Examples:
      mtab tune bundle
      mtab tune bundle --dataset manifest --data-dir recordings --json
      mtab tune bundle --for throughput
      mtab tune bundle --reset
    """
    require_dataset(dataset, data_dir, columns)

    from mtab import tune as tuning
    from mtab.bundle import open_bundle
    from mtab.choice import choice_file, forget_choice
    from mtab.config import to_dict
    from mtab.progress import progress
    from mtab.trials import Step

    if reset:
        opened = open_bundle(bundle)
        for each in get_args(TunedFor) if tuned_for is None else (tuned_for,):
            there = forget_choice(opened, each)
            click.echo(f"{'Forgotten' if there else 'No choice was stored'}: {choice_file(opened, each)}")
        return
    with progress("tuning") as shown:

        def show(step: Step) -> None:
            shown.describe(f"tuning: {step.what};")
            shown.done, shown.total = step.done, step.total

        found = tuning.tune(
            bundle,
            dataset,
            data_dir,
            device,
            utterances,
            min_seconds,
            show,
            columns,
            tuned_for or "latency",
        )
    click.echo(
        json.dumps(to_dict(found), indent=2, ensure_ascii=False) if as_json else tuning.format_report(found)
    )
