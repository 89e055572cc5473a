"""Reading and writing files so that nothing is ever half-written."""

import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from mtab.errors import ConfigError, MtabError


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, delete it on failure."""
    path = Path(path)
    # The suffix is kept: writers such as matplotlib choose their format by it.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` on success, delete it on failure.

    Where ``path`` is a link to a folder, that folder is replaced and not the link. A leftover of a killed
    earlier run is removed first. Raises `MtabError` if ``path`` exists and is not an empty folder, unless
    ``overwrite``.
    """
    target = Path(os.path.realpath(path))
    partial, replaced = (target.with_name(f".{target.name}.{state}") for state in ("partial", "replaced"))
    # What was there comes back if a run was killed before its result had taken the place.
    _restore(replaced, target)
    refuse_existing(Path(path), overwrite)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if target.exists():
            target.rename(replaced)
        partial.rename(target)
    finally:
        _restore(replaced, target)
        shutil.rmtree(partial, ignore_errors=True)


def _restore(replaced: Path, target: Path) -> None:
    """Put ``replaced`` back to ``target``, or delete it where ``target`` has its successor."""
    if replaced.exists() and not target.exists():
        replaced.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)


def path_component(name: str) -> str:
    """``name`` as one plain component of a path, never longer than 40 characters; others may give the same.

    It keeps letters and digits of any script and ``_ + . -``, and ends in no dot.
    """
    return re.sub(r"[^\w+.-]+", "_", unicodedata.normalize("NFC", name))[:40].rstrip(".")


def refuse_existing(path: Path, overwrite: bool = False) -> None:
    """Raise `MtabError` if ``path`` exists, is not an empty folder, and ``overwrite`` was not given."""
    if path.exists() and not path.is_dir():
        raise MtabError(f"{path}: is a file, expected a folder or nothing")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise MtabError(f"{path}: exists already; choose another folder or give --overwrite")


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; `ConfigError` if it is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found, expected a JSON file") from None
    except (ValueError, RecursionError) as error:  # also numbers and nesting beyond Python's limits
        raise ConfigError(f"{path}: is not JSON ({error})") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is none of its numbers")


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_dir() -> Path:
    """The user's cache folder: ``$MTAB_CACHE``, else ``$XDG_CACHE_HOME/mtab``, else ``~/.cache/mtab``.

    A ``~`` in the first is the home directory; a home or an ``$XDG_CACHE_HOME`` that is no absolute path is
    ignored, as the XDG specification wants it. Without a home directory it is a place where nothing can be
    written, and its name says why: what only saves time is then not kept, and what needs a cache fails with
    that name.
    """
    with suppress(RuntimeError):  # no home: HOME is not set, and the system's list has no such user
        if chosen := os.environ.get("MTAB_CACHE"):
            return Path(chosen).expanduser()
        xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
        root = xdg if xdg.is_absolute() else Path.home() / ".cache"
        if root.is_absolute():
            return root / "mtab"
    return Path(os.devnull, "no home directory, set MTAB_CACHE")
