"""``mtab-train eval``: score a run's model on its test set, or on other data."""

from pathlib import Path
from typing import Any

import click

from mtab.console import Command
from mtab.options import corpus_options, label_map_option
from mtab_train.options import machine_options, set_threads


@click.command("eval", cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@corpus_options("Layout of other data to score.  [default: the run's own test set]")
@label_map_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for scores.json, predictions.csv and confusion_matrix.png.  [default: print only]",
)
@click.option("--overwrite", is_flag=True, help="Replace that folder if it exists.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Utterances in a batch."
)
@machine_options
def evaluate(
    run: Path, label_map: Path | None, out: Path | None, overwrite: bool, batch_size: int, **values: Any
) -> None:
    """Score a finished RUN: on its own test set again, or with --dataset on all of another corpus.

    The other corpus may lack some of the model's classes, but may have no others: --label-map says which
    labels of it are which, and leaves out those that it gives no name.

    \b
    Examples:
      mtab-train eval runs/iemocap-tiny-session-1
      mtab-train eval runs/iemocap-tiny-session-1 --dataset manifest --data-dir my.csv --out scores
      mtab-train eval runs/emodb --dataset ravdess --label-map labels.csv
    """
    from mtab_train.evaluation import evaluate_run, write_evaluation
    from mtab_train.results import format_confusion, format_scores
    from mtab_train.run import open_run

    if label_map is not None and values["dataset"] is None:
        raise click.UsageError("--label-map needs --dataset")
    set_threads(values["threads"])
    found = evaluate_run(
        open_run(run),
        values["dataset"],
        values["data_dir"],
        values["columns"],
        device=values["device"],
        workers=values["workers"],
        batch_size=batch_size,
        label_map=label_map,
    )
    for problem in found.problems:
        click.echo(f"skipped: {problem}", err=True)
    click.echo(f"{run} on {found.scores.utterances} utterances of {found.title}")
    click.echo(f"{format_scores(found.scores, found.chance)}\n\n{format_confusion(found.scores)}")
    if out is not None:
        write_evaluation(found, out, overwrite)
        click.echo(f"\nscores and predictions: {out}")
