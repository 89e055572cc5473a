"""From an encoded clip or an array to what the model hears: mono, 16 kHz, float32.

wav, flac, ogg and mp3 are decoded by libsndfile; all else (mp4, m4a, webm, ...) by FFmpeg through PyAV, which
the extra ``video`` installs. Both hand out what is left of a damaged file without a word; here a file that
holds less than it promises is an error. Formats that promise nothing (raw AAC, MPEG-TS, mp3 without a Xing
header, a wav written to a pipe) are taken as they are.
"""

import math

import numpy as np

from mtab.audio.containers import read_container
from mtab.audio.samples import (
    SAMPLE_RATE,
    as_array,
    cut,
    normalize,
    require_at_most,
    require_rate,
    require_times,
    span,
    to_mono_16k,
)
from mtab.audio.soundfiles import SUFFIXES, is_soundfile, read_soundfile
from mtab.audio.sources import Source, is_array, is_source, name_of, opened, path_of
from mtab.errors import AudioError

AUDIO_SUFFIXES = (
    *SUFFIXES,
    *(".aac", ".aif", ".aiff", ".amr", ".au", ".caf", ".m4a", ".mka", ".mkv"),
    *(".mov", ".mp4", ".oga", ".opus", ".w64", ".webm", ".wma"),
)
"""The names of files that hold speech, for a folder of many files."""

__all__ = [
    "AUDIO_SUFFIXES",
    "SAMPLE_RATE",
    "Source",
    "as_array",
    "cut",
    "is_array",
    "is_source",
    "load_audio",
    "name_of",
    "normalize",
    "path_of",
    "require_at_most",
    "require_rate",
    "require_times",
    "span",
    "to_mono_16k",
]


def load_audio(
    source: Source, start: float | None = None, end: float | None = None, most: float = math.inf
) -> np.ndarray:
    """Decode a clip, or its part from ``start`` to ``end`` seconds: float32 (samples,), mono at 16 kHz.

    ``source`` is a path, a file's content, or an open file, which is read from where it stands. Takes sample
    rates from 1 kHz to 1 MHz and up to 64 channels, which are averaged. Digital silence is a clip of zeros.
    Raises `AudioError`, naming the file, if it is missing, unreadable, truncated or without a sample, if a
    sample is NaN or infinite, if ``start`` or ``end`` lies more than 0.01 s beyond its end, or if there are
    more than ``most`` seconds: then no more than that is decoded.
    """
    try:
        start, end = require_times(start, end)
        with opened(source) as recording:
            read = read_soundfile if is_soundfile(recording) else read_container
            samples, rate = read(recording, start, end, most)
        require_at_most(len(samples) / rate, most)
        return to_mono_16k(samples, rate)
    except AudioError as error:
        raise AudioError(f"{name_of(source)}: {error}") from None
