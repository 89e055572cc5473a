"""The figures of a row's answers: by fold, over the folds, and pooled, with what chance leaves open."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtab_bench.sections.breakdown import RESAMPLES, resampled
from mtab_export.gate import accuracy_change
from mtab_train.metrics import scores


@dataclass(frozen=True, slots=True)
class Answered:
    """One utterance with its class and the answer."""

    id: str
    true: str
    predicted: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares in 0..1."""

    war: float
    uar: float
    weighted_f1: float


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """A fold's; ``uar`` is over the classes that have a test utterance, ``absent`` are the others."""

    fold: str
    utterances: int
    figures: Figures
    absent: tuple[str, ...]
    selected_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Pooled:
    """Of all folds' answers together, with the 95 % intervals of a bootstrap that draws utterances."""

    utterances: int
    figures: Figures
    war_interval: tuple[float, float]
    uar_interval: tuple[float, float]
    recall: dict[str, float | None]
    confusion_matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A row's pooled figures less the ``reference`` row's, on the ``utterances`` that both answered.

    The 95 % intervals are of a bootstrap that draws the same utterances for both.
    """

    reference: str
    utterances: int
    war: float
    war_interval: tuple[float, float]
    uar: float
    uar_interval: tuple[float, float]


def fold_figures(
    fold: str, answers: Sequence[Answered], labels: Sequence[str], selected_epoch: int | None
) -> FoldFigures:
    """Of a fold's answers, of which there is at least one."""
    found = scores(*_indices(answers, labels), labels)
    absent = tuple(label for label, recall in found["recall"].items() if recall is None)
    return FoldFigures(fold, len(answers), _figures(found), absent, selected_epoch)


def mean_of(folds: Sequence[FoldFigures]) -> Figures:
    """Over the folds, each weighing the same."""
    return Figures(*_by_fold(folds).mean(axis=0).tolist())


def deviation_of(folds: Sequence[FoldFigures]) -> Figures | None:
    """The standard deviation (n - 1) over the folds, None of one alone."""
    return Figures(*_by_fold(folds).std(axis=0, ddof=1).tolist()) if len(folds) > 1 else None


def pooled_figures(answers: Sequence[Answered], labels: Sequence[str]) -> Pooled:
    """Of the answers of all folds, of which there is at least one."""
    true, predicted = _indices(answers, labels)
    found = scores(true, predicted, labels)
    war_interval, uar_interval = _intervals(np.array(true), np.array(predicted))
    return Pooled(
        utterances=len(answers),
        figures=_figures(found),
        war_interval=war_interval,
        uar_interval=uar_interval,
        recall=found["recall"],
        confusion_matrix=tuple(map(tuple, found["confusion_matrix"])),
    )


def difference_from(
    reference: str, before: Sequence[Answered], after: Sequence[Answered], labels: Sequence[str]
) -> Difference | None:
    """``after`` less ``before``, the answers of the row ``reference``; None without a common utterance."""
    theirs = {each.id: each for each in before}
    pairs = [(theirs[each.id], each) for each in after if each.id in theirs]
    if not pairs:
        return None
    certain = np.eye(len(labels))
    one, other = (
        certain[[labels.index(each.predicted) for each in side]] for side in zip(*pairs, strict=True)
    )
    found = accuracy_change([each.true for _, each in pairs], one, other, labels)
    return Difference(
        reference,
        len(pairs),
        *(found.war.change, found.war.interval),
        *(found.uar.change, found.uar.interval),
    )


def _intervals(true: np.ndarray, predicted: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of WAR and UAR; a class that a draw has no utterance of takes no part in its mean recall."""
    drawn = np.random.default_rng(0).integers(len(true), size=(RESAMPLES, len(true)))
    war, uar = (np.percentile(each, [2.5, 97.5]).tolist() for each in resampled(true, predicted, drawn))
    return (war[0], war[1]), (uar[0], uar[1])


def _indices(answers: Sequence[Answered], labels: Sequence[str]) -> tuple[list[int], list[int]]:
    return (
        [labels.index(each.true) for each in answers],
        [labels.index(each.predicted) for each in answers],
    )


def _figures(found: dict) -> Figures:
    return Figures(found["war"], found["uar"], found["weighted_f1"])


def _by_fold(folds: Sequence[FoldFigures]) -> np.ndarray:
    return np.array([(each.figures.war, each.figures.uar, each.figures.weighted_f1) for each in folds])
