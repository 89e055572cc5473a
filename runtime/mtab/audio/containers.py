"""mp4, webm and whatever else FFmpeg reads, through PyAV, which the extra ``video`` installs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from mtab.audio.samples import NO_SAMPLE, cut, last_needed
from mtab.audio.sources import Recording, unreadable
from mtab.audio.truncation import require_whole
from mtab.errors import AudioError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# Containers round their duration to whole packets: 2048 samples of AAC at 8 kHz are 0.256 s.
_CONTAINER_TOLERANCE = 0.3


@contextmanager
def open_container(recording: Recording) -> "Iterator[tuple[InputContainer, AudioStream]]":
    """Open a recording with PyAV: the container and its first audio stream.

    Raises `AudioError`, without the file's name, if PyAV is not installed, FFmpeg cannot read the file, or it
    has no audio stream or plainly breaks off; also in place of what PyAV raises until it is closed.
    """
    try:
        import av
        import av.error
    except ModuleNotFoundError:
        from mtab.console import install_hint

        raise AudioError(install_hint("av", "decoding it")) from None
    require_whole(recording.file)
    recording.file.seek(0)
    # "file:", because a name may hold a colon.
    source = recording.file if recording.path is None else f"file:{recording.path}"
    # ValueError: a stream that changes its format on the way.
    with unreadable(av.error.FFmpegError, ValueError), av.open(source, "r") as container:
        if not container.streams.audio:
            raise AudioError("no audio stream, expected a clip with one")
        yield container, container.streams.audio[0]


def read_container(
    recording: Recording, start: float | None, end: float | None, most: float
) -> tuple[np.ndarray, int]:
    """The first audio stream from ``start`` to ``end``: float32 (n, channels), and its rate."""
    needed = last_needed(start, end, most)
    parts: list[np.ndarray] = []
    held, rate = 0, 0
    for part, rate in container_blocks(recording):
        if not held > needed * rate:
            parts.append(part)
            held += len(part)
        elif end is None:
            raise AudioError(f"more than {most:g} s long, expected at most that")
    return cut(np.concatenate(parts), rate, start, end), rate


def container_blocks(recording: Recording) -> Iterator[tuple[np.ndarray, int]]:
    """The first audio stream as it is decoded: float32 (n, channels), and its rate, at least one of them.

    Raises `AudioError`, without the file's name, as `open_container`, and at the end if there was no sample
    or less than the file promises.
    """
    with open_container(recording) as (container, stream):
        import av
        from av.format import Flags

        planar = av.AudioResampler(format="fltp")
        reached, empty = 0.0, True
        # All streams are read, because the duration that is promised is that of the longest.
        for packet in container.demux():
            if packet.pts is not None:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index == stream.index:
                for frame in stream.decode(packet):
                    for part in planar.resample(frame):
                        empty = False
                        yield part.to_ndarray().T, part.sample_rate
        # In a format with one of these flags FFmpeg guesses the duration from the bit rate.
        guessed = container.format.flags & (Flags.generic_index.value | Flags.ts_discont.value)
        if container.duration is not None and not guessed:
            promised = (container.duration + (container.start_time or 0)) / av.time_base
            if reached < promised - _CONTAINER_TOLERANCE:
                raise AudioError(f"truncated: holds {reached:.2f} s, expected {promised:.2f} s")
        if empty:
            raise AudioError(NO_SAMPLE)
