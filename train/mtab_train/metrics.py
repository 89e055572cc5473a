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
