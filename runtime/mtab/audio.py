"""From an audio file or an array to what the model hears: mono, 16 kHz, float32.

wav, flac, ogg and mp3 are decoded by libsndfile; every other suffix (mp4, m4a, webm, ...) by FFmpeg through
PyAV, which the extra ``video`` installs. Both hand out what is left of a damaged file without a word; here a
file that holds less than it promises is an error. Formats that promise nothing (raw AAC, MPEG-TS, mp3 without
a Xing header, a wav written to a pipe) are taken as they are.
"""

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
import soundfile
import soxr

from mtab.console import install_hint
from mtab.errors import AudioError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

SAMPLE_RATE = 16_000
SOUNDFILE_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
NO_SAMPLE = "holds no sample, expected a clip"

_SOUNDFILE_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")
_RATES = (1_000, 1_000_000)
_MAX_CHANNELS = 64
# The scale of 32-bit integers; far beyond it the variance overflows float32 and a clip would become zeros.
_MAX_PEAK = 2.0**31
# Annotated ends are rounded, and may lie this many seconds past the last sample.
_END_TOLERANCE = 0.01
# Containers round their duration to whole packets: 2048 samples of AAC at 8 kHz are 0.256 s.
_CONTAINER_TOLERANCE = 0.3
# A wav written to a pipe has 0 or 0xFFFFFFFF for a size, or a value near 0x7FFFFFFF of whole frames.
_NO_RIFF_SIZE = 0x7FFF_0000
_NO_FRAMES = 2**63 - 1
_MAX_OGG_PAGE = 65_307
# The longest mp3 frame, and the tag that may follow the last one.
_MP3_REST = 1_441 + 128


def load_audio(
    path: str | Path, start: float | None = None, end: float | None = None, most: float = math.inf
) -> np.ndarray:
    """Decode a file, or its part from ``start`` to ``end`` seconds: float32 (samples,), mono at 16 kHz.

    Takes sample rates from 1 kHz to 1 MHz and up to 64 channels, which are averaged. Digital silence is a
    clip of zeros. Raises `AudioError`, naming the file, if it is missing, unreadable, truncated or without a
    sample, if a sample is NaN or infinite, if ``start`` or ``end`` lies more than 0.01 s beyond its end, or
    if there are more than ``most`` seconds: then no more than that is decoded.
    """
    path = Path(path)
    try:
        require_file(path)
        read = _read_soundfile if path.suffix.lower() in SOUNDFILE_SUFFIXES else _read_container
        samples, rate = read(path, start, end, most)
        require_at_most(len(samples) / rate, most)
        return to_mono_16k(samples, rate)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


def to_mono_16k(samples: np.ndarray, rate: float) -> np.ndarray:
    """Average channels and resample: (n,) or (n, channels) at ``rate`` Hz -> float32 (samples,) at 16 kHz.

    Integers are scaled to [-1, 1), unsigned ones around their middle; floats keep their scale. Raises
    `AudioError` for another shape or dtype, no sample, a sample that is NaN, infinite or above 2**31, and a
    rate outside 1 kHz to 1 MHz.
    """
    _require_samples(samples, rate)
    # What overflows here shows in the peak.
    with np.errstate(over="ignore", invalid="ignore"):
        mono = _as_float(samples)
        mono = mono.mean(axis=1) if mono.ndim == 2 else mono
        mono = np.ascontiguousarray(mono, dtype=np.float32)
    peak = np.abs(mono).max()
    if not peak <= _MAX_PEAK:
        raise AudioError(f"holds a sample of {peak:g}, expected finite numbers up to {_MAX_PEAK:g}")
    return mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)


def _require_samples(samples: np.ndarray, rate: float) -> None:
    if not isinstance(samples, np.ndarray):
        raise AudioError(f"is {type(samples).__name__}, expected a NumPy array")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= _MAX_CHANNELS):
        expected = f"(samples,) or (samples, channels) with 1 to {_MAX_CHANNELS} channels"
        raise AudioError(f"has shape {samples.shape}, expected {expected}")
    if samples.dtype.kind not in "fiu":
        raise AudioError(f"has dtype {samples.dtype}, expected floats or integers")
    if not _RATES[0] <= rate <= _RATES[1]:
        raise AudioError(f"has a sample rate of {rate:g} Hz, expected {_RATES[0]} to {_RATES[1]} Hz")
    if not len(samples):
        raise AudioError(NO_SAMPLE)


def _as_float(samples: np.ndarray) -> np.ndarray:
    if samples.dtype.kind == "f":
        # The mean of float16 channels would overflow.
        return samples.astype(np.promote_types(samples.dtype, np.float32), copy=False)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    return (samples - (half if samples.dtype.kind == "u" else 0.0)) / half


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
    first, last = _frames(len(samples), rate, start, end)
    return samples[first:last]


def span(seconds: float, start: float | None, end: float | None) -> tuple[float, float]:
    """``start`` and ``end`` within a recording of that many seconds, its own where ``None``.

    Raises `AudioError` if the part is empty or reaches more than 0.01 s beyond the recording.
    """
    first = 0.0 if start is None else start
    last = seconds if end is None else end
    if not first >= 0 or (end is not None and not first < end):
        raise AudioError(f"part from {first:g} to {last:g} s, expected 0 <= start < end")
    if max(first, last) > seconds + _END_TOLERANCE or first >= seconds:
        raise AudioError(f"{seconds:.2f} s long, expected at least {max(first, last):.2f} s")
    return first, min(last, seconds)


def _frames(count: int, rate: float, start: float | None, end: float | None) -> tuple[int, int]:
    first, last = span(count / rate, start, end)
    return round(first * rate), round(last * rate)


def require_file(path: Path) -> None:
    """Raise `AudioError`, without the file's name, unless ``path`` is a file with something in it."""
    with unreadable(OSError):
        if not path.is_file():
            raise AudioError(f"not found{' (but a folder)' if path.is_dir() else ''}, expected a clip")
        if not path.stat().st_size:
            raise AudioError("unreadable (0 bytes), expected a clip")


def require_at_most(seconds: float, most: float) -> None:
    """Raise `AudioError`, without the file's name, if a clip is longer than ``most`` seconds."""
    if seconds > most:
        raise AudioError(f"{seconds:.2f} s long, expected at most {most:g} s")


def _last_needed(start: float | None, end: float | None, most: float) -> float:
    """The second up to which a clip must be decoded to get its part, or to see that it is too long."""
    return (start or 0.0) + most if end is None else end


@contextmanager
def unreadable(*errors: type[Exception]) -> Iterator[None]:
    """Turn a decoder's ``errors`` into an `AudioError`, without the file's name, that gives its reason."""
    try:
        yield
    except errors as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
        raise AudioError(f"unreadable ({reason.strip().rstrip('.')}), expected a clip") from None


def _read_soundfile(
    path: Path, start: float | None, end: float | None, most: float
) -> tuple[np.ndarray, int]:
    """A wav, flac, ogg or mp3 from ``start`` to ``end``: float32 (n, channels), and the rate."""
    with open_soundfile(path) as (sound, file, promised):
        rate = sound.samplerate
        if promised is None:
            if sound.format == "MP3":
                needed = _last_needed(start, end, most) * rate
                room = int(needed) + 1 if 0 <= needed < sound.frames else -1
                samples = sound.read(room, dtype="float32", always_2d=True)
                # Without a Xing header libsndfile takes the first frame's bit rate for all frames', and stops
                # where the file would then end: one of variable bit rate may go on.
                rest = path.stat().st_size - file.tell()
                if len(samples) < sound.frames or rest <= _MP3_REST:
                    return cut(samples, rate, start, end), rate
            return _read_container(path, start, end, most)
        first, last = _frames(promised, rate, start, end)
        require_at_most((last - first) / rate, most)
        # libsndfile finds only nearly the right place in an ogg or mp3: there a part is cut from the whole.
        seekable = sound.format not in ("OGG", "MP3")
        if not seekable:
            first, last = 0, promised
        if first:
            sound.seek(first)
        samples = sound.read(last - first, dtype="float32", always_2d=True)
        if len(samples) < last - first:
            raise AudioError(f"truncated: holds {len(samples)} samples, expected {last - first}")
        return samples if seekable else cut(samples, rate, start, end), rate


@contextmanager
def open_soundfile(path: Path) -> Iterator[tuple[soundfile.SoundFile, BinaryIO, int | None]]:
    """Open a wav, flac, ogg or mp3: sound, file, and the frames that it promises (None: it does not say).

    Raises `AudioError`, without the file's name, if it is unreadable, without a sample or of another format,
    or a truncated wav or ogg; also in place of what libsndfile raises until it is closed.
    """
    # MemoryError: a damaged header may promise any number of frames.
    with unreadable(soundfile.LibsndfileError, OSError, MemoryError), path.open("rb") as file:
        whole, xing = file, False
        magic = file.read(4)
        if magic in (b"RIFF", b"RIFX", b"RF64"):
            whole = _whole_wav(file)
        elif magic == b"OggS":
            _require_last_page(file)
        else:
            xing = _has_xing(file)
        whole.seek(0)
        with soundfile.SoundFile(whole) as sound:
            if sound.format not in _SOUNDFILE_FORMATS:
                raise AudioError(f"holds {sound.format}, expected wav, flac, ogg or mp3")
            if not sound.frames:
                raise AudioError(NO_SAMPLE)
            says = xing if sound.format == "MP3" else sound.frames != _NO_FRAMES
            yield sound, whole, sound.frames if says else None


def _whole_wav(file: BinaryIO) -> BinaryIO:
    """The wav itself or, where it was written to a pipe with a size of 0, a copy with its size.

    `AudioError` if its data chunk holds less than it promises.
    """
    file.seek(0)
    start = file.read(12)
    order: Literal["big", "little"] = "big" if start.startswith(b"RIFX") else "little"
    riff_size = int.from_bytes(start[4:8], order)
    long_size = None
    while len(header := file.read(8)) == 8:
        name, size = header[:4], int.from_bytes(header[4:], order)
        if name == b"data":
            break
        next_chunk = file.tell() + size + size % 2
        if name == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], order)
        file.seek(next_chunk)
    else:
        return file  # libsndfile says what is wrong with it
    offset = file.tell()
    available = file.seek(0, os.SEEK_END) - offset
    # A size of 0 may be true: then the file is at its end, or RIFF's own size counts another chunk.
    if size == 0 and available and not offset < riff_size + 8 < _NO_RIFF_SIZE:
        file.seek(0)
        content = bytearray(file.read())
        content[offset - 4 : offset] = min(available, 2**32 - 1).to_bytes(4, order)
        return io.BytesIO(content)
    if long_size is not None:
        size = long_size
    elif size >= _NO_RIFF_SIZE:
        return file
    if available < size:
        raise AudioError(f"truncated: holds {available} bytes of samples, expected {size} by its header")
    return file


def _require_last_page(file: BinaryIO) -> None:
    """`AudioError` unless an ogg ends with a whole page that is marked as the last."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 2 * _MAX_OGG_PAGE))
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    if not whole or not page[5] & 4:
        raise AudioError("truncated: its last Ogg page is not the end of the stream, expected a whole file")


def _has_xing(file: BinaryIO) -> bool:
    """Whether a file begins as an mp3 with a Xing (or Info) header that gives the number of its frames."""
    file.seek(0)
    tag = file.read(10)
    # An ID3 tag's size: four times seven bits.
    size = sum(byte << 7 * place for place, byte in enumerate(reversed(tag[6:])))
    file.seek(10 + size if tag.startswith(b"ID3") else 0)
    frame = file.read(64)
    header = frame[max(frame.find(b"Xing"), frame.find(b"Info"), 0) :]
    flags, frames = int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:12], "big")
    return header[:4] in (b"Xing", b"Info") and bool(flags & 1 and frames)


@contextmanager
def open_container(path: Path) -> "Iterator[tuple[InputContainer, AudioStream]]":
    """Open a file with PyAV: the container and its first audio stream.

    Raises `AudioError`, without the file's name, if PyAV is not installed, FFmpeg cannot read the file, or it
    has no audio stream; also in place of what PyAV raises until it is closed.
    """
    try:
        import av
        import av.error
    except ModuleNotFoundError:
        raise AudioError(install_hint("av", "decoding it")) from None
    # ValueError: a stream that changes its format on the way. "file:", because a name may hold a colon.
    with unreadable(av.error.FFmpegError, ValueError), av.open(f"file:{path}") as container:
        if not container.streams.audio:
            raise AudioError("no audio stream, expected a clip with one")
        yield container, container.streams.audio[0]


def _read_container(
    path: Path, start: float | None, end: float | None, most: float
) -> tuple[np.ndarray, int]:
    """The first audio stream from ``start`` to ``end``: float32 (n, channels), and its rate."""
    with open_container(path) as (container, stream):
        import av
        from av.format import Flags

        planar = av.AudioResampler(format="fltp")
        parts: list[av.AudioFrame] = []
        reached = 0.0
        held = 0
        needed = _last_needed(start, end, most)
        # All streams are read, because the duration that is promised is that of the longest.
        for packet in container.demux():
            if packet.pts is not None:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index == stream.index:
                for frame in stream.decode(packet):
                    if not held > needed * frame.sample_rate:
                        parts += planar.resample(frame)
                        held += frame.samples
                    elif end is None:
                        raise AudioError(f"more than {most:g} s long, expected at most that")
        # In a format with one of these flags FFmpeg guesses the duration from the bit rate.
        guessed = container.format.flags & (Flags.generic_index.value | Flags.ts_discont.value)
        if container.duration is not None and not guessed:
            promised = (container.duration + (container.start_time or 0)) / av.time_base
            if reached < promised - _CONTAINER_TOLERANCE:
                raise AudioError(f"truncated: holds {reached:.2f} s, expected {promised:.2f} s")
        if container.format.name == "ogg":
            with path.open("rb") as file:
                _require_last_page(file)
        if not parts:
            raise AudioError(NO_SAMPLE)
        rate = parts[0].sample_rate
        return cut(np.concatenate([part.to_ndarray() for part in parts], axis=1).T, rate, start, end), rate
