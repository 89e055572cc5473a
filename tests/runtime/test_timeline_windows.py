"""Windows cover a stretch, and their mean at every time is that of those which cover it."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mtab.timeline.windows import average, cut_windows


def test_by_hand() -> None:
    assert cut_windows(10, 13, 5, 2) == [(10, 13)]
    assert cut_windows(0, 5, 5, 2) == [(0, 5)]
    assert cut_windows(0, 9, 5, 2) == [(0, 5), (2, 7), (4, 9)]
    # A little more than a window is no reason for another.
    assert cut_windows(0, 55, 50, 25) == [(0, 55)]
    assert cut_windows(0, 56, 50, 25) == [(0, 50), (6, 56)]
    cells = average([(0, 5), (3, 8)], [np.array([1.0, 0.0]), np.array([0.0, 1.0])])
    assert [(a, b, row.tolist()) for a, b, row in cells] == [
        (0, 3, [1.0, 0.0]),
        (3, 5, [0.5, 0.5]),
        (5, 8, [0.0, 1.0]),
    ]
    # A time that nothing was answered for is left out.
    assert [cell[:2] for cell in average([(0, 2), (4, 5)], [np.ones(1)] * 2)] == [(0, 2), (4, 5)]


@given(st.integers(0, 1_000), st.integers(1, 1_000), st.integers(10, 100), st.data())
def test_windows(start: int, length: int, size: int, data: st.DataObject) -> None:
    # At least a fifth of a window, so that they leave no hole.
    overlap = data.draw(st.integers(size // 5 + 1, size - 1))
    windows = cut_windows(start, start + length, size, overlap)
    assert windows[0][0] == start
    assert windows[-1][1] == start + length
    hop = size - overlap
    if len(windows) > 1:
        assert all(last - first == size for first, last in windows)
        spaces = [b - a for (a, _), (b, _) in itertools.pairwise(windows)]
        # No slivers, no holes.
        assert max(spaces) - min(spaces) <= 1
        assert 0.19 * hop - 1 <= min(spaces)
        assert max(spaces) <= 1.2 * hop + 1
    else:
        assert length <= size + 0.2 * hop
    rows = [np.array([float(i)]) for i in range(len(windows))]
    cells = average(windows, rows)
    assert (cells[0][0], cells[-1][1]) == (start, start + length)
    firsts, lasts = np.array(windows).T
    for first, last, row in cells:
        covering = np.flatnonzero((firsts <= first) & (first < lasts))
        assert covering.tolist() == np.flatnonzero((firsts < last) & (last <= lasts)).tolist()
        assert row == covering.mean()
