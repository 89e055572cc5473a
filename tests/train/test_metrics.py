"""WAR and UAR by the paper's equations, written out by hand; other metrics against published libraries."""

import math

import audmetric
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from mtab_train.metrics import chance_of, concordance, concordances, expected_calibration_error, scores


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


def test_concordance_by_hand() -> None:
    """Means 2 and 3, variances 2/3 and 8/3, covariance 4/3: (8/3) / (10/3 + 1)."""
    assert concordance(np.array([1, 2, 3]), np.array([1, 3, 5])) == pytest.approx(8 / 13)
    assert concordance(np.array([2, 2, 2]), np.array([1, 3, 5])) == 0
    assert concordance(np.array([5, 3, 1]), np.array([1, 3, 5])) == pytest.approx(-1)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 30), st.integers(0, 1000), st.floats(0, 0.9))
def test_concordance_of_what_is_rated_is_the_librarys(count: int, seed: int, unrated: float) -> None:
    random = np.random.default_rng(seed)
    true, found = random.normal(3, 1, count), random.normal(2, 2, count)
    true[random.random(count) < unrated] = np.nan
    rated = np.isfinite(true)
    if rated.sum() < 2:
        assert concordance(found, true) is None
        return
    expected = audmetric.concordance_cc(true[rated], found[rated])
    assert concordance(found, true) == pytest.approx(expected, abs=1e-12)


def test_a_dimension_without_two_different_ratings_has_no_concordance() -> None:
    found = np.arange(6.0).reshape(3, 2)
    true = np.array([[3.3, 1], [3.3, np.nan], [3.3, 2]])
    expected = audmetric.concordance_cc([1, 2], [1, 5])
    assert concordances(found, true, ("valence", "arousal")) == {
        "valence": None,
        "arousal": pytest.approx(expected),
    }


def test_chance_is_the_commonest_class_and_one_in_the_classes() -> None:
    chance = chance_of([[50, 10, 0], [20, 20, 0], [0, 0, 0]])
    assert (chance.war, chance.uar) == (0.6, 0.5)
    assert 0.68 < chance.war_limit < 0.71
    assert 0.5 < chance.uar_limit < 0.62
    assert chance.explains(0.6, 0.5)
    assert not chance.explains(0.75, 0.5)
    assert not chance.explains(0.5, 0.7)


def test_chance_of_a_head_a_corpus_is_that_of_each() -> None:
    """The commonest of 50 and 20, and of 30; one in two classes, and one of one."""
    chance = chance_of([[50, 0, 0, 0], [0, 20, 0, 0], [0, 0, 30, 0], [0, 0, 0, 0]], (0, 0, 2, 2))
    assert chance.war == pytest.approx(0.8)
    assert chance.uar == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def test_luck_stays_within_its_limits() -> None:
    """Guesses by the class shares of 19 in 20 draws are explained, and few of a model that knows a little."""
    random = np.random.default_rng(0)
    true = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    explained = {"guessing": 0, "knowing": 0}
    for _ in range(200):
        guess = random.integers(4, size=100)
        known = np.where(random.random(100) < 0.5, true, guess)
        for name, predicted in (("guessing", guess), ("knowing", known)):
            matrix = np.zeros((4, 4), dtype=int)
            np.add.at(matrix, (true, predicted), 1)
            war, uar = np.trace(matrix) / 100, np.mean(np.diag(matrix) / matrix.sum(axis=1))
            explained[name] += chance_of(matrix.tolist()).explains(war, uar)
    assert explained["guessing"] >= 185
    assert explained["knowing"] <= 5


def test_calibration_error_by_hand() -> None:
    # In tenths: 0.62 and 0.68, one right, in a bin; 0.7, wrong, at the top of the same; 0.95, right, apart.
    probabilities = np.array([[0.62, 0.3, 0.08], [0.3, 0.68, 0.02], [0.1, 0.2, 0.7], [0.05, 0.95, 0.0]])
    true = np.array([0, 0, 1, 1])
    gaps = [abs((0.62 + 0.68 + 0.7) / 3 - 1 / 3), abs(0.95 - 1)]
    expected = 3 / 4 * gaps[0] + 1 / 4 * gaps[1]
    assert expected_calibration_error(probabilities, true, bins=10) == pytest.approx(expected)
    # In one bin mistakes of either sign cancel out.
    assert expected_calibration_error(probabilities, true, bins=1) == pytest.approx(abs(2.95 / 4 - 2 / 4))


def test_calibration_error_at_its_ends() -> None:
    certain = np.eye(3, dtype=np.float32)
    assert expected_calibration_error(certain, np.array([0, 1, 2])) == 0
    assert expected_calibration_error(certain, np.array([1, 2, 0])) == 1
    assert expected_calibration_error(np.full((2, 2), 0.5), np.array([0, 1])) == 0


@settings(deadline=None, max_examples=50)
@given(
    utterances=st.integers(1, 60),
    classes=st.integers(2, 7),
    bins=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_calibration_error_is_that_of_scikit_learns_curve(
    utterances: int, classes: int, bins: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(classes, 0.5), utterances)
    true = random.integers(classes, size=utterances)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == true
    accuracy, mean = calibration_curve(right, confidence, n_bins=bins, pos_label=True)
    counts, _ = np.histogram(confidence, bins, (0, 1))
    expected = (np.abs(accuracy - mean) * counts[counts > 0]).sum() / utterances
    assert expected_calibration_error(probabilities, true, bins) == pytest.approx(expected, abs=1e-12)
