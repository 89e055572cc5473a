"""WAR and UAR by the paper's equations, written out by hand."""

import math

import pytest

from mtab_train.metrics import scores


def test_the_papers_equations() -> None:
    # anger: 3 of 4 right; happiness: 1 of 2; sadness: 0 of 1.
    true = [0, 0, 0, 0, 1, 1, 2]
    predicted = [0, 0, 0, 1, 1, 0, 0]
    found = scores(true, predicted, ("anger", "happiness", "sadness"))
    recalls = [3 / 4, 1 / 2, 0.0]
    assert found["recall"] == dict(zip(("anger", "happiness", "sadness"), recalls, strict=True))
    assert found["war"] == pytest.approx(sum(r * n for r, n in zip(recalls, (4, 2, 1), strict=True)) / 7)
    assert found["uar"] == pytest.approx(sum(recalls) / 3)
    assert found["confusion_matrix"] == [[3, 1, 0], [1, 1, 0], [1, 0, 0]]
    f1 = [2 * 3 / (2 * 3 + 2 + 1), 2 * 1 / (2 * 1 + 1 + 1), 0.0]
    assert found["weighted_f1"] == pytest.approx(sum(f * n for f, n in zip(f1, (4, 2, 1), strict=True)) / 7)
    assert found["utterances"] == 7


def test_a_class_without_utterances_has_no_recall_and_does_not_count() -> None:
    found = scores([0, 1, 1], [0, 2, 1], ("a", "b", "c"))
    assert found["recall"] == {"a": 1.0, "b": 0.5, "c": None}
    assert found["uar"] == pytest.approx(0.75)
    assert found["confusion_matrix"] == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert math.isfinite(found["weighted_f1"])
