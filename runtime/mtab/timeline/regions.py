"""Which stretches of a recording are judged: those of a diarisation, or of anything else that knows them."""

import math
import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.data.tables import read_table
from mtab.data.text_files import read_utf8
from mtab.errors import DataError, MtabError, TextError
from mtab.files import read_json
from mtab.timeline.transcript import Word, require_order

SUFFIXES = (".rttm", ".csv", ".json")
"""The files that `read_regions` takes."""


PIECE_SECONDS = 30.0
"""The most speech that is held at once; what is longer is judged in pieces of equal length."""

Segmented = (
    str
    | os.PathLike[str]
    | Iterable[tuple[float, float] | tuple[float, float, str | None] | Mapping[str, Any]]
)
"""What `as_regions` takes."""


class Region(NamedTuple):
    """A stretch from ``start`` to ``end`` seconds, and who speaks in it (None: not told).

    ``words`` are what is said in it, where it brings them itself (None: the recording's transcript does).
    """

    start: float
    end: float
    speaker: str | None = None
    words: tuple[Word, ...] | None = None


def pieces_of(region: Region) -> list[tuple[int, int]]:
    """A region in pieces of at most `PIECE_SECONDS`: first sample at 16 kHz, and the one after the last."""
    count = math.ceil((region.end - region.start) / PIECE_SECONDS)
    bounds = np.linspace(region.start, region.end, count + 1) * SAMPLE_RATE
    return list(pairwise(round(float(bound)) for bound in bounds))


def as_regions(value: Segmented, recording: str) -> tuple[Region, ...]:
    """Regions in the order of their start: of a file, or a list of tuples or of objects.

    ``recording`` is the one of an RTTM's whose file they are for. Raises `DataError`, naming the file and the
    place, for what is none, and for an empty region or one that runs backwards.
    """
    if isinstance(value, str | os.PathLike):
        return read_regions(Path(value), recording)
    if isinstance(value, Mapping | bytes) or not isinstance(value, Iterable):
        found = f"is {type(value).__name__}"
        raise DataError(
            f"segments {found}, expected a file or a list of (start, end) or (start, end, speaker)"
        )
    return _sorted(_region(item, f"segment {i}") for i, item in enumerate(value))


def read_regions(path: Path, recording: str) -> tuple[Region, ...]:
    """`as_regions` of a file: RTTM, CSV with the columns start, end and optionally speaker, or JSON.

    Where a CSV has the column audio with several names, the rows of ``recording`` count.
    JSON is a list of objects with ``start``, ``end`` and optionally ``speaker``, or an object that has one as
    ``segments``.
    """
    suffix = path.suffix.lower()
    if suffix == ".rttm":
        return _of_rttm(path, recording)
    if suffix == ".csv":
        text = read_utf8(path, "a CSV file with the columns start and end")
        table = read_table(path, text, ("start", "end"))
        if table.problems:
            raise DataError(str(table.problems[0]))
        rows = table.rows
        if "audio" in table.columns and len({row.cells["audio"] for row in rows}) > 1:
            rows = [row for row in rows if Path(row.cells["audio"]).stem == Path(recording).stem]
            if not rows:
                raise DataError(f"{path}: no row of {Path(recording).stem}, expected its segments")
        return _sorted(_region(row.cells, f"{path}:{row.line}") for row in rows)
    if suffix == ".json":
        try:
            values = read_json(path)
        except MtabError as error:
            raise DataError(str(error)) from None
        if isinstance(values, Mapping):
            values = values.get("segments")
        if not isinstance(values, list):
            raise DataError(f"{path}: no list of segments, expected objects with start and end")
        return _sorted(_region(item, f"{path}: segment {i}") for i, item in enumerate(values))
    raise DataError(f"{path}: ends in {suffix!r}, expected segments in {', '.join(SUFFIXES)}")


def _of_rttm(path: Path, recording: str) -> tuple[Region, ...]:
    found: dict[str, list[Region]] = {}
    lines = read_utf8(path, "an RTTM file").splitlines()
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts or parts[0] != "SPEAKER":
            continue
        where = f"{path}:{number}"
        if len(parts) < 8:
            raise DataError(
                f"{where}: {len(parts)} fields, expected SPEAKER, file, channel, start, seconds, ..."
            )
        start = _seconds(parts[3], where)
        end = round(start + _seconds(parts[4], where), 6)
        region = _region((start, end, None if parts[7] == "<NA>" else parts[7]), where)
        found.setdefault(parts[1], []).append(region)
    if not found:
        raise DataError(f"{path}: no SPEAKER line, expected RTTM")
    name = Path(recording).stem
    if len(found) > 1 and name not in found:
        raise DataError(f"{path}: is of {', '.join(sorted(found))}, expected {name}")
    return _sorted(found.get(name) or next(iter(found.values())))


def _region(item: Any, where: str) -> Region:
    if isinstance(item, np.ndarray):
        item = item.tolist()
    if isinstance(item, Mapping):
        values = (item.get("start"), item.get("end"), item.get("speaker"))
    elif isinstance(item, tuple | list) and len(item) in (2, 3):
        values = (*item, None)[:3]
    else:
        raise DataError(f"{where}: {item!r}, expected (start, end) or (start, end, speaker)")
    start, end = (_seconds(value, where) for value in values[:2])
    try:
        require_order(start, end, where)
    except TextError as error:
        raise DataError(str(error)) from None
    if not isinstance(values[2], str | None):
        raise DataError(f"{where}: speaker is {type(values[2]).__name__}, expected a string")
    return Region(start, end, values[2] or None)


def _seconds(value: Any, where: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: {value!r}, expected a number of seconds") from None


def _sorted(regions: Iterable[Region]) -> tuple[Region, ...]:
    return tuple(sorted(regions, key=lambda region: region[:2]))
