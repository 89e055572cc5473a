"""Timing several ways to do the same thing side by side, so that noise strikes all alike."""

import time
from collections.abc import Callable, Sequence

import numpy as np

BLOCK = 10
"""Items that one way does in a row before it is the next one's turn."""
PAUSE = 0.02
"""Seconds before each turn, in which the idle threads of the way before stop spinning."""


def interleaved(
    ways: Sequence[Callable[[int], object]],
    items: int,
    min_samples: int = 1,
    min_seconds: float = 0.0,
    progress: Callable[[int], object] = lambda _: None,
) -> np.ndarray:
    """The seconds that each of ``ways`` takes for each of ``items``, float64 (ways, passes, items).

    A way is called with the item's number. The ways take turns on each block of `BLOCK` items, in alternating
    order; before each turn are a pause and an item untimed: the threads of the way before, which spin for a
    while when idle, go to sleep, and its own threads and weights come back. All items are passed over again
    until each way has ``min_samples`` and has worked for ``min_seconds``. ``progress`` is told how many items
    all ways have done since it was called last.
    """
    passes: list[np.ndarray] = []
    turn = list(enumerate(ways))
    worked = np.zeros(len(ways))
    while len(passes) * items < min_samples or worked.min() < min_seconds or not passes:
        seconds = np.zeros((len(ways), items))
        for first in range(0, items, BLOCK):
            block = range(first, min(first + BLOCK, items))
            for number, way in turn:
                time.sleep(PAUSE)
                way(first)
                for item in block:
                    start = time.perf_counter()
                    way(item)
                    seconds[number, item] = time.perf_counter() - start
            turn.reverse()
            progress(len(block))
        passes.append(seconds)
        worked += seconds.sum(axis=1)
    return np.stack(passes, axis=1)
