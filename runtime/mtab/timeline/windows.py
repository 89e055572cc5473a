"""Overlapping windows over a stretch of speech, and what they say together."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def cut_windows(start: int, end: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """The windows of ``size`` from ``start`` to ``end`` that share ``overlap``; the last ends at ``end``.

    One shorter window where there is no more; the last two may share more.
    """
    hop = size - overlap
    count = max(0, math.ceil((end - start - size) / hop))
    firsts = [start + i * hop for i in range(count)]
    return [*((first, first + size) for first in firsts), (max(start, end - size), end)]


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
