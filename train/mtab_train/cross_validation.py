"""Every fold of a corpus in turn, and what they come to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtab.config import to_dict
from mtab.data import Corpus, find_fold, make_folds
from mtab.errors import DataError
from mtab.files import atomic_folder, write_json
from mtab.progress import progress, say
from mtab_train.results import Results, read_results
from mtab_train.run import RESULTS, RUN, SUMMARY, Run, open_run, write_run
from mtab_train.start import Start, begin_run, describe_run
from mtab_train.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares in 0..1; chance has no F1. ``ccc`` is by dimension, over the folds that have one."""

    war: float
    uar: float
    weighted_f1: float | None = None
    ccc: dict[str, float | None] | None = None


@dataclass(frozen=True, slots=True)
class FoldScores:
    """What one fold's model got on its test set."""

    fold: str
    war: float
    uar: float
    weighted_f1: float
    utterances: int
    selected_epoch: int
    ccc: dict[str, float | None] | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """``summary.json``: mean and standard deviation (n - 1) of the test scores, each fold weighing the same.

    The deviation is 0 where a corpus's own division is one fold. ``chance`` is the mean of theirs;
    ``at_chance`` are the folds whose model is no better. ``problems`` were skipped, in the fold that
    had most.
    """

    mean: Figures
    std: Figures
    chance: Figures
    at_chance: tuple[str, ...]
    best_fold: str
    folds: tuple[FoldScores, ...]
    problems: int


def begin_cross_validation(
    folder: Path, start: Start, corpus: Corpus, folds: str, overwrite: bool = False
) -> Run:
    """Make a folder that describes the runs to come below it, one for each fold.

    Raises `DataError` if there is but one.
    """
    if len(make_folds(corpus, folds, start.train.seed)) < 2:
        raise DataError(f"{corpus.place}: {folds} is one fold, expected two or more; see mtab-train fit")
    with atomic_folder(folder, overwrite) as partial:
        write_run(describe_run(partial, start, corpus, folds, None))
    return open_run(folder)


def cross_validate(run: Run, corpus: Corpus, cluster: str | None = None, **machine: Any) -> Summary:
    """Train on every fold that is not done yet; the summary, as in ``summary.json``.

    ``machine`` are `Trainer`'s options of that kind. With a Ray ``cluster`` each fold is a task of it: its
    nodes need the run's folder, the corpus and a first checkpoint at the same paths.
    """
    config = run.config
    assert config.folds is not None
    folds = make_folds(corpus, config.folds, run.train.seed)
    left = [fold.name for fold in folds if not (run.folder / fold.folder / RESULTS).is_file()]
    with progress("cross-validation", len(folds), "folds", done=len(folds) - len(left)) as shown:
        if cluster is not None:
            from mtab_train.on_ray import train_folds

            train_folds(cluster, run, left, machine, shown)
        else:
            for fold in left:
                say(f"\n{config.title}, fold {fold}, protocol {run.train.protocol}")
                train_fold(run, corpus, fold, **machine)
                shown.update()
    summary = summarize({fold.name: read_results(run.folder / fold.folder) for fold in folds})
    write_json(run.folder / SUMMARY, to_dict(summary))
    return summary


def train_fold(run: Run, corpus: Corpus, name: str, **machine: Any) -> None:
    """Train on one fold of a cross-validation, from the newest state in its folder."""
    config = run.config
    assert config.folds is not None
    fold = find_fold(corpus, config.folds, name, run.train.seed)
    folder = run.folder / fold.folder
    if (folder / RUN).is_file():
        opened = open_run(folder)
    else:
        first = None if config.init_from is None else Path(config.init_from)
        start = Start(run.model, run.train, config.preset, first)
        opened = begin_run(folder, start, corpus, config.folds, fold.name, overwrite=True)
    Trainer(opened, corpus, **machine).fit()


def summarize(results: Mapping[str, Results]) -> Summary:
    """What the folds' results, by the fold's name, come to."""
    tests = {fold: result.test for fold, result in results.items()}
    chances = {fold: result.chance for fold, result in results.items()}
    figures = np.array([[test.war, test.uar, test.weighted_f1] for test in tests.values()])
    chance = np.array([[each.war, each.uar] for each in chances.values()])
    ccc = [test.ccc for test in tests.values() if test.ccc is not None]
    return Summary(
        mean=Figures(*figures.mean(axis=0).tolist(), ccc=_over_folds(ccc, np.mean)),
        std=Figures(*np.apply_along_axis(_deviation, 0, figures).tolist(), ccc=_over_folds(ccc, _deviation)),
        chance=Figures(*chance.mean(axis=0).tolist()),
        at_chance=tuple(fold for fold, test in tests.items() if chances[fold].explains(test.war, test.uar)),
        best_fold=max(tests, key=lambda fold: tests[fold].war),
        folds=tuple(
            FoldScores(
                fold=fold,
                war=test.war,
                uar=test.uar,
                weighted_f1=test.weighted_f1,
                utterances=test.utterances,
                selected_epoch=results[fold].selected_epoch,
                ccc=test.ccc,
            )
            for fold, test in tests.items()
        ),
        problems=max(result.problems for result in results.values()),
    )


def _over_folds(
    folds: Sequence[Mapping[str, float | None]], over: Callable[[list[float]], Any]
) -> dict[str, float | None] | None:
    """A figure over the folds that have one, by dimension; None without a dimension."""
    if not folds:
        return None
    found = {name: [value for fold in folds if (value := fold[name]) is not None] for name in folds[0]}
    return {name: float(over(values)) if values else None for name, values in found.items()}


def _deviation(values: Sequence[float] | np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
