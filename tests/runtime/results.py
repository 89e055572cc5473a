"""Results of a model side by side, and tones to give it."""

from collections.abc import Sequence

import numpy as np

from mtab import Result


def tone(seconds: float, hertz: float = 150, rate: int = 16_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def rows(results: Sequence[Result]) -> np.ndarray:
    return np.array([list(result.probabilities.values()) for result in results])


def same(found: Sequence[Result], expected: Sequence[Result], atol: float = 1e-5) -> None:
    np.testing.assert_allclose(rows(found), rows(expected), rtol=0, atol=atol)
    for name in ("label", "duration", "modalities", "text_truncated"):
        assert [getattr(each, name) for each in found] == [getattr(each, name) for each in expected]
