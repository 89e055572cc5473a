"""Samples from memory: their scale, layout and rate, what is no clip, and spans of one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.audio import SAMPLE_RATE, cut, normalize, span, to_mono_16k
from mtab.errors import AudioError

from .media import speechlike, tone


def test_integer_arrays_are_scaled() -> None:
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        limits = np.iinfo(dtype)
        array = np.array([limits.min, 0, limits.max // 2 + 1], dtype)
        assert to_mono_16k(array, SAMPLE_RATE).tolist() == [-1.0, 0.0, 0.5]
    for dtype in (np.uint8, np.uint16, np.uint32):
        middle = np.iinfo(dtype).max // 2 + 1
        array = np.array([0, middle, middle + middle // 2], dtype)
        assert to_mono_16k(array, SAMPLE_RATE).tolist() == [-1.0, 0.0, 0.5]


SPEECH = np.round(9_000 * tone())


@pytest.mark.parametrize(
    ("array", "scale"),
    [
        (SPEECH.astype(np.int16), 2**15),
        ((SPEECH / 200).astype(np.int16), 2**15),  # a quiet clip
        (SPEECH.astype(np.int32) << 16, 2**31),
        (SPEECH.astype(np.int32) // 200 << 16, 2**31),  # as decoders make 32 bits of a quiet one
        (SPEECH.astype(np.int32) << 8, 2**31),
        (SPEECH.astype(np.int64) << 48, 2**63),
        ((SPEECH + 2**15).astype(np.uint16), None),
        (((SPEECH + 2**15).astype(np.uint32)) << 16, None),
    ],
)
def test_integers_on_the_scale_of_their_dtype(array: np.ndarray, scale: int | None) -> None:
    expected = SPEECH / 2**15 if scale is None else array / scale
    np.testing.assert_allclose(to_mono_16k(array, SAMPLE_RATE), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64, ">i4"])
@pytest.mark.parametrize("bits", [8, 16, 23])
@pytest.mark.parametrize("offset", [False, True])
def test_integers_on_a_smaller_scale(dtype: Any, bits: int, offset: bool) -> None:
    """By their dtype they would be silence."""
    array = np.round(9_000 * tone() * 2.0 ** (bits - 16))
    array += 2 ** (bits - 1) if offset or np.dtype(dtype).kind == "u" else 0
    found = f"holds {np.dtype(dtype)} samples from .* to .*, expected int16, floats, or the scale of "
    with pytest.raises(AudioError, match=found):
        to_mono_16k(array.astype(dtype), SAMPLE_RATE)


def test_silence_is_on_any_scale() -> None:
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        assert not to_mono_16k(np.zeros(100, dtype), SAMPLE_RATE).any()
    for dtype in (np.uint8, np.uint16, np.uint32):
        middle = np.full(100, np.iinfo(dtype).max // 2 + 1, dtype)
        assert not to_mono_16k(middle, SAMPLE_RATE).any()


def test_the_scale_of_floats_changes_no_answer() -> None:
    wave = speechlike(16_000)
    expected = normalize(to_mono_16k(wave, SAMPLE_RATE))
    for scale in (2**15, 2**31 / 8, 0.1):
        scaled = (wave * scale).astype(np.float32)
        np.testing.assert_allclose(normalize(to_mono_16k(scaled, SAMPLE_RATE)), expected, atol=2e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", ">i2"])
def test_arrays_of_any_layout(dtype: Any) -> None:
    array = (
        np.array([[40000, 0.5], [0, -0.25], [60000, 60000]]) if dtype != ">i2" else np.array([[1, 3], [4, 5]])
    )
    expected = array.mean(axis=1) / (32768 if dtype == ">i2" else 1)
    for layout in (
        array.astype(dtype),
        np.asfortranarray(array.astype(dtype)),
        array.astype(dtype)[::-1][::-1],
    ):
        np.testing.assert_allclose(to_mono_16k(layout, SAMPLE_RATE), expected, rtol=1e-3)


def test_an_array_is_not_changed() -> None:
    array = speechlike(1000)
    before = array.copy()
    normalize(to_mono_16k(array, SAMPLE_RATE))
    assert (array == before).all()


@pytest.mark.parametrize(
    ("array", "found"),
    [
        ([0.0, 1.0], "is list, expected a NumPy array"),
        (np.float32(1), "is float32, expected a NumPy array"),
        (np.array(1.0), r"has shape \(\)"),
        (np.zeros((10, 2, 1)), r"has shape \(10, 2, 1\)"),
        (np.zeros((10, 0)), r"has shape \(10, 0\)"),
        (np.zeros((2, 16000)), r"has shape \(2, 16000\), expected \(samples,\) or \(samples, channels\)"),
        (np.zeros(10, bool), "has dtype bool"),
        (np.zeros(10, complex), "has dtype complex128"),
        (np.array(["a"]), "has dtype <U1"),
        (np.array([None]), "has dtype object"),
        (np.zeros(0, np.float32), "holds no sample"),
        (np.zeros((0, 2), np.float32), "holds no sample"),
        (np.array([np.nan]), "holds a sample of nan"),
        (np.array([[np.inf, -np.inf]]), "holds a sample of nan"),
        (np.array([1e300]), r"holds a sample of 1e\+300"),
        (np.array([[-1e300, -1e300]]), r"holds a sample of 1e\+300"),
    ],
)
def test_arrays_that_are_no_clip(array: Any, found: str) -> None:
    for use in (
        lambda: to_mono_16k(array, SAMPLE_RATE),
        lambda: to_mono_16k(cut(array, 16000, 0.0, None), 16000),
    ):
        with pytest.raises(AudioError, match=found):
            use()


@pytest.mark.parametrize("rate", [0, -1, 10, 1e9, float("nan"), float("inf")])
def test_rates_that_are_none(rate: float) -> None:
    for use in (lambda: to_mono_16k(np.zeros(10), rate), lambda: cut(np.zeros(10), rate, 0.0, 1.0)):
        with pytest.raises(AudioError, match="sample rate"):
            use()


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 100), st.floats(-1, 110), st.floats(-1, 110))
def test_a_span_lies_inside(seconds: float, start: float, end: float) -> None:
    try:
        first, last = span(seconds, start, end)
    except AudioError:
        assert start < 0 or end <= start or end > seconds or start >= seconds
    else:
        assert first == start
        assert 0 <= first < last <= seconds
        assert last == end or 0 < end - last <= 0.0101
