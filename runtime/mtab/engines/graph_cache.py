"""Graphs as an engine made them ready for this processor, kept in the user's cache.

An engine that begins from one maps its weights into memory, and neither optimises nor compiles. What was
changed since it was made is made anew.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mtab.engines.stamps import unstamped, write_stamp
from mtab.files import cache_dir
from mtab.machine import processor_key

_DAY = 24 * 3600
_UNUSED_DAYS = 60
_PARTIAL = ".partial-"
# What is written, and as much again that has to stay free.
_ROOM = 2


def folder_of(*made_from: str) -> Path:
    """Where that belongs which this machine's processor runs, made from ``made_from``.

    These are a hash of the graph and its weights, the engine's version, and all else that decides on it.
    """
    parts = (*made_from, processor_key())
    return _root() / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def kept(folder: Path, name: str) -> Path | None:
    """The file ``name`` in ``folder``, as it was made; None if there is none. It counts as used today."""
    try:
        if unstamped(folder) or not (folder / name).is_file():
            forget(folder)
            return None
    except OSError:
        return None
    with suppress(OSError):
        os.utime(folder)
    return folder / name


@contextmanager
def keeping(folder: Path, graph: Path, copies: int = 1) -> Iterator[Path]:
    """Yield a folder for what is made of ``graph``; it becomes ``folder`` if nothing fails.

    As many ``copies`` of the weights are expected there. What no engine began from for 60 days is deleted.
    Raises `OSError` if there is no room, or the cache cannot be written.
    """
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    _prune(root)
    size = sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*"))
    if shutil.disk_usage(root).free < _ROOM * copies * size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(root))
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=root))
    try:
        yield partial
        write_stamp(partial)
        for path in partial.iterdir():
            with path.open("rb") as file:
                # Or a crash of the machine might leave the name without the content.
                os.fsync(file.fileno())
        # Where another process was faster, its own stays.
        with suppress(OSError):
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def forget(folder: Path) -> None:
    """Delete what turned out to be unusable."""
    shutil.rmtree(folder, ignore_errors=True)


def _root() -> Path:
    return cache_dir() / "graphs"


def _prune(root: Path) -> None:
    for path in root.iterdir():
        # What was begun a day ago belongs to a process that was killed.
        days = 1 if path.name.startswith(_PARTIAL) else _UNUSED_DAYS
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - days * _DAY:
                shutil.rmtree(path, ignore_errors=True)
