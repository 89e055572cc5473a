"""Ever new lengths: none comes again, none is too short, the same seed cuts alike."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.preprocess import Features
from mtab.traffic import NewLengths


def features(samples: int | None, tokens: int | None) -> Features:
    return Features(
        None if samples is None else np.arange(samples, dtype=np.float32),
        None if tokens is None else np.arange(tokens),
        None if samples is None else samples / 16_000,
        False,
    )


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(2000, 160_000), min_size=1, max_size=20), st.integers(0, 100))
def test_no_length_comes_again(lengths: list[int], seed: int) -> None:
    new, again = NewLengths(400, seed), NewLengths(400, seed)
    found = []
    for length in lengths * 5:
        cut = new.features(features(length, 20))
        assert cut.input_values is not None
        assert cut.input_ids is not None
        assert 400 <= len(cut.input_values) <= length
        assert cut.seconds == len(cut.input_values) / 16_000
        np.testing.assert_array_equal(cut.input_values, np.arange(len(cut.input_values)))
        # Between the first token and the last.
        assert (cut.input_ids[0], cut.input_ids[-1]) == (0, 19)
        assert 17 <= len(cut.input_ids) <= 20
        same = again.features(features(length, 20))
        assert same.input_values is not None
        assert same.input_ids is not None
        assert (len(same.input_values), len(same.input_ids)) == (len(cut.input_values), len(cut.input_ids))
        found.append(len(cut.input_values))
    assert len(set(found)) == len(found)


def test_lengths_are_spread() -> None:
    new = NewLengths()
    found = [len(new.samples(np.zeros((64_000, 2)))) for _ in range(1000)]
    assert len(set(found)) == 1000
    assert min(found) > 0.85 * 64_000
    assert np.std(found) > 0.02 * 64_000


def test_used_up_lengths_come_again() -> None:
    new = NewLengths(least=400)
    found = [len(new.samples(np.zeros(410))) for _ in range(50)]
    assert sorted(set(found)) == list(range(400, 411))


def test_each_modality_alone() -> None:
    new = NewLengths()
    heard = new.features(features(16_000, None))
    assert heard.input_ids is None
    read = [new.features(features(None, tokens)) for tokens in (1, 2, 3, 40)]
    assert all(each.seconds is None and each.input_values is None for each in read)
    sizes = [len(each.input_ids) for each in read if each.input_ids is not None]
    assert sizes[:2] == [1, 2]
    assert sizes[2] in (2, 3)
    assert 35 <= sizes[3] <= 40
