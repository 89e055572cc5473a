"""Whether an engine answers as PyTorch does: labels, probabilities, and which utterances changed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtab.data import Utterance
from mtab.graphs import PROBABILITIES

NEAR_TIE = 2 * PROBABILITIES.atol
"""The widest lead of the first class over the second that the tolerance alone can overturn."""


def parity(
    reference: np.ndarray, probabilities: np.ndarray, utterances: Sequence[Utterance], labels: Sequence[str]
) -> dict[str, Any]:
    """Compare two engines' probabilities (N, C) for the same utterances, as plain JSON values.

    A near-tie is an utterance whose two likeliest classes the reference tells apart by no more than
    `NEAR_TIE`: a label that changes there is within the tolerance, and is counted apart.
    """
    difference = np.abs(reference.astype(np.float64) - probabilities)
    before, after = reference.argmax(axis=1), probabilities.argmax(axis=1)
    changed = np.flatnonzero(before != after).tolist()
    near_tie = margins(reference) <= NEAR_TIE
    return {
        "utterances": len(reference),
        "label_agreement": float((before == after).mean()),
        "labels_changed": len(changed),
        "near_tie_margin": NEAR_TIE,
        "near_ties": int(near_tie.sum()),
        "labels_changed_at_near_ties": int(near_tie[changed].sum()),
        "max_probability_difference": float(difference.max()),
        "mean_probability_difference": float(difference.mean()),
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
