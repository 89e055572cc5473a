"""The latest samples of a stream."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np


class Buffer:
    """Samples, float32 (n,), by their place in a stream; ``end`` is how many there have been."""

    def __init__(self) -> None:
        self._blocks: deque[np.ndarray] = deque()
        self._first = 0
        self.end = 0

    def append(self, block: np.ndarray) -> None:
        """Take what comes next; the array must not change after that."""
        self._blocks.append(block)
        self.end += len(block)

    def take(self, start: int, end: int) -> np.ndarray:
        """The samples from ``start`` to ``end``, as far as they are there; one block's are not copied."""
        parts, first = [], self._first
        for block in self._blocks:
            if first < end and start < first + len(block):
                parts.append(block[max(0, start - first) : end - first])
            first += len(block)
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])

    def forget(self, before: int) -> None:
        """Let go of the blocks that end at ``before`` or earlier."""
        while self._blocks and self._first + len(self._blocks[0]) <= before:
            self._first += len(self._blocks.popleft())


def cut_spans(blocks: Iterable[np.ndarray], spans: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
    """The samples of each span, as far as the ``blocks`` go; ``spans`` are in the order of their start.

    All blocks are taken, and none is held for longer than a span needs it.
    """
    buffer = Buffer()
    waiting = deque(spans)
    for block in blocks:
        buffer.append(block)
        while waiting and waiting[0][1] <= buffer.end:
            yield buffer.take(*waiting.popleft())
        buffer.forget(waiting[0][0] if waiting else buffer.end)
    for span in waiting:
        yield buffer.take(*span)
