"""Finding a corpus on disk and reading its text files."""

import csv
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mtab.errors import DataError

# Annotation files pass through many hands: some copies hold cp1252's punctuation (0x91-0x97) as it is, or
# as the control characters of the same numbers.
_CONTROL_AS_CP1252 = {
    code: bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)  # undefined there
}


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


def read_text(path: Path) -> str:
    """An annotation file's text: UTF-8, or cp1252 where it is not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}, expected a readable annotation file") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return text.translate(_CONTROL_AS_CP1252)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of an annotation file with their ends, numbered from 1."""
    return enumerate(io.StringIO(read_text(path), newline=None), start=1)


def read_csv(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file, each with the number of the line that it starts on; cells are stripped.

    A cell that a short row lacks is empty. Raises `DataError` if a ``required`` column is missing or the file
    is not CSV.
    """
    # newline handling is csv's own: a quoted cell may hold one.
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    start = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        if missing := [name for name in required if name not in header]:
            raise DataError(
                f"{path}: no column {', '.join(map(repr, missing))}, expected {', '.join(required)}; "
                f"found {', '.join(header) or 'nothing'}"
            )
        start = reader.line_num + 1
        for cells in reader:
            if cells:
                yield (
                    start,
                    dict.fromkeys(header, "")
                    | {name: cell.strip() for name, cell in zip(header, cells, strict=False)},
                )
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{start}: is not CSV ({error})") from None
