"""Which utterances make a batch."""

from collections.abc import Sequence

import numpy as np

WINDOW = 50
"""Batches among which utterances are sorted by length: enough that little is padded, few enough that an
epoch's batches are never the last one's."""


def training_batches(
    lengths: Sequence[int], batch_size: int, random: np.random.Generator, bucketing: bool = True
) -> list[list[int]]:
    """Every index once, in batches in random order; ``bucketing`` puts utterances of like length together."""
    order = random.permutation(len(lengths))
    if not bucketing:
        return [order[i : i + batch_size].tolist() for i in range(0, len(order), batch_size)]
    batches = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = sorted(order[start : start + WINDOW * batch_size].tolist(), key=lengths.__getitem__)
        batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
    random.shuffle(batches)
    return batches


def evaluation_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Every index once, sorted by length."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
