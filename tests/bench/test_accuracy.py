"""Accuracy, calibration and parity of answers, against examples worked by hand and other formulas."""

import json
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.config import from_dict, to_dict
from mtab.data import Utterance
from mtab.graphs import BUDGETS, Budget
from mtab.parity import compare
from mtab_bench.sections.accuracy import Accuracy, BackendParity, McNemar, margins, reliability
from mtab_train.metrics import chance_of

from .reports import answers_of, parity_of

LABELS = ("anger", "joy", "neutral")
UTTERANCES = [Utterance(f"u{i}", Path(f"{i}.wav") if i else None, "Hi", "joy") for i in range(4)]


def test_worked_example() -> None:
    before = np.array(
        [[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.499004, 0.498996, 0.002], [0.1, 0.1, 0.8]], np.float32
    )
    after = before.copy()
    after[0] = (0.2, 0.7, 0.1)  # another label
    after[2] = (0.498996, 0.499004, 0.002)  # another label, at a near tie
    after[3] = (0.1, 0.2, 0.7)  # the same label
    found = parity_of(before, after, UTTERANCES, LABELS, BUDGETS["fp32"])
    assert found.labels_changed == 2
    figures = found.figures
    assert figures == compare(answers_of(before), answers_of(after), answers_of(after), BUDGETS["fp32"])
    assert (figures.utterances, figures.label_agreement) == (4, 0.5)
    assert (figures.changed, figures.near_ties, figures.changed_near_ties) == ((0,), (2,), (2,))
    assert figures.max_probability_difference == pytest.approx(0.5, abs=1e-6)
    assert figures.mean_probability_difference == pytest.approx((1.0 + 0.000016 + 0.2) / 12, abs=1e-6)
    first, second = found.changed
    assert (first.id, first.audio, first.true, first.near_tie) == ("u0", None, "joy", False)
    assert (first.reference.label, first.backend.label) == ("anger", "joy")
    assert first.backend.probabilities == pytest.approx({"anger": 0.2, "joy": 0.7, "neutral": 0.1})
    assert (second.id, second.audio, second.near_tie) == ("u2", "2.wav", True)
    # True is joy: the first was wrong and is right, of the others none changes sides but the near tie.
    assert found.mcnemar == McNemar(0, 0.5, 0, 2)
    assert from_dict(BackendParity, json.loads(json.dumps(to_dict(found))), "x") == found


def test_a_near_tie_is_what_the_budget_says() -> None:
    before, after = np.array([[0.501, 0.499]]), np.array([[0.499, 0.501]])
    utterance = [Utterance("u", None, "Hi", "joy")]
    for most, near in ((5e-4, False), (2.1e-3, True)):
        found = parity_of(before, after, utterance, LABELS[:2], Budget(most, 1.0))
        assert (found.figures.changed_near_ties == (0,)) == found.changed[0].near_tie == near
        # One label may change at a near tie, and the difference is 2e-3.
        assert (not found.failures) == near


def test_a_label_that_changes_only_in_a_batch_counts() -> None:
    before, among = np.array([[0.6, 0.4], [0.2, 0.8]]), np.array([[0.3, 0.7], [0.2, 0.8]])
    reference, batched = answers_of(before), answers_of(among)
    found = BackendParity.of(reference, reference, batched, UTTERANCES[:2], LABELS[:2], BUDGETS["int8"], 4)
    assert (found.labels_changed, found.war_difference, found.mcnemar.p_value) == (1, 0.0, 1.0)
    assert found.changed[0].backend.probabilities == {"anger": 0.3, "joy": 0.7}
    assert len(found.failures) == 3
    assert "in batches of 4 (utterance u0 of 2)" in found.failures[0]


def test_equal_answers() -> None:
    probabilities = np.array([[0.7, 0.3], [0.5, 0.5]], np.float32)
    found = parity_of(probabilities, probabilities, UTTERANCES[:2], LABELS[:2], BUDGETS["fp32"])
    assert found.figures.label_agreement == 1.0
    assert found.figures.max_difference == 0.0
    assert (found.changed, found.failures) == ((), ())
    assert found.figures.near_ties == (1,)


def test_margins() -> None:
    assert margins(np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])) == pytest.approx([0.2, 0.7])


def test_mcnemar_worked_example() -> None:
    # Of 20 utterances the reference alone is right on 7 and the engine alone on 1. Were both equally good,
    # 7 or more of 8 on one side has the probability (8 + 1) / 256, and twice that on either side.
    reference = np.array([True] * 7 + [False] + [True] * 12)
    engine = np.array([False] * 7 + [True] + [True] * 12)
    found = McNemar.of(reference, engine)
    assert (found.only_reference_right, found.only_backend_right, found.statistic) == (7, 1, 1)
    assert found.p_value == pytest.approx(18 / 256)
    assert McNemar.of(reference, reference).p_value == 1.0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_binomial_distributions(pairs: list[tuple[bool, bool]]) -> None:
    reference, engine = np.array(pairs).T
    lost, won = pairs.count((True, False)), pairs.count((False, True))
    tail = sum(comb(lost + won, k) for k in range(min(lost, won) + 1)) / 2 ** (lost + won)
    found = McNemar.of(reference, engine)
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))
    assert McNemar.of(engine, reference).p_value == found.p_value


def test_calibration_worked_example() -> None:
    # Fifteenths: 0.5 lies in (7/15, 8/15], 0.6 at the upper end of (8/15, 9/15], 0.95 in the last one.
    probabilities = np.array([[0.5, 0.3, 0.2], [0.5, 0.25, 0.25], [0.1, 0.6, 0.3], [0.02, 0.03, 0.95]])
    true = np.array([0, 1, 1, 0])
    found = Accuracy.of(probabilities, true, LABELS)
    bins = found.bins
    assert [(each.count, each.accuracy) for each in bins] == [(2, 0.5), (1, 1.0), (1, 0.0)]
    assert [each.confidence for each in bins] == pytest.approx([0.5, 0.6, 0.95])
    assert [each.upper for each in bins] == pytest.approx([8 / 15, 9 / 15, 1.0])
    assert found.ece == pytest.approx((2 * 0.0 + 0.4 + 0.95) / 4)
    assert (found.uar_classes, found.recall["neutral"]) == (2, None)
    assert found.uar == pytest.approx((0.5 + 0.5) / 2)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 80))
def test_intervals_hold_every_utterance_and_give_the_error(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    probabilities, true = random.dirichlet((0.4,) * 3, count), random.integers(0, 3, count)
    bins = reliability(probabilities, true)
    assert sum(each.count for each in bins) == count
    assert all(each.lower < each.confidence <= each.upper + 1e-12 for each in bins)
    gaps = (each.count * abs(each.confidence - each.accuracy) for each in bins)
    assert Accuracy.of(probabilities, true, LABELS).ece == pytest.approx(sum(gaps) / count)


def test_chance_is_a_guess_among_the_classes_that_are_there() -> None:
    true = np.array([0, 0, 0, 1] * 10)
    right = np.eye(3)[true]
    found = Accuracy.of(0.8 * right + 0.1, true, LABELS)
    assert (found.chance.uar, found.chance.war, found.at_chance) == (1 / 2, 3 / 4, False)
    # Always the most frequent class: three of four are right, and nothing was learned.
    frequent = Accuracy.of(np.tile([0.8, 0.1, 0.1], (40, 1)), true, LABELS)
    assert (frequent.war, frequent.uar, frequent.at_chance) == (0.75, 0.5, True)
    # As the trainer says of the same confusion matrix.
    assert frequent.chance == chance_of(frequent.confusion_matrix)
    # The rare class found at the cost of the frequent one: luck explains such a WAR, not such a UAR.
    answers = np.where(true == 1, 1, 0)
    answers[:10] = 1
    better = Accuracy.of(np.eye(3)[answers], true, LABELS)
    assert better.war <= better.chance.war_limit
    assert better.uar > better.chance.uar_limit
    assert not better.at_chance
