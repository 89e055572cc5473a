"""A recording of any length, in blocks: what `load_audio` makes of a clip, in memory that does not grow."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from mtab.audio.containers import container_blocks
from mtab.audio.samples import SAMPLE_RATE, as_array, require_rate, to_mono
from mtab.audio.soundfiles import is_soundfile, soundfile_blocks
from mtab.audio.sources import Recording, is_array, is_source, name_of, opened
from mtab.errors import AudioError

BLOCK_SECONDS = 1.0
"""What is decoded at once; a codec may hand out less."""


@dataclass(frozen=True, slots=True)
class AudioStream:
    """A recording that is being decoded.

    ``blocks`` are float32 (n,), mono at 16 kHz, one after another, at least one sample in all; ``seconds``
    are what the file promises (None: it does not say).
    """

    blocks: Iterator[np.ndarray]
    seconds: float | None


@contextmanager
def open_audio(source: Any, rate: float = SAMPLE_RATE) -> Iterator[AudioStream]:
    """Open a recording to decode it in blocks; the parameters are those of `mtab.Model.predict`.

    Raises `AudioError`, naming the file, as `mtab.audio.load_audio`: what the file's head shows at once, the
    rest where the blocks come to it.
    """
    name = name_of(source)
    try:
        if is_array(source):
            require_rate(rate)
            samples = as_array(source)
            to_mono(samples[:1] if samples.ndim else samples, rate)
            seconds = len(samples) / rate
            yield AudioStream(_named(name, _at_16k(_parts(samples, rate))), seconds)
        elif is_source(source):
            with opened(source) as recording:
                read, seconds = _decoded(recording)
                # Its thread ends before the file is closed.
                with closing(_named(name, _in_thread(_at_16k(read)))) as blocks:
                    yield AudioStream(blocks, seconds)
        else:
            found = f"is {type(source).__name__}"
            raise AudioError(f"{found}, expected a NumPy array, a path, bytes or a binary file")
    except AudioError as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise AudioError(f"{name}: {error}") from None


def _decoded(recording: Recording) -> tuple[Iterator[tuple[np.ndarray, float]], float | None]:
    """Blocks (n, channels) with their rate, and the seconds that are promised."""
    if is_soundfile(recording) and (found := soundfile_blocks(recording, BLOCK_SECONDS)) is not None:
        return found
    return container_blocks(recording), None


def _parts(samples: np.ndarray, rate: float) -> Iterator[tuple[np.ndarray, float]]:
    size = max(1, round(BLOCK_SECONDS * rate))
    for first in range(0, len(samples), size):
        yield samples[first : first + size], rate


def _at_16k(blocks: Iterator[tuple[np.ndarray, float]]) -> Iterator[np.ndarray]:
    """Mono at 16 kHz; the same numbers as of the whole at once."""
    resampler: soxr.ResampleStream | None = None
    begun: float | None = None
    done = 0.0
    for block, rate in blocks:
        if not len(block):
            continue
        if begun not in (None, rate):
            raise AudioError(f"changes from {begun:g} to {rate:g} Hz at {done:.2f} s, expected one rate")
        begun = rate
        try:
            mono = to_mono(block, rate)
        except AudioError as error:
            raise AudioError(f"{error} (from {done:.2f} s on)" if done else str(error)) from None
        done += len(block) / rate
        if rate == SAMPLE_RATE:
            yield mono
        else:
            resampler = resampler or soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
            yield resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _in_thread(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same, one block ahead, in a thread of its own.

    Ctrl-C reaches the main thread alone: within libsndfile's call back to read a file it would be lost.
    """
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(next, blocks, None)
        while (block := ahead.result()) is not None:
            ahead = thread.submit(next, blocks, None)
            yield block


def _named(name: str, blocks: Iterator[np.ndarray]) -> Generator[np.ndarray, None, None]:
    try:
        yield from blocks
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from None
