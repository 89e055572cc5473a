"""What an archive job reads: a table of clips, or a folder of them, local or at any address of fsspec."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from mtab.audio import AUDIO_SUFFIXES
from mtab.data.columns import choose_columns
from mtab.data.manifest import as_utterance
from mtab.data.tables import Row, Table, read_table
from mtab.errors import DataError, MtabError

ROWS = pa.schema(
    [
        ("row", pa.int64()),
        ("utterance", pa.string()),
        ("audio", pa.string()),
        ("text", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("problem", pa.string()),
    ]
)
"""A row of the input: its number from 0, the clip's address, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that one worker answers at once, into one file: ``rows``, or a row group of a Parquet file.

    A row group is read where it is answered, as its audio is in it. ``first`` is the number of its first row.
    """

    number: int
    first: int
    count: int
    rows: pa.Table | None = None
    file: str | None = None
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The input of a job, in chunks; ``fingerprint`` changes with any of it."""

    address: str
    chunks: tuple[Chunk, ...]
    fingerprint: str

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(chunk.count for chunk in self.chunks)


def open_source(address: str, columns: Mapping[str, str] | None, size: int) -> Source:
    """Read a CSV or Parquet file, or list the audio files below a folder, in chunks of ``size`` rows.

    ``columns`` are the file's own names, as of a manifest. Rows that cannot be used are kept, with what is
    wrong. Raises `DataError` for what is none of these, or has no row.
    """
    system, path = file_system(address)
    if address.endswith(".parquet"):
        source = _from_parquet(address, columns or {}, size)
    elif system.isdir(path):
        source = _in_chunks(address, _from_folder(system, address, path), size)
    elif address.endswith(".csv"):
        try:
            text = system.cat_file(path).decode("utf-8-sig")
        except FileNotFoundError:
            raise DataError(f"{address}: not found, expected a CSV file") from None
        except UnicodeDecodeError as error:
            found = f"byte {error.start} is no UTF-8"
            raise DataError(f"{address}: {found}, expected a CSV file in UTF-8") from None
        source = _in_chunks(address, _from_csv(address, text, columns or {}), size)
    else:
        raise DataError(f"{address}: expected a folder, a .csv or a .parquet file")
    if not source.rows:
        raise DataError(f"{address}: no utterance, expected a row for each")
    return source


def absolute(address: str) -> str:
    """A local path from the root on; any other address as it is."""
    return address if "://" in address else str(Path(address).absolute())


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address and the path in it. Raises `MtabError` for one of no kind known."""
    try:
        return url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise MtabError(f"{address}: {' '.join(str(error).split())}, expected an address of fsspec") from None


def read_group(chunk: Chunk, columns: Mapping[str, str]) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """The rows of a row group and the clips in it; a group that cannot be read is rows with a problem."""
    assert chunk.file is not None
    assert chunk.group is not None
    try:
        system, path = file_system(chunk.file)
        with system.open(path, "rb") as opened:
            table = pq.ParquetFile(opened).read_row_group(chunk.group)
    except (OSError, pa.ArrowException) as error:
        problem = _unreadable(chunk.file, chunk.group, error)
        for number in range(chunk.first, chunk.first + chunk.count):
            yield _row(number, f"row{number}", problem=problem), None
        return
    names = _names(chunk.file, table.column_names, columns)
    for i, cells in enumerate(table.to_pylist()):
        audio = cells[names["audio"]]
        content = audio.get("bytes") if isinstance(audio, dict) else audio
        name = (audio.get("path") if isinstance(audio, dict) else None) or f"row{chunk.first + i}"
        cells[names["audio"]] = name if content else None
        yield _read(chunk.file, chunk.first + i, cells, names), content


def _from_csv(address: str, text: str, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    table = read_table(Path(address), text)
    names, _ = choose_columns(table, columns, labelled=False)
    found: list[tuple[int, Row | None, str | None]] = [(each.line, each, None) for each in table.rows]
    found += [(each.line or 0, None, str(each)) for each in table.problems]
    rows = []
    for number, (line, row, problem) in enumerate(sorted(found, key=lambda each: each[0])):
        if row is None:
            rows.append(_row(number, f"line{line}", problem=problem))
        else:
            rows.append(_read(address, number, dict(row.cells), names))
    return rows


def _from_folder(system: Any, address: str, path: str) -> list[dict[str, Any]]:
    files = sorted(
        file
        for file in system.find(path)
        if file.lower().endswith(AUDIO_SUFFIXES) and not PurePosixPath(file).name.startswith(".")
    )
    base = path.rstrip("/") + "/"
    return [
        _row(number, file.removeprefix(base), audio=system.unstrip_protocol(file))
        for number, file in enumerate(files)
    ]


def _from_parquet(address: str, columns: Mapping[str, str], size: int) -> Source:
    system, path = file_system(address)
    files = sorted(system.glob(path)) or [path]
    chunks: list[Chunk] = []
    rows: list[dict[str, Any]] = []
    seen = hashlib.sha256()
    first = 0
    for each in files:
        name = system.unstrip_protocol(each)
        try:
            with system.open(each, "rb") as opened:
                file = pq.ParquetFile(opened)
                names = _names(name, file.schema_arrow.names, columns)
                held = "audio" in names and _holds_audio(file.schema_arrow.field(names["audio"]).type)
                for group in range(file.num_row_groups):
                    count = file.metadata.row_group(group).num_rows
                    seen.update(repr((each, group, count, system.size(each))).encode())
                    if held:
                        chunks.append(Chunk(len(chunks), first, count, file=name, group=group))
                    else:
                        rows += _group_rows(file, name, group, first, count, names)
                    first += count
        except FileNotFoundError:
            raise DataError(f"{address}: not found, expected a Parquet file") from None
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{name}: {' '.join(str(error).split())}, expected a Parquet file") from None
    if chunks and rows:
        raise DataError(f"{address}: files with audio and with addresses of it, expected one kind")
    return Source(address, tuple(chunks), seen.hexdigest()) if chunks else _in_chunks(address, rows, size)


def _group_rows(
    file: pq.ParquetFile, name: str, group: int, first: int, count: int, names: Mapping[str, str]
) -> list[dict[str, Any]]:
    try:
        table = file.read_row_group(group, columns=list(names.values()))
    except (OSError, pa.ArrowException) as error:
        problem = _unreadable(name, group, error)
        return [_row(number, f"row{number}", problem=problem) for number in range(first, first + count)]
    return [_read(name, first + i, cells, names) for i, cells in enumerate(table.to_pylist())]


def _unreadable(file: str, group: int, error: Exception) -> str:
    return f"{file}: row group {group} is unreadable ({' '.join(str(error).split())}), expected rows"


def _names(file: str, there: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    names, _ = choose_columns(Table(Path(file), tuple(there), (), (), (), None), columns, labelled=False)
    return names


def _holds_audio(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_struct(kind)


def _read(file: str, number: int, cells: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A row of the input as one of ours, checked as a manifest's is."""
    given = {name: cells.get(theirs) for name, theirs in names.items()}
    row = {name: "" if value is None else str(value) for name, value in given.items()}
    try:
        found = as_utterance(row, Path(), number + 1, labelled=False)
    except ValueError as error:
        return _row(number, row.get("id") or row.get("audio") or f"row{number}", problem=f"{file}: {error}")
    audio = _resolve(file, row["audio"]) if row.get("audio") else None
    return _row(number, found.id, audio, found.text, found.start, found.end)


def _row(
    number: int,
    name: str,
    audio: str | None = None,
    text: str | None = None,
    start: float | None = None,
    end: float | None = None,
    problem: str | None = None,
) -> dict[str, Any]:
    values = (number, name, audio, text, start, end, problem)
    return dict(zip(ROWS.names, values, strict=True))


def _resolve(file: str, audio: str) -> str:
    """The address of a clip: its own, else beside the file that names it."""
    if "://" in audio or audio.startswith("/"):
        return audio
    return f"{file.rpartition('/')[0] or '.'}/{audio}"


def _in_chunks(address: str, rows: list[dict[str, Any]], size: int) -> Source:
    table = pa.Table.from_pylist(rows, schema=ROWS)
    chunks = tuple(
        Chunk(number, first, min(size, len(rows) - first), table.slice(first, size))
        for number, first in enumerate(range(0, len(rows), size))
    )
    seen = hashlib.sha256()
    for each in rows:
        seen.update(repr(tuple(each.values())).encode())
    return Source(address, chunks, seen.hexdigest())
