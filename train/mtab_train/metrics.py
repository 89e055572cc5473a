"""The paper's metrics (eqs. 8-10) and their usual companions, from scikit-learn. No torch."""

from collections.abc import Sequence
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
