"""Whether an engine is right, as sure as it may be, and answers as PyTorch does; plain JSON values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from mtab.data import Utterance
from mtab.graphs import PROBABILITIES
from mtab_train.metrics import expected_calibration_error, scores

BINS = 15
"""Intervals of confidence, of equal width, that calibration is measured in."""
FLOAT32_MARGIN = 2 * PROBABILITIES.atol
"""The widest lead of the first class over the second that float32's tolerance alone can overturn."""


def accuracy(probabilities: np.ndarray, true: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """How right probabilities (N, C) are about the class indices ``true`` (N,).

    `mtab_train.metrics.scores`, the number of classes that its UAR is over, the expected calibration error,
    and the intervals of confidence that this is the mean over.
    """
    return {
        **scores(true.tolist(), probabilities.argmax(axis=1).tolist(), labels),
        "uar_classes": len(np.unique(true)),
        "ece": expected_calibration_error(probabilities, true, BINS),
        "calibration": {"bins": reliability(probabilities, true)},
    }


def reliability(probabilities: np.ndarray, true: np.ndarray) -> list[dict[str, Any]]:
    """The intervals (lower, upper] of confidence that have an utterance, from the lowest to the highest.

    ``confidence`` is the mean of the utterances' highest probabilities, ``accuracy`` the share that is right.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == true
    edges = np.linspace(0, 1, BINS + 1)
    index = np.digitize(confidence, edges[1:-1], right=True)
    return [
        {
            "lower": float(edges[i]),
            "upper": float(edges[i + 1]),
            "count": int((index == i).sum()),
            "confidence": float(confidence[index == i].mean()),
            "accuracy": float(right[index == i].mean()),
        }
        for i in np.unique(index)
    ]


def mcnemar(reference_right: np.ndarray, engine_right: np.ndarray) -> dict[str, Any]:
    """McNemar's exact test of whether two ways are right equally often; both are bool (N,), same utterances.

    Where only one of both is right, it is either one with the same probability if they are equally good: the
    two-sided p-value is the binomial distribution's. ``statistic`` is the smaller of both counts.
    """
    lost = int((reference_right & ~engine_right).sum())
    won = int((engine_right & ~reference_right).sum())
    return {
        "statistic": min(lost, won),
        "p_value": float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0,
        "only_reference_right": lost,
        "only_engine_right": won,
    }


def parity(
    reference: np.ndarray,
    probabilities: np.ndarray,
    utterances: Sequence[Utterance],
    labels: Sequence[str],
    near_tie_margin: float = FLOAT32_MARGIN,
) -> dict[str, Any]:
    """Compare an engine's probabilities (N, C) with the reference's for the same utterances.

    A near-tie is an utterance whose two likeliest classes the reference tells apart by no more than
    ``near_tie_margin``: a label that changes there is within the tolerance, and is counted apart.
    """
    difference = np.abs(reference.astype(np.float64) - probabilities)
    before, after = reference.argmax(axis=1), probabilities.argmax(axis=1)
    changed = np.flatnonzero(before != after).tolist()
    near_tie = margins(reference) <= near_tie_margin
    true = np.array([labels.index(utterance.label) for utterance in utterances])
    return {
        "utterances": len(reference),
        "label_agreement": float((before == after).mean()),
        "labels_changed": len(changed),
        "near_tie_margin": near_tie_margin,
        "near_ties": int(near_tie.sum()),
        "labels_changed_at_near_ties": int(near_tie[changed].sum()),
        "max_probability_difference": float(difference.max()),
        "mean_probability_difference": float(difference.mean()),
        "mcnemar": mcnemar(before == true, after == true),
        "changed": [
            {
                "id": utterances[i].id,
                "audio": None if utterances[i].audio is None else str(utterances[i].audio),
                "true": utterances[i].label,
                "reference": answer(reference[i], labels),
                "engine": answer(probabilities[i], labels),
                "near_tie": bool(near_tie[i]),
            }
            for i in changed
        ],
    }


def margins(probabilities: np.ndarray) -> np.ndarray:
    """By how much each row's likeliest class leads the second: (N, C) -> (N,)."""
    ordered = np.sort(probabilities.astype(np.float64), axis=1)
    return ordered[:, -1] - ordered[:, -2]


def answer(probabilities: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """One row of probabilities (C,) as ``{"label", "probabilities": {label: p}}``."""
    return {
        "label": labels[int(probabilities.argmax())],
        "probabilities": dict(zip(labels, map(float, probabilities), strict=True)),
    }
