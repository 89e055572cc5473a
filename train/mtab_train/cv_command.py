"""``mtab-train cv``: train on every fold."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtab.console import Command, table
from mtab.errors import ConfigError
from mtab.options import corpora_options
from mtab_train.fit_command import machine, new_start, refuse_repeated, resumable, warn
from mtab_train.options import (
    cache_option,
    folds_option,
    heads_option,
    machine_options,
    model_options,
    run_options,
    set_threads,
    tasks_option,
    train_options,
)

if TYPE_CHECKING:
    from mtab_train.cross_validation import Figures, FoldScores, Summary

MOST_ROWS = 8
"""Folds that are printed each; of more, the worst and the best."""


@click.command(cls=Command)
@corpora_options
@folds_option
@run_options
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Cross-validation to go on with; all else but the machine's options lies there.",
)
@model_options
@tasks_option
@heads_option
@train_options
@machine_options
@cache_option
@click.option(
    "--ray",
    "cluster",
    metavar="ADDRESS",
    help="Ray cluster whose tasks are the folds: local, auto or its address. All nodes need the same paths.",
)
def cv(**values: Any) -> None:
    """Cross-validate: train on every fold in turn; mean and standard deviation over folds.

    Each fold is a run folder of its own below the given one, beside summary.json. Interrupted, --resume
    keeps the folds that are done.

    \b
    Examples:
      mtab-train cv --dataset iemocap --preset base
      mtab-train cv --dataset emodb --data-dir EmoDB --folds speaker-pair --preset tiny
      mtab-train cv --dataset manifest --data-dir my.csv --folds speaker:6
      mtab-train cv --dataset emodb --data-dir EmoDB --preset tiny --threads 2 --ray auto
    """
    from mtab.data import make_folds
    from mtab_train.cross_validation import begin_cross_validation, cross_validate
    from mtab_train.run import SUMMARY, default_folder, open_run, run_corpus

    set_threads(values["threads"])
    if values["resume"] is not None:
        refuse_repeated(values)
        folder = values["resume"]
        run = open_run(folder)
        if run.config.fold is not None:
            raise ConfigError(f"{folder}: is one fold's run, expected a cross-validation; see mtab-train fit")
        corpus = run_corpus(run)
    else:
        start, corpus, scheme = new_start(values)
        warn(corpus, scheme, make_folds(corpus, scheme, start.train.seed))
        folder = values["out"] or default_folder(corpus, start.preset, scheme.replace(":", "-"), "cv")
        run = begin_cross_validation(folder, start, corpus, scheme, values["overwrite"])
    with resumable(f"mtab-train cv --resume {folder}"):
        summary = cross_validate(run, corpus, values["cluster"], **machine(values))
    click.echo(f"\n{run.config.title}, folds {run.config.folds}, protocol {run.train.protocol}: {folder}")
    click.echo(format_summary(summary))
    if len(summary.folds) > MOST_ROWS:
        click.echo(f"every fold: {folder / SUMMARY}")


def format_summary(summary: "Summary") -> str:
    """What ``summary.json`` holds, to read: each fold, or the two ends of many."""
    shown = [(fold.fold, fold) for fold in summary.folds]
    if len(shown) > MOST_ROWS:
        ordered = sorted(summary.folds, key=lambda fold: fold.war)
        shown = [(f"worst, {ordered[0].fold}", ordered[0]), (f"best, {ordered[-1].fold}", ordered[-1])]
    figures = (("mean", summary.mean), ("standard deviation", summary.std), ("mean chance", summary.chance))
    dimensions = list(summary.mean.ccc or ())
    rows = [(name, *_cells(each, dimensions), "") for name, each in figures]
    rows += [(name, *_cells(each, dimensions), each.utterances) for name, each in shown]
    columns = (f"CCC {name}" for name in dimensions)
    lines = [table(rows, ("fold", "WAR", "UAR", "weighted F1", *columns, "utterances"))]
    if summary.at_chance:
        lines.append(f"at chance: {len(summary.at_chance)} of {len(summary.folds)} folds")
    lines.append(f"best fold: {summary.best_fold}; problems skipped: {summary.problems}")
    return "\n".join(lines)


def _cells(figures: "Figures | FoldScores", dimensions: Sequence[str]) -> list[str]:
    ccc = figures.ccc or {}
    values = (figures.war, figures.uar, figures.weighted_f1, *(ccc.get(name) for name in dimensions))
    return ["-" if value is None else f"{value:.3f}" for value in values]
