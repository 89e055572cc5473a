"""Hashes that were computed before, remembered in the user's cache as long as a file is not touched."""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from mtab.errors import ConfigError
from mtab.files import cache_dir, read_json, sha256, write_json

_SETTLED = 2.0
"""Seconds since the last change from which on another one shows, whatever the file system's clock."""


class HashCache:
    """The SHA-256 of files of one folder, each read once.

    What is remembered counts while size, inode, device and the times of the last change of content and of
    anything else are the same. A cache that cannot be read or written costs time, and never an error.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        place = hashlib.sha256(os.path.realpath(folder).encode(errors="surrogateescape")).hexdigest()
        self._path = cache_dir() / "verified" / f"{place[:32]}.json"
        self._known: dict[str, object] = {}
        with suppress(OSError, ConfigError):
            if isinstance(known := read_json(self._path), dict):
                self._known = known
        self._stamps: dict[str, object] = {}

    def sha256(self, name: str) -> str:
        """The hash of a file, in hexadecimal. Raises `OSError` if it cannot be read."""
        path = self._folder / name
        # Before its content: what changes in between is not taken for what was read.
        status = path.stat()
        touched = [status.st_size, status.st_ino, status.st_dev, status.st_mtime_ns, status.st_ctime_ns]
        match self._known.get(name):
            case [str(known), before] if before == touched:
                found = known
            case _:
                found = sha256(path)
        if max(status.st_mtime, status.st_ctime) < time.time() - _SETTLED:
            self._stamps[name] = [found, touched]
        return found

    def save(self) -> None:
        """Remember the hashes that were asked for."""
        if self._stamps != self._known:
            with suppress(OSError):
                write_json(self._path, self._stamps)
