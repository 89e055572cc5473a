"""Whether a backend is right, as sure as it may be, and answers as PyTorch does."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from mtab.data import Utterance
from mtab_train.metrics import Chance, chance_of, expected_calibration_error, scores

BINS = 15
"""Intervals of confidence, of equal width, that calibration is measured in."""
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
class Accuracy:
    """How right answers are. ``war`` is accuracy, ``uar`` the mean recall of classes with an utterance.

    ``uar_classes`` is how many these are.
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

    @classmethod
    def of(cls, probabilities: np.ndarray, true: np.ndarray, labels: Sequence[str]) -> "Accuracy":
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
class Parity:
    """How a backend's answers differ from the reference's, each utterance alone.

    A near tie is an utterance whose two likeliest classes the reference tells apart by no more than
    ``near_tie_margin``: a label that changes there is within the tolerance, and is counted apart.
    ``*_difference`` of a score is the backend's less the reference's.
    """

    utterances: int
    label_agreement: float
    labels_changed: int
    near_tie_margin: float
    near_ties: int
    labels_changed_at_near_ties: int
    max_probability_difference: float
    mean_probability_difference: float
    war_difference: float
    uar_difference: float
    weighted_f1_difference: float
    mcnemar: McNemar
    changed: tuple[Changed, ...]

    @classmethod
    def of(
        cls,
        reference: np.ndarray,
        probabilities: np.ndarray,
        utterances: Sequence[Utterance],
        labels: Sequence[str],
        near_tie_margin: float,
    ) -> "Parity":
        """Of probabilities (N, C) each, for the same ``utterances``."""
        difference = np.abs(reference.astype(np.float64) - probabilities)
        before, after = reference.argmax(axis=1), probabilities.argmax(axis=1)
        changed = np.flatnonzero(before != after).tolist()
        near_tie = margins(reference) <= near_tie_margin
        true = np.array([labels.index(utterance.label) for utterance in utterances])
        one, other = (scores(true.tolist(), found.tolist(), labels) for found in (before, after))
        return cls(
            utterances=len(reference),
            label_agreement=float((before == after).mean()),
            labels_changed=len(changed),
            near_tie_margin=near_tie_margin,
            near_ties=int(near_tie.sum()),
            labels_changed_at_near_ties=int(near_tie[changed].sum()),
            max_probability_difference=float(difference.max()),
            mean_probability_difference=float(difference.mean()),
            war_difference=other["war"] - one["war"],
            uar_difference=other["uar"] - one["uar"],
            weighted_f1_difference=other["weighted_f1"] - one["weighted_f1"],
            mcnemar=McNemar.of(before == true, after == true),
            changed=tuple(
                Changed(
                    id=utterances[i].id,
                    audio=None if utterances[i].audio is None else str(utterances[i].audio),
                    true=utterances[i].label,
                    reference=Answered.of(reference[i], labels),
                    backend=Answered.of(probabilities[i], labels),
                    near_tie=bool(near_tie[i]),
                )
                for i in changed
            ),
        )


def margins(probabilities: np.ndarray) -> np.ndarray:
    """By how much each row's likeliest class leads the second: (N, C) -> (N,)."""
    ordered = np.sort(probabilities.astype(np.float64), axis=1)
    return ordered[:, -1] - ordered[:, -2]
