"""wav, flac, ogg and mp3, decoded by libsndfile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import soundfile

from mtab.audio.containers import read_container
from mtab.audio.samples import NO_SAMPLE, cut, frames, last_needed, require_at_most
from mtab.audio.sources import Recording, unreadable
from mtab.audio.truncation import after_tags, has_xing, is_chain, magic_of, require_last_page, whole_wav
from mtab.errors import AudioError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")
_WAV = (b"RIFF", b"RIFX", b"RF64")
_NO_FRAMES = 2**63 - 1
# The longest mp3 frame, and the tag that may follow the last one.
_MP3_REST = 1_441 + 128


def is_soundfile(recording: Recording) -> bool:
    """Whether libsndfile is what reads a recording, and not FFmpeg.

    The name decides, unless the content is plainly for the other one, or there is no name.
    """
    file = recording.file
    file.seek(0)
    head = file.read(12)
    # Matroska and webm; mp4, m4a and mov; avi; asf and wma; flv.
    film = head.startswith((b"\x1a\x45\xdf\xa3", b"0&\xb2u", b"FLV\x01"))
    film = film or head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:] == b"AVI ")
    if film:
        return False
    magic = magic_of(file, after_tags(file))
    # Raw AAC (ADTS): the 12 bits of a frame, and the layer that is none.
    if len(magic) > 1 and magic[0] == 0xFF and magic[1] & 0xF6 == 0xF0:
        return False
    # An mp3 has no more than the first 11 bits of a frame, and what says that it is of layer III.
    mp3 = len(magic) > 1 and magic[0] == 0xFF and magic[1] & 0xE6 == 0xE2
    if magic in (*_WAV, b"fLaC"):
        return True
    named = recording.suffix in SUFFIXES if recording.suffix else magic == b"OggS" or mp3
    return named and not is_chain(file)


def read_soundfile(
    recording: Recording, start: float | None, end: float | None, most: float
) -> tuple[np.ndarray, int]:
    """A wav, flac, ogg or mp3 from ``start`` to ``end``: float32 (n, channels), and the rate."""
    with open_soundfile(recording) as (sound, file, promised):
        rate = sound.samplerate
        if promised is None:
            if sound.format == "MP3":
                needed = last_needed(start, end, most) * rate
                room = int(needed) + 1 if 0 <= needed < sound.frames else -1
                samples = sound.read(room, dtype="float32", always_2d=True)
                # Without a Xing header libsndfile takes the first frame's bit rate for all frames', and stops
                # where the file would then end: one of variable bit rate may go on.
                place = file.tell()
                if len(samples) < sound.frames or file.seek(0, 2) - place <= _MP3_REST:
                    return cut(samples, rate, start, end), rate
            return read_container(recording, start, end, most)
        first, last = frames(promised, rate, start, end)
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


def soundfile_blocks(
    recording: Recording, seconds: float
) -> tuple[Iterator[tuple[np.ndarray, float]], float] | None:
    """Blocks (n, channels), float32, of so many ``seconds``, with their rate; and the seconds of the whole.

    None for what does not say how long it is: its end is only known to FFmpeg. Raises `AudioError` as
    `open_soundfile`, at once for what the head shows and at the end for a file that holds less than it says.
    """
    with open_soundfile(recording) as (sound, _, promised):
        rate = sound.samplerate
    return None if promised is None else (_blocks(recording, seconds), promised / rate)


def _blocks(recording: Recording, seconds: float) -> Iterator[tuple[np.ndarray, float]]:
    with open_soundfile(recording) as (sound, _, promised):
        held = 0
        while len(block := sound.read(max(1, round(seconds * sound.samplerate)), "float32", always_2d=True)):
            held += len(block)
            yield block, sound.samplerate
        if promised is not None and held < promised:
            raise AudioError(f"truncated: holds {held} samples, expected {promised}")


@contextmanager
def open_soundfile(recording: Recording) -> Iterator[tuple[soundfile.SoundFile, BinaryIO, int | None]]:
    """Open a wav, flac, ogg or mp3: sound, file, and the frames that it promises (None: it does not say).

    Raises `AudioError`, without the file's name, if it is unreadable, without a sample or of another format,
    or a truncated wav or ogg; also in place of what libsndfile raises until it is closed.
    """
    # MemoryError: a damaged header may promise any number of frames.
    with unreadable(soundfile.LibsndfileError, OSError, MemoryError):
        whole = recording.file
        magic = magic_of(whole)
        if magic in _WAV:
            whole = whole_wav(whole)
        elif magic == b"OggS":
            require_last_page(whole)
        xing = has_xing(whole)
        whole.seek(0)
        with soundfile.SoundFile(whole) as sound:
            if sound.format not in _FORMATS:
                raise AudioError(f"holds {sound.format}, expected wav, flac, ogg or mp3")
            if not sound.frames:
                raise AudioError(NO_SAMPLE)
            says = xing if sound.format == "MP3" else sound.frames != _NO_FRAMES
            yield sound, whole, sound.frames if says else None
