"""Whether a backend is right, as sure as it may be, and answers as PyTorch does."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from mtab.data import Utterance
from mtab.graphs import Budget
from mtab.parity import NO_DIMENSIONS, Answers, Deviations, Parity, compare
from mtab_train.metrics import Chance, chance_of, concordance, expected_calibration_error, scores

BINS = 15
"""Intervals of confidence, of equal width, that calibration is measured in."""
RESAMPLES = 1000
SIGNIFICANT = 0.05
"""A p-value below which a difference is told from chance."""


@dataclass(frozen=True, slots=True)
class Bin:
    """An interval (lower, upper] of confidence, its mean ``confidence``, and the share that is right."""

    lower: float
    upper: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Concordance:
    """The concordance correlation coefficient of a dimension with its ratings, and its 95 % interval.

    The interval is a bootstrap's that draws utterances. ``rated`` is how many have a rating; None without two
    different ones.
    """

    rated: int
    ccc: float | None
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, found: np.ndarray, true: np.ndarray) -> "Concordance":
        """Of answers (N,) and ratings (N,), NaN for none."""
        known = np.isfinite(true)
        found, true = found[known], true[known]
        if (ccc := concordance(found, true)) is None:
            return cls(len(true), None, None)
        drawn = np.random.default_rng(0).integers(len(true), size=(RESAMPLES, len(true)))
        others = [each for rows in drawn if (each := concordance(found[rows], true[rows])) is not None]
        low, high = np.percentile(others, [2.5, 97.5]).tolist()
        return cls(len(true), ccc, (low, high))


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How right answers are. ``war`` is accuracy, ``uar`` the mean recall of classes with an utterance.

    ``uar_classes`` is how many these are. ``dimensions`` is None for a model without them.
    """

    utterances: int
    war: float
    uar: float
    weighted_f1: float
    recall: dict[str, float | None]
    confusion_matrix: tuple[tuple[int, ...], ...]
    uar_classes: int
    chance: Chance
    ece: float
    bins: tuple[Bin, ...]
    dimensions: dict[str, Concordance] | None = None

    @classmethod
    def of(
        cls,
        probabilities: np.ndarray,
        true: np.ndarray,
        labels: Sequence[str],
        dimensions: dict[str, Concordance] | None = None,
    ) -> "Accuracy":
        """Of probabilities (N, C) for utterances of the class indices ``true`` (N,)."""
        found = scores(true.tolist(), probabilities.argmax(axis=1).tolist(), labels)
        return cls(
            utterances=found["utterances"],
            war=found["war"],
            uar=found["uar"],
            weighted_f1=found["weighted_f1"],
            recall=found["recall"],
            confusion_matrix=tuple(map(tuple, found["confusion_matrix"])),
            uar_classes=len(set(true.tolist())),
            chance=chance_of(found["confusion_matrix"]),
            ece=expected_calibration_error(probabilities, true, BINS),
            bins=reliability(probabilities, true),
            dimensions=dimensions,
        )

    @property
    def at_chance(self) -> bool:
        """Whether luck explains both figures."""
        return self.chance.explains(self.war, self.uar)


def reliability(probabilities: np.ndarray, true: np.ndarray) -> tuple[Bin, ...]:
    """The intervals of confidence that have an utterance, from the lowest to the highest."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == true
    edges = np.linspace(0, 1, BINS + 1)
    index = np.digitize(confidence, edges[1:-1], right=True)
    return tuple(
        Bin(
            lower=float(edges[i]),
            upper=float(edges[i + 1]),
            count=int((index == i).sum()),
            confidence=float(confidence[index == i].mean()),
            accuracy=float(right[index == i].mean()),
        )
        for i in np.unique(index)
    )


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's exact two-sided test of whether two backends are right equally often.

    Where only one of both is right, it is either one with the same probability if they are equally good.
    ``statistic`` is the smaller of both counts.
    """

    statistic: int
    p_value: float
    only_reference_right: int
    only_backend_right: int

    @classmethod
    def of(cls, reference_right: np.ndarray, backend_right: np.ndarray) -> "McNemar":
        """Of bool (N,) each, for the same utterances."""
        lost = int((reference_right & ~backend_right).sum())
        won = int((backend_right & ~reference_right).sum())
        p_value = float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0
        return cls(min(lost, won), p_value, lost, won)

    @property
    def lost(self) -> bool:
        """Whether the backend is right significantly less often than the reference."""
        return self.p_value < SIGNIFICANT and self.only_reference_right > self.only_backend_right


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: its label, and the probability of each."""

    label: str
    probabilities: dict[str, float]

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: Sequence[str]) -> "Answered":
        """Of one row of probabilities (C,)."""
        shares = dict(zip(labels, map(float, probabilities), strict=True))
        return cls(labels[int(probabilities.argmax())], shares)


@dataclass(frozen=True, slots=True)
class Changed:
    """An utterance that gets another label; ``audio`` is its clip's path, ``true`` its class."""

    id: str
    audio: str | None
    true: str
    reference: Answered
    backend: Answered
    near_tie: bool


@dataclass(frozen=True, slots=True)
class BackendParity:
    """How a backend's answers differ from the reference's, and whether its ``budget`` allows that.

    ``figures`` number the utterances as the section does; ``failures`` say what is over the budget, a line
    each. ``*_difference`` of a score is the backend's less the reference's, each utterance unbatched.
    """

    figures: Parity
    budget: Budget
    failures: tuple[str, ...]
    war_difference: float
    uar_difference: float
    weighted_f1_difference: float
    mcnemar: McNemar
    changed: tuple[Changed, ...]

    @property
    def labels_changed(self) -> int:
        """Utterances that get another label, unbatched or in a batch."""
        return len(self.changed)

    @classmethod
    def of(
        cls,
        reference: Answers,
        unbatched: Answers,
        batched: Answers,
        utterances: Sequence[Utterance],
        labels: Sequence[str],
        budget: Budget,
        batch_size: int = 8,
        deviations: Deviations = NO_DIMENSIONS,
    ) -> "BackendParity":
        """Of the reference's answers to ``utterances``, each unbatched, and of the backend's both ways.

        ``deviations`` are as in `mtab.parity.compare`.
        """
        figures = compare(reference, unbatched, batched, budget, batch_size, deviations)
        before, alone, among = (
            each["probabilities"].argmax(axis=1) for each in (reference, unbatched, batched)
        )
        true = np.array([labels.index(utterance.label) for utterance in utterances])
        one, other = (scores(true.tolist(), found.tolist(), labels) for found in (before, alone))
        # Where it is only in a batch that the label changes, the answer there is the one to show.
        shown = {
            i: (unbatched if alone[i] != before[i] else batched)["probabilities"][i]
            for i in np.flatnonzero((alone != before) | (among != before)).tolist()
        }
        return cls(
            figures=figures,
            budget=budget,
            failures=tuple(figures.failures(budget, [utterance.id for utterance in utterances])),
            war_difference=other["war"] - one["war"],
            uar_difference=other["uar"] - one["uar"],
            weighted_f1_difference=other["weighted_f1"] - one["weighted_f1"],
            mcnemar=McNemar.of(before == true, alone == true),
            changed=tuple(
                Changed(
                    id=utterances[i].id,
                    audio=None if utterances[i].audio is None else str(utterances[i].audio),
                    true=utterances[i].label,
                    reference=Answered.of(reference["probabilities"][i], labels),
                    backend=Answered.of(probabilities, labels),
                    near_tie=i in figures.near_ties,
                )
                for i, probabilities in shown.items()
            ),
        )


def margins(probabilities: np.ndarray) -> np.ndarray:
    """By how much each row's likeliest class leads the second: (N, C) -> (N,)."""
    ordered = np.sort(probabilities.astype(np.float64), axis=1)
    return ordered[:, -1] - ordered[:, -2]
