"""Where an encoded clip comes from: a file, a pipe, bytes in memory, an open file."""

import io
import os
import select
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from mtab.audio.truncation import TAGLESS, after_tags, magic_of
from mtab.errors import AudioError

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A clip as it is encoded: a file's path, its content, or an open file, read from where it stands."""

_BYTES = (bytes, bytearray, memoryview)
_NUMBERS = frozenset("hHiIlLqQefd")
"""What a buffer's format calls integers and floats; of single bytes it is a file's content."""
_PATH = (str, os.PathLike)
_EXPECTED = "a path, bytes or a binary file"
_NOT_FILES = (
    (stat.S_ISDIR, "not found (but a folder), expected a clip"),
    (stat.S_ISCHR, "is a device, expected a clip"),
    (stat.S_ISBLK, "is a device, expected a clip"),
    (stat.S_ISSOCK, "is a socket, expected a clip"),
)
_WRITER_SECONDS = 10.0
"""How long a pipe may have nobody who writes to it."""


@dataclass(frozen=True, slots=True)
class Recording:
    """An encoded clip: ``file`` can be read and sought from 0.

    ``path`` is where it lies on a disk, None for what is in memory; ``suffix`` that of its name, in small
    letters.
    """

    file: BinaryIO
    path: Path | None = None
    suffix: str = ""


def is_array(audio: object) -> bool:
    """Whether ``audio`` holds samples: an array, a tensor, what has ``__array__``, a buffer of numbers."""
    if isinstance(audio, (bytes, bytearray, *_PATH)):
        return False
    return hasattr(audio, "__array__") or _is_buffer_of_numbers(audio)


def is_source(audio: object) -> bool:
    """Whether ``audio`` is one of `Source`."""
    return (isinstance(audio, (*_BYTES, *_PATH)) or hasattr(audio, "read")) and not is_array(audio)


def name_of(audio: object) -> str:
    """What errors call a clip: its path, or what kind of thing without a name it is."""
    if path := path_of(audio):
        return path
    if not is_source(audio):
        return "audio array"
    return "audio bytes" if isinstance(audio, _BYTES) else "audio file"


def path_of(audio: object) -> str | None:
    """A clip's path as errors write it, without a leading ``./``; None for what has none."""
    if not isinstance(audio, _PATH):
        return None
    try:
        # The empty one, which is no folder.
        return str(Path(path)) if (path := os.fsdecode(audio)) else "''"
    except Exception:  # whatever another's __fspath__ raises; `opened` says so
        return None


@contextmanager
def opened(source: Source) -> Iterator[Recording]:
    """Open a clip, for as long as it is decoded.

    What is no file on a disk is read into memory: a pipe to its end, an open file from where it stands.
    Raises `AudioError`, without a name, if there is nothing in it, or it cannot be read.
    """
    if isinstance(source, _PATH):
        path = _path(source)
        with unreadable(OSError, ValueError):
            if _is_pipe(path):
                yield _in_memory(_from_pipe(path))
                return
        require_file(path)
        with unreadable(OSError), path.open("rb") as file:
            yield _untagged(Recording(file, path, path.suffix.lower()))
    elif isinstance(source, _BYTES) and not is_array(source):
        yield _in_memory(bytes(source))
    elif hasattr(source, "read"):
        yield _in_memory(_from_file(source))
    else:
        raise AudioError(f"is {type(source).__name__}, expected {_EXPECTED}")


def require_file(path: Path) -> None:
    """Raise `AudioError`, without the file's name, unless ``path`` is a file with something in it."""
    # ValueError: a name with a zero byte in it.
    with unreadable(OSError, ValueError):
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise AudioError("not found, expected a clip") from None
        for is_kind, message in _NOT_FILES:
            if is_kind(status.st_mode):
                raise AudioError(message)
        if stat.S_ISFIFO(status.st_mode):
            raise AudioError("is a pipe, expected a file")
        if not status.st_size:
            raise AudioError("unreadable (0 bytes), expected a clip")


@contextmanager
def unreadable(*errors: type[Exception]) -> Iterator[None]:
    """Turn a decoder's ``errors`` into an `AudioError`, without the file's name, that gives its reason."""
    try:
        yield
    except errors as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
        reason = " ".join(reason.split()).rstrip(".") or type(error).__name__
        raise AudioError(f"unreadable ({reason}), expected a clip") from None


def _is_buffer_of_numbers(audio: Any) -> bool:
    try:
        return memoryview(audio).format.lstrip("@=<>!") in _NUMBERS
    except (TypeError, ValueError):  # it has no buffer, or one that was released
        return False


def _path(source: str | os.PathLike[str]) -> Path:
    try:
        path = os.fsdecode(source)
    except Exception as error:  # whatever another's __fspath__ raises
        raise AudioError(f"is {type(source).__name__}, expected {_EXPECTED} ({error})") from None
    if not path:
        raise AudioError("not found, expected a clip")
    return Path(path)


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _from_pipe(path: Path) -> bytes:
    """A pipe's content, once whoever writes to it has closed it."""
    # Opened to block, it would wait for a writer for ever.
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(pipe, "rb", buffering=0) as file:
        latest = time.monotonic() + _WRITER_SECONDS
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        # None: there is a writer, who has not written yet.
        while (first := file.read(1)) == b"" and not poll.poll(100):
            if time.monotonic() > latest:
                raise AudioError("is a pipe that nobody writes to, expected a clip")
        os.set_blocking(pipe, True)
        return (first or b"") + file.read()


def _from_file(file: Any) -> bytes:
    if isinstance(file, io.TextIOBase):
        raise AudioError("is open as text, expected a file opened with 'rb'")
    with unreadable(Exception):  # whatever another's file raises; ValueError if it is closed
        try:
            content = file.read()
        except io.UnsupportedOperation:
            raise ValueError("not open for reading") from None
    if not isinstance(content, _BYTES):
        raise AudioError(f"reads {type(content).__name__}, expected bytes")
    return bytes(content)


def _in_memory(content: bytes) -> Recording:
    if not content:
        raise AudioError("unreadable (0 bytes), expected a clip")
    return _untagged(Recording(cast(BinaryIO, io.BytesIO(content))))


def _untagged(recording: Recording) -> Recording:
    """The recording without the ID3 tag before it; an mp3's own stays.

    Before a wav libsndfile takes it for some of the samples, and FFmpeg knows no AIFF behind one.
    """
    file = recording.file
    if (place := after_tags(file)) and magic_of(file, place) in TAGLESS:
        file.seek(place)
        return Recording(cast(BinaryIO, io.BytesIO(file.read())), suffix=recording.suffix)
    return recording
