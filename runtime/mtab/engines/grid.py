"""The sizes that lengths are rounded up to before an engine sees them that pays for each new one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

STEPS = 8
"""Sizes from a length to its double: the padding is 12.5 % at most, 5 % on average."""
LEAST = {"samples": 1, "tokens": 8}
"""What sizes of an axis are multiples of, however short it is. No other axis is rounded."""


def round_up(length: int, least: int = 1) -> int:
    """The next size from ``length``, 1 or more, on: a multiple of ``least`` and of 1/8 of its power of two.

    With u = max(``least``, 2 ** (floor(log2(length)) - 3)), or ``least`` where that is no whole number, it is
    u * ceil(length / u). ``least`` is a power of two.
    """
    unit = max(least, (1 << (length.bit_length() - 1)) // STEPS)
    return -(-length // unit) * unit


@dataclass(frozen=True)
class Grid:
    """Rounds the axes of `LEAST` up, those in ``most`` up to that at most."""

    most: Mapping[str, int] = field(default_factory=dict)

    def size(self, axis: object, length: int) -> int:
        """What an axis of so many values is padded to."""
        if not isinstance(axis, str) or axis not in LEAST:
            return length
        return max(min(round_up(length, LEAST[axis]), self.most.get(axis, 2 * length + LEAST[axis])), length)

    def pad(self, array: np.ndarray, axes: tuple[int | str | None, ...]) -> np.ndarray:
        """An input, zeros after its values; the masks of a model leave them out, as all padding."""
        added = [
            (0, self.size(axis, length) - length) for axis, length in zip(axes, array.shape, strict=True)
        ]
        return np.pad(array, added) if any(after for _, after in added) else array
