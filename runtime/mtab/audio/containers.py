"""mp4, webm and whatever else FFmpeg reads, through PyAV, which the extra ``video`` installs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from mtab.audio.samples import NO_SAMPLE, cut, last_needed
from mtab.audio.sources import Recording, unreadable
from mtab.audio.truncation import require_whole
from mtab.console import install_hint
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
    with open_container(recording) as (container, stream):
        import av
        from av.format import Flags

        planar = av.AudioResampler(format="fltp")
        parts: list[av.AudioFrame] = []
        reached = 0.0
        held = 0
        needed = last_needed(start, end, most)
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
        if not parts:
            raise AudioError(NO_SAMPLE)
        rate = parts[0].sample_rate
        return cut(np.concatenate([part.to_ndarray() for part in parts], axis=1).T, rate, start, end), rate
