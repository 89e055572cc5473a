"""Batches: every utterance once, like lengths together, another order each epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab_train.sampling import WINDOW, evaluation_batches, training_batches


def padded(batches: list[list[int]], lengths: list[int]) -> int:
    return sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=300),
    st.integers(1, 20),
    st.booleans(),
    st.integers(0, 1000),
)
def test_every_index_is_in_one_batch(lengths: list[int], size: int, bucketing: bool, seed: int) -> None:
    for batches in (
        training_batches(lengths, size, np.random.default_rng(seed), bucketing),
        evaluation_batches(lengths, size),
    ):
        assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
        assert all(1 <= len(batch) <= size for batch in batches)
        assert sum(len(batch) < size for batch in batches) <= 1 + len(lengths) // (WINDOW * size)


def test_bucketing_pads_little_where_arrival_order_pads_much() -> None:
    lengths = np.random.default_rng(0).lognormal(0, 0.7, 2000).tolist()
    plain = padded(training_batches(lengths, 16, np.random.default_rng(1), False), lengths) / sum(lengths)
    bucketed = padded(training_batches(lengths, 16, np.random.default_rng(1)), lengths) / sum(lengths)
    assert plain > 2
    assert bucketed < 1.1
    assert padded(evaluation_batches(lengths, 16), lengths) / sum(lengths) < 1.05


def test_the_same_seed_gives_the_same_batches_and_another_does_not() -> None:
    lengths = list(range(100))
    first, again, other = (training_batches(lengths, 4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("bucketing", [True, False])
def test_batches_come_in_no_order_of_length(bucketing: bool) -> None:
    lengths = list(range(1000))
    batches = training_batches(lengths, 10, np.random.default_rng(0), bucketing)
    means = [np.mean(batch) for batch in batches]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3
