"""Parity of two engines' answers, against examples worked by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from mtab.data import Utterance
from mtab_bench.accuracy import margins, parity

LABELS = ("anger", "joy", "neutral")
UTTERANCES = [Utterance(f"u{i}", Path(f"{i}.wav") if i else None, "Hi", "joy") for i in range(4)]


def test_worked_example() -> None:
    before = np.array(
        [[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.500004, 0.499996, 0.0], [0.1, 0.1, 0.8]], np.float32
    )
    after = before.copy()
    after[0] = (0.2, 0.7, 0.1)  # another label
    after[2] = (0.499996, 0.500004, 0.0)  # another label, at a near-tie
    after[3] = (0.1, 0.2, 0.7)  # the same label
    found = parity(before, after, UTTERANCES, LABELS)
    assert found["utterances"] == 4
    assert found["label_agreement"] == 0.5
    assert (found["labels_changed"], found["near_ties"], found["labels_changed_at_near_ties"]) == (2, 1, 1)
    assert found["max_probability_difference"] == pytest.approx(0.5, abs=1e-6)
    assert found["mean_probability_difference"] == pytest.approx((1.0 + 0.000016 + 0.2) / 12, abs=1e-6)
    first, second = found["changed"]
    assert (first["id"], first["audio"], first["true"], first["near_tie"]) == ("u0", None, "joy", False)
    assert (first["reference"]["label"], first["engine"]["label"]) == ("anger", "joy")
    assert first["engine"]["probabilities"] == pytest.approx({"anger": 0.2, "joy": 0.7, "neutral": 0.1})
    assert (second["id"], second["audio"], second["near_tie"]) == ("u2", "2.wav", True)
    assert json.loads(json.dumps(found)) == found


def test_equal_answers() -> None:
    probabilities = np.array([[0.7, 0.3], [0.5, 0.5]], np.float32)
    found = parity(probabilities, probabilities, UTTERANCES[:2], LABELS[:2])
    assert found["label_agreement"] == 1.0
    assert found["max_probability_difference"] == 0.0
    assert found["changed"] == []
    assert found["near_ties"] == 1


def test_margins() -> None:
    assert margins(np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])) == pytest.approx([0.2, 0.7])
