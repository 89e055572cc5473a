"""Hashes of what a cache holds, so that what runs is what was made: changed bytes are made anew."""

from contextlib import suppress
from pathlib import Path

from mtab.errors import ConfigError
from mtab.files import read_json, sha256, write_json
from mtab.hash_cache import HashCache

STAMP = "stamp.json"


def write_stamp(folder: Path) -> None:
    """Note the hash of every file in ``folder``. Raises `OSError`."""
    write_json(folder / STAMP, {path.name: sha256(path) for path in _files(folder)})


def unstamped(folder: Path) -> list[Path]:
    """The files in ``folder`` that are not as `write_stamp` found them, and those that are gone.

    A file is read again only when it was touched. Raises `OSError` for a folder that cannot be read.
    """
    expected: object = None
    with suppress(OSError, ConfigError):
        expected = read_json(folder / STAMP)
    if not isinstance(expected, dict):
        expected = {}
    hashes = HashCache(folder)
    found = _files(folder)
    changed = [path for path in found if expected.get(path.name) != hashes.sha256(path.name)]
    hashes.save()
    return changed + [folder / name for name in expected if folder / name not in found]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name != STAMP)
