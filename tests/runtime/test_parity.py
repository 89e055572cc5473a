"""Parity: figures worked by hand, and made-up engines whose faults must be found and named."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.config import from_dict, to_dict
from mtab.errors import DataError
from mtab.graphs import BUDGETS, Budget
from mtab.parity import Parity, answer_batched, answer_unbatched, compare, measure_parity
from mtab.preprocess import Features

FP32 = BUDGETS["fp32"]


def utterances(count: int) -> list[Features]:
    """Utterance i is its own number: one sample of value i."""
    return [Features(np.array([i], np.float32), None, None, False) for i in range(count)]


class Engine:
    """Answers utterance i with row i of ``logits``; records its batches; may add errors to probabilities."""

    def __init__(
        self, logits: np.ndarray, alone: np.ndarray | float = 0.0, batched: np.ndarray | float = 0.0
    ) -> None:
        self.logits = logits
        self.errors = [np.broadcast_to(np.asarray(e, float).T, logits.T.shape).T for e in (alone, batched)]
        self.batches: list[list[int]] = []

    def __call__(self, features: Sequence[Features]) -> dict[str, np.ndarray]:
        indices = [int(each.input_values[0]) for each in features if each.input_values is not None]
        self.batches.append(indices)
        rows = self.logits[indices].astype(np.float64)
        probabilities = np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)
        probabilities += self.errors[len(indices) > 1][indices]
        return {"logits": rows, "probabilities": probabilities}


def logits_of(probabilities: list[list[float]]) -> np.ndarray:
    return np.log(np.array(probabilities))


def parity_of(
    reference: Engine,
    candidate: Engine,
    features: Sequence[Features],
    batch_size: int = 8,
    seed: int = 0,
    tolerance: float = 1e-5,
) -> Parity:
    expected = answer_unbatched(reference, features)
    return measure_parity(expected, candidate, features, Budget(tolerance, 1.0), batch_size, seed)


def test_dimensions_are_held_to_their_own_budget() -> None:
    """Valence varies by 2 and moves by 0.1 alone, arousal by 0.5 and moves by 0.05 in a batch."""
    logits = {"logits": np.zeros((3, 2)), "probabilities": np.full((3, 2), 0.5)}
    reference = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    alone, batched = reference.copy(), reference.copy()
    alone[1, 0] += 0.1
    batched[2, 1] -= 0.05
    answers = [logits | {"dimensions": each.astype(np.float32)} for each in (reference, alone, batched)]
    deviations = {"valence": 2.0, "arousal": 0.5}
    parity = compare(*answers, Budget(1e-5, 1.0), deviations=deviations)
    moved = parity.dimensions
    assert moved is not None
    assert moved.max_difference == pytest.approx(0.05, abs=1e-6)
    assert moved.max_batched_difference == pytest.approx(0.1, abs=1e-6)
    assert moved.max_invariance_difference == pytest.approx(0.1, abs=1e-6)
    assert (moved.worst, moved.worst_batched, moved.worst_invariance) == (1, 2, 2)
    assert parity.failures(Budget(1e-5, 1.0, 0.11)) == []
    assert parity.failures(Budget(1e-5, 1.0, 0.06), "abc") == [
        "a dimension differs by 0.1 standard deviations in batches of 8 (utterance c of 3), expected at most "
        "0.06",
        "a dimension differs by 0.1 standard deviations between batched and unbatched (utterance c of 3), "
        "expected at most 0.06",
    ]
    answers[1]["dimensions"][0, 0] = np.nan
    assert len(compare(*answers, Budget(1e-5, 1.0), deviations=deviations).failures(Budget(1, 1, 1))) == 2
    assert from_dict(Parity, json.loads(json.dumps(to_dict(parity))), "it") == parity


LOGITS = np.random.default_rng(1).normal(0, 2, (20, 4))


def test_the_same_engine_has_no_difference() -> None:
    parity = parity_of(Engine(LOGITS), Engine(LOGITS), utterances(20))
    assert parity.max_probability_difference == parity.mean_probability_difference == 0
    assert parity.max_batched_difference == parity.max_invariance_difference == parity.max_logits_used == 0
    assert (parity.utterances, parity.label_agreement, parity.changed, parity.near_ties) == (20, 1.0, (), ())
    assert parity.failures(Budget(0.0, 1.0)) == []


def test_the_figures_by_hand() -> None:
    # Alone, utterance 1 is 0.02 and 0.01 off; batched, utterance 2 is 0.03 off the other way.
    alone = np.array([[0, 0], [0.02, -0.01], [0, 0]])
    batched = np.array([[0, 0], [0.02, -0.01], [-0.03, 0]])
    logits = logits_of([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
    parity = parity_of(Engine(logits), Engine(logits, alone, batched), utterances(3), batch_size=3)
    assert parity.max_probability_difference == pytest.approx(0.02)
    assert parity.mean_probability_difference == pytest.approx(0.03 / 6)
    assert parity.max_batched_difference == pytest.approx(0.03)
    assert parity.max_invariance_difference == pytest.approx(0.03)
    assert (parity.worst, parity.worst_batched, parity.worst_invariance) == (1, 2, 2)
    assert parity.label_agreement == 1
    assert parity.failures(Budget(0.025, 1.0)) == [
        "a probability differs by 0.03 in batches of 3 (utterance 2 of 3), expected at most 0.025",
        "a probability differs by 0.03 between batched and unbatched (utterance 2 of 3), expected at most "
        "0.025",
    ]
    assert len(parity.failures(Budget(0.01, 1.0))) == 3
    assert parity.failures(Budget(0.031, 1.0)) == []


def test_logits_are_held_to_their_own_tolerance() -> None:
    other = LOGITS.copy()
    other[7, 2] += 3e-4 * (1 + abs(other[7, 2]))
    parity = parity_of(Engine(LOGITS), Engine(other), utterances(20))
    assert parity.max_logits_used == pytest.approx(3.0)
    moved = 3e-4 * (1 + abs(LOGITS[7, 2]))
    assert parity.relative_logits_difference == pytest.approx(moved / np.abs(LOGITS).max())


def test_a_label_that_changes_is_named() -> None:
    other = LOGITS.copy()
    other[[3, 11]] = other[[3, 11], ::-1]
    parity = parity_of(Engine(LOGITS), Engine(other), utterances(20))
    assert parity.changed == (3, 11)
    assert (parity.label_agreement, parity.near_ties) == (0.9, ())
    assert parity.failures(Budget(1.0, 1.0)) == [
        "2 of 20 labels change, not at a near tie (first utterance 3), expected agreement of at least 100.00%"
    ]
    assert parity.failures(Budget(1.0, 0.9)) == []


def test_a_label_that_changes_only_in_a_batch_counts() -> None:
    swapped = np.zeros((20, 4))
    swapped[5, LOGITS[5].argmin()] = 1.0
    parity = parity_of(Engine(LOGITS), Engine(LOGITS, batched=swapped), utterances(20))
    assert parity.max_probability_difference == 0
    assert parity.changed == (5,)


def test_a_near_tie_is_counted_apart() -> None:
    # The lead is 1e-5: an error of 0.6e-5 on each, within the tolerance of 1e-5, turns it round.
    logits = logits_of([[0.4 + 0.5e-5, 0.4 - 0.5e-5, 0.2], [0.8, 0.1, 0.1]])
    error = np.array([[-0.6e-5, 0.6e-5, 0], [0, 0, 0]])
    parity = parity_of(Engine(logits), Engine(logits, error, error), utterances(2))
    assert (parity.changed, parity.near_ties, parity.label_agreement) == ((), (0,), 0.5)
    assert parity.failures(FP32) == []
    narrow = parity_of(Engine(logits), Engine(logits, error, error), utterances(2), tolerance=0.4e-5)
    assert (narrow.changed, narrow.near_ties) == ((0,), ())
    assert "1 of 2 labels change" in narrow.failures(FP32)[0]


def test_a_near_tie_does_not_hide_another_change() -> None:
    logits = logits_of([[0.4 + 0.5e-5, 0.4 - 0.5e-5, 0.2], [0.8, 0.1, 0.1]])
    error = np.array([[-0.6e-5, 0.6e-5, 0], [-0.5, 0.5, 0]])
    parity = parity_of(Engine(logits), Engine(logits, error, error), utterances(2))
    assert (parity.changed, parity.near_ties) == ((1,), (0,))
    (reason,) = parity.failures(Budget(1.0, 1.0))
    assert reason.startswith("1 of 2 labels change, not at a near tie (first utterance 1)")


@pytest.mark.parametrize(
    ("utterances", "min_agreement", "exempt"),
    [(30, 0.99, 1), (200, 0.99, 2), (300, 0.99, 3), (200, 0.995, 1), (5000, 1.0, 1), (10, 0.9, 1)],
)
def test_near_ties_excuse_as_many_labels_as_the_budget_or_one(
    utterances: int, min_agreement: float, exempt: int
) -> None:
    """0.5005 against 0.4995 is a near tie of 2e-2; an error of 1e-3 turns any of them round."""
    budget = Budget(2e-2, min_agreement)
    assert budget.exempt(utterances) == exempt
    expected = np.tile([0.5005, 0.4995], (utterances, 1))
    expected[-1] = 0.9, 0.1

    def turned(count: int) -> Parity:
        found = expected.copy()
        found[:count] = found[:count, ::-1]
        answers = [{"logits": np.log(each), "probabilities": each} for each in (expected, found)]
        return compare(answers[0], answers[1], answers[1], budget)

    within, beyond = turned(exempt), turned(exempt + 1)
    assert within.failures(budget) == []
    assert (len(within.near_ties), len(within.changed_near_ties)) == (utterances - 1, exempt)
    (failure,) = beyond.failures(budget)
    assert failure.startswith(
        f"{exempt + 1} of {utterances} labels change at near ties, a lead of up to 0.004"
    )
    assert failure.endswith(f"expected at most {exempt}")


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_is_no_number_fails(broken: float) -> None:
    error = np.zeros((20, 4))
    error[6, 0] = broken
    parity = parity_of(Engine(LOGITS), Engine(LOGITS, error), utterances(20))
    reasons = parity.failures(Budget(1e9, 0.0))
    assert len(reasons) == 2
    assert all("utterance 6 of 20" in reason for reason in reasons)


def test_batches_are_mixed_and_the_order_is_the_seeds() -> None:
    def batches(seed: int) -> list[list[int]]:
        engine = Engine(LOGITS)
        parity_of(Engine(LOGITS), engine, utterances(20), batch_size=8, seed=seed)
        assert engine.batches[:20] == [[i] for i in range(20)]
        return engine.batches[20:]

    first = batches(0)
    assert [len(batch) for batch in first] == [8, 8, 4]
    assert sorted(i for batch in first for i in batch) == list(range(20))
    assert first != [[*range(8)], [*range(8, 16)], [*range(16, 20)]]
    assert batches(0) == first
    assert batches(1) != first


def test_the_reference_may_be_its_answers() -> None:
    candidate = Engine(LOGITS + np.random.default_rng(2).normal(0, 1e-3, LOGITS.shape))
    unbatched = answer_unbatched(candidate, utterances(20))
    batched = answer_batched(candidate, utterances(20))
    from_arrays = compare(Engine(LOGITS)(utterances(20)), unbatched, batched, FP32)
    assert from_arrays == parity_of(Engine(LOGITS), candidate, utterances(20))
    assert from_arrays.max_probability_difference > 0


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 3), st.data())
def test_every_answer_is_compared_with_its_own(
    count: int, batch_size: int, seed: int, data: st.DataObject
) -> None:
    """An error put on one utterance is found at that utterance, whatever the batches."""
    guilty = data.draw(st.integers(0, count - 1))
    error = np.zeros((count, 4))
    error[guilty, 1] = 1e-3
    parity = parity_of(
        Engine(LOGITS[:count]), Engine(LOGITS[:count], error, error), utterances(count), batch_size, seed
    )
    assert parity.max_probability_difference == pytest.approx(1e-3)
    assert parity.max_batched_difference == pytest.approx(1e-3)
    assert parity.max_invariance_difference == 0
    assert (parity.worst, parity.worst_batched) == (guilty, guilty)


def test_it_is_saved_as_json() -> None:
    other = LOGITS[::-1]
    parity = parity_of(Engine(LOGITS), Engine(other), utterances(20))
    assert parity.changed
    assert from_dict(Parity, json.loads(json.dumps(to_dict(parity), allow_nan=False)), "test") == parity


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(DataError, match="no utterance"):
        parity_of(Engine(LOGITS), Engine(LOGITS), [])
