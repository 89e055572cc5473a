"""Samples in memory: what a waveform is, its parts, mono at 16 kHz, and zero mean with unit variance."""

import math
from typing import Any

import numpy as np
import soxr

from mtab.errors import AudioError

SAMPLE_RATE = 16_000
NO_SAMPLE = "holds no sample, expected a clip"

_RATES = (1_000, 1_000_000)
_MAX_CHANNELS = 64
# The scale of 32-bit integers; far beyond it the variance overflows float32 and a clip would become zeros.
_MAX_PEAK = 2.0**31
# Annotated ends are rounded, and may lie this many seconds past the last sample.
_END_TOLERANCE = 0.01


def as_array(audio: Any) -> np.ndarray:
    """An array, a tensor or whatever else has ``__array__``, as NumPy's.

    Raises `AudioError` if it cannot be had, or some of its samples are masked.
    """
    if np.ma.is_masked(audio):
        found = f"holds {np.ma.count_masked(audio)} masked samples"
        raise AudioError(f"{found}, expected none: fill them, or cut them out")
    try:
        return np.asarray(audio)
    except Exception as error:  # whatever the other library raises, as for a tensor on a GPU
        reason = " ".join(str(error).split())
        raise AudioError(f"{type(audio).__name__} gives no array ({reason}), expected samples") from None


def to_mono_16k(samples: np.ndarray, rate: float) -> np.ndarray:
    """Average channels and resample: (n,) or (n, channels) at ``rate`` Hz -> float32 (samples,) at 16 kHz.

    Raises `AudioError` as `to_mono`.
    """
    mono = to_mono(samples, rate)
    return mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)


def to_mono(samples: np.ndarray, rate: float) -> np.ndarray:
    """Average channels: (n,) or (n, channels) -> float32 (n,).

    Integers are scaled to [-1, 1) by the range of their dtype, unsigned ones around their middle; floats keep
    their scale. Raises `AudioError` for another shape or dtype, no sample, a sample that is NaN, infinite or
    above 2**31, integers that hold less than their dtype promises (as 16 bits in an int64), and a ``rate``
    outside 1 kHz to 1 MHz.
    """
    _require_samples(samples, rate)
    # What overflows here shows in the peak.
    with np.errstate(over="ignore", invalid="ignore"):
        mono = _as_float(samples)
        mono = mono.mean(axis=1) if mono.ndim == 2 else mono
    # Before the cast: what is beyond float32 would be called infinite.
    peak = np.abs(mono).max()
    if not peak <= _MAX_PEAK:
        raise AudioError(f"holds a sample of {peak:g}, expected finite numbers up to {_MAX_PEAK:g}")
    return np.ascontiguousarray(mono, dtype=np.float32)


def normalize(samples: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance, float32 (samples,) -> the same; silence, without a variance, stays zeros.

    The arithmetic is that of transformers' ``Wav2Vec2FeatureExtractor``, in float32.
    """
    samples = samples.astype(np.float32, copy=False)
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


def cut(samples: np.ndarray, rate: float, start: float | None, end: float | None) -> np.ndarray:
    """The part from ``start`` to ``end`` seconds of (n,) or (n, channels) at ``rate`` Hz.

    Raises `AudioError` as `span` and, for what is no clip, as `to_mono_16k`.
    """
    _require_samples(samples, rate)
    first, last = frames(len(samples), rate, start, end)
    return samples[first:last]


def span(seconds: float, start: float | None, end: float | None) -> tuple[float, float]:
    """``start`` and ``end`` within a recording of that many seconds, its own where ``None``.

    Raises `AudioError` if the part is empty or reaches more than 0.01 s beyond the recording, and if one of
    them is no number.
    """
    start, end = require_times(start, end)
    first = 0.0 if start is None else start
    last = seconds if end is None else end
    if not first >= 0 or (end is not None and not first < end):
        raise AudioError(f"part from {first:g} to {last:g} s, expected 0 <= start < end")
    if max(first, last) > seconds + _END_TOLERANCE or first >= seconds:
        raise AudioError(f"{seconds:.2f} s long, expected at least {max(first, last):.2f} s")
    return first, min(last, seconds)


def frames(count: int, rate: float, start: float | None, end: float | None) -> tuple[int, int]:
    """`span` as places among ``count`` samples at ``rate`` Hz."""
    first, last = span(count / rate, start, end)
    return round(first * rate), round(last * rate)


def require_times(start: object, end: object) -> tuple[float | None, float | None]:
    """The same, as floats; `AudioError` unless each is a number of seconds, or None."""
    first = None if start is None else _require_number("start", start, "seconds")
    last = None if end is None else _require_number("end", end, "seconds")
    return first, last


def require_rate(rate: object) -> None:
    """Raise `AudioError` unless ``rate`` is a number that a recording may have, 1 kHz to 1 MHz."""
    number = _require_number("sampling_rate", rate, "Hz")
    if not _RATES[0] <= number <= _RATES[1]:
        raise AudioError(f"has a sample rate of {number:g} Hz, expected {_RATES[0]} to {_RATES[1]} Hz")


def require_at_most(seconds: float, most: float) -> None:
    """Raise `AudioError`, without the file's name, if a clip is longer than ``most`` seconds."""
    if seconds > most:
        raise AudioError(f"{seconds:.2f} s long, expected at most {most:g} s")


def last_needed(start: float | None, end: float | None, most: float) -> float:
    """The second up to which a clip must be decoded to get its part, or to see that it is too long."""
    return (start or 0.0) + most if end is None else end


def _require_number(name: str, value: object, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise AudioError(f"{name} is {type(value).__name__}, expected a number of {unit}")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _require_samples(samples: np.ndarray, rate: float) -> None:
    if not isinstance(samples, np.ndarray):
        raise AudioError(f"is {type(samples).__name__}, expected a NumPy array")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= _MAX_CHANNELS):
        expected = f"(samples,) or (samples, channels) with 1 to {_MAX_CHANNELS} channels"
        raise AudioError(f"has shape {samples.shape}, expected {expected}")
    if samples.dtype.kind not in "fiu":
        raise AudioError(f"has dtype {samples.dtype}, expected floats or integers")
    require_rate(rate)
    if not len(samples):
        raise AudioError(NO_SAMPLE)


def _as_float(samples: np.ndarray) -> np.ndarray:
    if samples.dtype.kind == "f":
        # The mean of float16 channels would overflow.
        return samples.astype(np.promote_types(samples.dtype, np.float32), copy=False)
    _require_scale(samples)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    return (samples - (half if samples.dtype.kind == "u" else 0.0)) / half


def _require_scale(samples: np.ndarray) -> None:
    """Raise `AudioError` for integers that are too small to be on the scale of their dtype.

    Scaled by it, speech on a scale of 16 bits in an int64 would be silence.
    """
    bits = 8 * samples.dtype.itemsize
    half = 1 << (bits - 1)
    # As whole numbers of Python: the least of an int64 has no positive one.
    least, most = int(samples.min()), int(samples.max())
    if samples.dtype.kind == "u":
        fits = bits == 8 or least <= half <= most
        least, most = least - half, most - half
    else:
        fits = True
    # Short of 8 bits it is a quiet clip still if it is of fewer bits that were shifted to the top, as
    # decoders that make 32 bits of everything do.
    if bits > 16 and max(-least, most) < half >> 8:
        fits = fits and not np.any(samples & samples.dtype.type((half >> 23) - 1))
    if not fits:
        found = f"{samples.dtype} samples from {samples.min()} to {samples.max()}"
        raise AudioError(f"holds {found}, expected int16, floats, or the scale of {samples.dtype}")
