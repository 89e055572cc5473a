"""Overlapping windows over a stretch of speech, and what they say together."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_SLACK = 0.2
"""The share of a hop that is too little for a window more."""


def cut_windows(start: int, end: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Windows of ``size`` from ``start`` to ``end``, evenly spaced, that share about ``overlap`` or more.

    A stretch that is hardly longer than ``size``, or shorter, is one window.
    """
    hop, length = size - overlap, end - start
    if length - size <= _SLACK * hop:
        return [(start, end)]
    # Without an overlap they may not be further apart than they are long.
    more = max(math.ceil((length - size) / hop - _SLACK), math.ceil((length - size) / size))
    firsts = [start + round(i * (length - size) / more) for i in range(more + 1)]
    return [(first, first + size) for first in firsts]


def average(
    windows: Sequence[tuple[int, int]], rows: Sequence[np.ndarray]
) -> list[tuple[int, int, np.ndarray]]:
    """The stretches between all ends of windows, each with the mean of the ``rows`` whose windows cover it.

    Stretches that none covers are left out. Windows and stretches are (first, after the last), in order of
    both ends.
    """
    bounds = sorted({bound for window in windows for bound in window})
    firsts, lasts = ([window[i] for window in windows] for i in (0, 1))
    cells = []
    for first, last in pairwise(bounds):
        covering = rows[bisect_right(lasts, first) : bisect_right(firsts, first)]
        if len(covering):
            cells.append((first, last, np.mean(covering, axis=0)))
    return cells
