"""Figures of answers: what they are of hand-made ones, and what holds of all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab_bench.paper.figures import (
    Answered,
    deviation_of,
    difference_from,
    fold_figures,
    mean_of,
    pooled_figures,
)

LABELS = ("anger", "joy", "neutral")
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40)


def answered(pairs: list[tuple[str, str]]) -> list[Answered]:
    return [Answered(str(i), true, predicted) for i, (true, predicted) in enumerate(pairs)]


def test_a_class_without_an_utterance_is_named() -> None:
    found = fold_figures("one", answered([("anger", "anger"), ("joy", "anger")]), LABELS, 3)
    assert found.absent == ("neutral",)
    assert (found.figures.war, found.figures.uar) == (0.5, 0.5)


def test_folds_weigh_the_same_and_utterances_do_when_pooled() -> None:
    right, wrong = ("joy", "joy"), ("joy", "anger")
    folds = [
        fold_figures("one", answered([right]), LABELS, None),
        fold_figures("two", answered([wrong, wrong, right]), LABELS, None),
    ]
    assert mean_of(folds).war == pytest.approx(2 / 3)
    deviation = deviation_of(folds)
    assert deviation is not None
    assert deviation.war == pytest.approx(np.std([1, 1 / 3], ddof=1))
    assert deviation_of(folds[:1]) is None
    assert pooled_figures(answered([right, wrong, wrong, right]), LABELS).figures.war == 0.5


def test_intervals_are_those_of_the_binomial_distribution() -> None:
    """Of the share of right answers, a bootstrap over many utterances finds what theory says."""
    answers = answered([("joy", "joy")] * 300 + [("joy", "anger")] * 100)
    found = pooled_figures(answers, LABELS)
    deviation = np.sqrt(0.75 * 0.25 / 400)
    assert found.war_interval == pytest.approx((0.75 - 1.96 * deviation, 0.75 + 1.96 * deviation), abs=0.006)
    assert found.uar_interval == found.war_interval


@settings(max_examples=30, deadline=None)
@given(pairs)
def test_what_holds_of_all_answers(pairs: list[tuple[str, str]]) -> None:
    answers = answered(pairs)
    found = pooled_figures(answers, LABELS)
    for low, high in (found.war_interval, found.uar_interval):
        assert 0 <= low <= high <= 1
    same = difference_from("it", answers, answers, LABELS)
    assert same is not None
    assert (same.war, same.uar, same.war_interval, same.uar_interval) == (0, 0, (0, 0), (0, 0))


def test_differences_are_of_the_common_utterances() -> None:
    before = answered([("joy", "joy"), ("anger", "joy"), ("anger", "joy"), ("neutral", "neutral")])
    after = answered([("joy", "joy"), ("anger", "anger"), ("anger", "joy")])
    found = difference_from("it", before, after, LABELS)
    assert found is not None
    assert (found.reference, found.utterances) == ("it", 3)
    assert found.war == pytest.approx(1 / 3)
    assert found.uar == pytest.approx(1 / 4)
    assert found.war_interval[0] == 0
    assert difference_from("it", [], after, LABELS) is None
