"""The paper's metrics (eqs. 8-10) and their usual companions. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def scores(true: Sequence[int], predicted: Sequence[int], labels: Sequence[str]) -> dict[str, Any]:
    """How well class indices ``predicted`` meet ``true``, as plain JSON values; every share is in 0..1.

    ``war``, weighted average recall, is overall accuracy (eq. 8); ``uar`` is the mean recall (eq. 9) over the
    classes that have an utterance, others have the recall ``None``. ``confusion_matrix[i][j]`` counts
    utterances of class i answered as class j.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

    classes = list(range(len(labels)))
    present = sorted(set(true))
    # average=None, one recall a class, is not in scikit-learn's annotations.
    found: Any = recall_score(true, predicted, labels=present, average=None)  # pyright: ignore[reportArgumentType]
    recalls = dict(zip(present, found.tolist(), strict=True))
    return {
        "utterances": len(true),
        "war": float(accuracy_score(true, predicted)),
        "uar": float(np.mean(list(recalls.values()))),
        "weighted_f1": float(f1_score(true, predicted, labels=present, average="weighted")),
        "recall": {label: recalls.get(i) for i, label in enumerate(labels)},
        "confusion_matrix": confusion_matrix(true, predicted, labels=classes).tolist(),
    }


def concordance(found: np.ndarray, true: np.ndarray) -> float | None:
    """The concordance correlation coefficient of two series (N,), in -1..1 (Lin, Biometrics 1989).

    2 cov(x, y) / (var x + var y + (mean x - mean y)^2), over the utterances whose ``true`` is not NaN; None
    without two different ones. 1 is agreement; a constant answer gets 0.
    """
    rated = np.isfinite(true)
    x, y = found[rated].astype(np.float64), true[rated].astype(np.float64)
    if len(y) < 2 or y.min() == y.max():
        return None
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def concordances(found: np.ndarray, true: np.ndarray, dimensions: Sequence[str]) -> dict[str, float | None]:
    """`concordance` of each dimension, of (N, dimensions) each."""
    return {name: concordance(found[:, i], true[:, i]) for i, name in enumerate(dimensions)}


@dataclass(frozen=True, slots=True)
class Chance:
    """What answering without looking gets on some utterances; every figure is in 0..1.

    ``war`` is that of always answering their commonest class, ``uar`` 1 / their classes; of several corpora
    with a head each, that of the commonest of each, and the mean over the classes of 1 / those of its corpus.
    ``war_limit`` and ``uar_limit`` are the upper ends of the 95 % intervals that luck leaves around these: of
    the binomial distribution, and of the mean of each class's own.
    """

    war: float
    uar: float
    war_limit: float
    uar_limit: float

    def explains(self, war: float, uar: float) -> bool:
        """Whether a model with these figures is at chance: neither is beyond what luck may give."""
        return war <= self.war_limit and uar <= self.uar_limit


def chance_of(confusion_matrix: Sequence[Sequence[int]], corpora: Sequence[int] | None = None) -> Chance:
    """Chance on the utterances of a confusion matrix (true classes down), of which there is at least one.

    A class without an utterance does not count. ``corpora`` are `ModelConfig.corpora` (None: one head).
    """
    from scipy.stats import binom

    sizes = np.array([sum(row) for row in confusion_matrix])
    heads = np.zeros(len(sizes), int) if corpora is None else np.array(corpora)
    sizes, heads = sizes[sizes > 0], heads[sizes > 0]
    every, commonest = int(sizes.sum()), sum(int(sizes[heads == head].max()) for head in set(heads.tolist()))
    guessed = 1 / np.bincount(heads)[heads]
    war, uar = commonest / every, float(guessed.mean())
    deviation = float(np.sqrt((guessed * (1 - guessed) / sizes).sum()) / len(sizes))
    return Chance(war, uar, float(binom.ppf(0.975, every, war)) / every, min(1.0, uar + 1.96 * deviation))


def expected_calibration_error(probabilities: np.ndarray, true: np.ndarray, bins: int = 15) -> float:
    """How far confidence is from accuracy, in 0..1 (Guo et al., ICML 2017).

    ``probabilities`` is (utterances, classes), ``true`` (utterances,) class indices; at least one utterance.
    Its confidence is its highest probability. Confidences fall into ``bins`` of equal width,
    (i / bins, (i + 1) / bins]; each bin's gap between mean confidence and accuracy counts by its share of the
    utterances.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == true
    index = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    return float(np.abs(np.bincount(index, weights=confidence - right)).sum() / len(confidence))
