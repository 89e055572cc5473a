"""Sound made by hand, files of it in every container, and how a file is refused."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtab.audio import SAMPLE_RATE, load_audio
from mtab.errors import AudioError

SUFFIXES = ("wav", "flac", "ogg", "mp3")


def tone(seconds: float = 1.0, rate: float = SAMPLE_RATE, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def speechlike(samples: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return (tone(samples / SAMPLE_RATE) * 0.5 + 0.05 * random.standard_normal(samples)).astype(np.float32)


def write_wav(
    file: Path,
    payload: bytes,
    *,
    code: int = 1,
    bits: int = 16,
    channels: int = 1,
    rate: int = SAMPLE_RATE,
    riff: int | None = None,
    data: int | None = None,
    after: bytes = b"",
    magic: bytes = b"RIFF",
) -> Path:
    """A wav made by hand; ``riff`` and ``data`` replace the sizes in its header."""
    order = ">" if magic == b"RIFX" else "<"
    frame = channels * bits // 8
    head = struct.pack(order + "4sIHHIIHH", b"fmt ", 16, code, channels, rate, rate * frame, frame, bits)
    head += struct.pack(order + "4sI", b"data", len(payload) if data is None else data)
    size = 4 + len(head) + len(payload) + len(after)
    riff_head = struct.pack(order + "4sI4s", magic, size if riff is None else riff, b"WAVE")
    file.write_bytes(riff_head + head + payload + after)
    return file


def write_media(
    file: Path,
    samples: np.ndarray,
    codec: str | None,
    *,
    rate: int = SAMPLE_RATE,
    video_seconds: float = 0.0,
    container_options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
) -> Path:
    """Mono ``samples`` (None: no audio stream) and a black picture, encoded by FFmpeg."""
    av = pytest.importorskip("av")
    if codec is not None and codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    with av.open(str(file), "w", options=container_options or {}) as container:
        picture = None
        if video_seconds:
            picture = container.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 32
        sound = (
            container.add_stream(codec, rate=rate, layout="mono", options=codec_options or {})
            if codec
            else None
        )
        if picture is not None:
            for _ in range(round(video_seconds * 10)):
                black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(picture.encode(black))
        if sound is not None:
            resampler = av.AudioResampler(format=sound.codec_context.format.name, layout="mono", rate=rate)
            for first in range(0, len(samples), 960):
                part = np.ascontiguousarray(samples[None, first : first + 960], dtype=np.float32)
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.rate, frame.pts = SAMPLE_RATE, first
                for converted in resampler.resample(frame):
                    container.mux(sound.encode(converted))
            for converted in resampler.resample(None):
                container.mux(sound.encode(converted))
            container.mux(sound.encode(None))
        if picture is not None:
            container.mux(picture.encode(None))
    return file


def assert_refused(file: Path, found: str, **span: Any) -> None:
    """The error is one line that names the file and says ``found``."""
    with pytest.raises(AudioError, match=found) as error:
        load_audio(file, **span)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)
