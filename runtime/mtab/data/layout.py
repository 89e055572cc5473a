"""Finding a corpus on disk."""

import os
from collections.abc import Callable
from pathlib import Path

from mtab.errors import DataError


def find_data_dir(dataset: str, data_dir: Path | None) -> Path:
    """Where a corpus lies: ``data_dir`` if given, else ``$MTAB_DATA/<dataset>``, else ``data/<dataset>``.

    Raises `DataError`, naming what was tried, if it does not exist.
    """
    if data_dir is not None:
        tried = [Path(data_dir)]
    else:
        tried = [Path("data") / dataset]
        if base := os.environ.get("MTAB_DATA"):
            tried.insert(0, Path(base) / dataset)
    for path in tried:
        if path.exists():
            return path
    hint = "" if data_dir is not None else "; give --data-dir or set MTAB_DATA"
    raise DataError(f"{dataset}: no corpus found, tried {', '.join(map(str, tried))}{hint}")


def find_root(path: Path, holds: Callable[[Path], bool], expected: str) -> Path:
    """``path`` itself or the first folder in it, by name, for which ``holds``; else `DataError`."""
    if not path.is_dir():
        raise DataError(f"{path}: not a folder, expected {expected}")
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not hidden(folder))
    for folder in (path, *folders):
        if holds(folder):
            return folder
    raise DataError(f"{path}: another layout, expected {expected}, here or one folder down")


def hidden(path: Path) -> bool:
    """Whether a file is none of the corpus's own, such as the ``._name`` files that macOS leaves."""
    return path.name.startswith(".")
