"""Variants of a clip: the same whoever asks, and within their bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab_train.augmentation import GAIN, SPEED, variant


def clip(samples: int = 16_000, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=samples) * 0.1).astype(np.float32)


def test_the_same_clip_and_number_make_the_same_variant() -> None:
    assert np.array_equal(variant(clip(), 1), variant(clip(), 1))
    assert not np.array_equal(variant(clip(), 1)[:9_000], variant(clip(), 2)[:9_000])
    assert len(variant(clip(), 1)) != len(variant(clip(seed=1), 1))


@settings(deadline=None, max_examples=30)
@given(st.integers(400, 20_000), st.integers(1, 100))
def test_length_and_level_stay_within_bounds(samples: int, number: int) -> None:
    given = clip(samples)
    found = variant(given, number)
    assert found.dtype == np.float32
    assert abs(np.log(samples / len(found))) <= SPEED + 0.01
    # White noise loses what lies above the new half of the rate; what is added is 10 dB lower.
    change = 20 * np.log10(found.std() / given.std())
    assert -GAIN - 1.5 <= change <= GAIN + 1


def test_faster_is_higher() -> None:
    """The pitch of a tone moves as the length does."""
    tone = np.sin(2 * np.pi * 500 * np.arange(32_000) / 16_000).astype(np.float32)
    for number in range(1, 6):
        found = variant(tone, number)
        spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found))))
        assert spectrum.argmax() / len(found) * 16_000 == pytest.approx(500 * 32_000 / len(found), rel=0.005)


def test_silence_stays_silent() -> None:
    assert not any(variant(np.zeros(8_000, np.float32), number).any() for number in range(1, 10))
