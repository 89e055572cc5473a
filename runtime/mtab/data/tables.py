"""Strict CSV: a row that is not as the header says is a problem with its line, never repaired.

Python's own reader takes a quote inside a cell as it is, fills short rows and does not say where a quote
opens that is never closed; all three change transcripts and classes without a word.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mtab.data.records import Problem
from mtab.data.text_files import LINE_END
from mtab.errors import DataError

_BARE = re.compile(r'[^",\r\n]*')
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# The mark of a file's beginning, elsewhere: two files were joined.
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line it starts on, and its cells by column, without the white space around them."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file as read: columns in their order, sound rows, and what was skipped or is to be known."""

    file: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    notices: tuple[Problem, ...]
    separator: str | None
    """What separates the columns in place of commas, in words; None where they are as expected."""

    def missing(self, columns: list[str], expected: str, hint: str = "") -> DataError:
        """The error for ``columns`` that are not there; says so where they are separated otherwise."""
        if self.separator is not None:
            return DataError(f"{self.file}:1: columns separated by {self.separator}, expected commas")
        names = ", ".join(map(repr, columns))
        found = ", ".join(self.columns) or "nothing"
        return DataError(f"{self.file}: no column {names}, expected {expected}; found {found}{hint}")


def read_table(file: Path, text: str, required: tuple[str, ...] = ()) -> Table:
    """The rows of ``text``, which is RFC 4180's CSV with any line ends; ``file`` is where it came from.

    A row with another number of cells than the header, a quote that is not closed or stands inside a cell
    without quotes, a NUL byte, or a byte order mark is a problem. White space around cells is left out and
    counted in a notice, as line breaks inside them are. Raises `DataError` if the header cannot be used or
    lacks a ``required`` column.
    """
    parsed = parse_csv(text)
    line, _, header = next(parsed, (1, 1, [""]))
    separator = _separator(text)
    if isinstance(header, str):
        found = header if separator is None else f"columns separated by {separator}, expected commas"
        raise DataError(f"{file}:{line}: {found}")
    columns = tuple(name.strip() for name in header)
    if columns == ("",):
        columns = ()
    if fault := _header_fault(columns):
        raise DataError(f"{file}:{line}: {fault}")
    rows: list[Row] = []
    problems: list[Problem] = []
    stripped, broken = _Places(), _Places()
    stripped.add(line, [name for name, cell in zip(columns, header, strict=False) if name != cell])
    for start, last, cells in parsed:
        if fault := cells if isinstance(cells, str) else _row_fault(cells, columns, start, last):
            problems.append(Problem(file, fault, start))
            continue
        row = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
        stripped.add(start, [name for name, cell in zip(columns, cells, strict=True) if row[name] != cell])
        broken.add(start, [name for name, cell in row.items() if LINE_END.search(cell)])
        rows.append(Row(start, row))
    notices = [
        Problem(file, f"{what}: {places}", places.first)
        for what, places in (
            ("white space around cells left out", stripped),
            ("line breaks inside cells, kept", broken),
        )
        if places.first is not None
    ]
    table = Table(file, columns, tuple(rows), tuple(problems), tuple(notices), separator)
    if missing := [name for name in required if name not in columns]:
        raise table.missing(missing, ", ".join(required))
    return table


class _Places:
    """In how many cells of each column something was seen, and the first line."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.counts: Counter[str] = Counter()

    def add(self, line: int, columns: list[str]) -> None:
        if columns:
            self.counts.update(columns)
            self.first = self.first or line

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self.counts.items())


def parse_csv(text: str) -> Iterator[tuple[int, int, list[str] | str]]:
    """Rows as (first line, last line, cells); in place of the cells of what is no CSV, what is wrong.

    Then the first line is that of the fault (where a quote opens, if it is of a quote) and reading goes on
    after that line. Lines count from 1; empty ones are left out.
    """
    place, line = 0, 1
    while place < len(text):
        if end := LINE_END.match(text, place):
            place, line = end.end(), line + 1
            continue
        try:
            cells, after = _parse_row(text, place)
        except _FaultError as fault:
            line += _line_ends(text, place, fault.place)
            yield line, line, str(fault)
            end = LINE_END.search(text, fault.place)
            place, line = (end.end() if end else len(text)), line + 1
            continue
        ends = _line_ends(text, place, after)
        # The row's own end is the last of them, except where the file ends without one.
        last = line + ends - (1 if text[after - 1] in "\r\n" and after > place else 0)
        yield line, last, cells
        place, line = after, line + ends


class _FaultError(Exception):
    """What is no CSV, at ``place``."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place


def _parse_row(text: str, place: int) -> tuple[list[str], int]:
    """The cells of the row that begins at ``place``, and where the next one begins."""
    cells = []
    while True:
        if text.startswith('"', place):
            close = _closing_quote(text, place + 1)
            if close is None:
                raise _FaultError(place, "a quote opens here that is never closed, expected a closing one")
            cells.append(text[place + 1 : close].replace('""', '"'))
            after = close + 1
        else:
            after = _bare_end(text, place)
            cells.append(text[place:after])
            if text.startswith('"', after):
                found = "a quote inside a cell without quotes"
                raise _FaultError(after, f"{found}, expected quotes around the cell and two for each in it")
        if text.startswith(",", after):
            place = after + 1
        elif after == len(text):
            return cells, after
        elif end := LINE_END.match(text, after):
            return cells, end.end()
        else:
            below = _line_ends(text, place, after)
            where = f"{below} line{'s' if below > 1 else ''} below" if below else "before its cell ends"
            found = f"a quote opens here that is closed {where}, with text after it"
            raise _FaultError(place, f"{found}, expected a closing one at the end of its cell")


def _bare_end(text: str, place: int) -> int:
    match = _BARE.match(text, place)
    assert match is not None
    return match.end()


def _closing_quote(text: str, place: int) -> int | None:
    while (found := text.find('"', place)) >= 0:
        if not text.startswith('""', found):
            return found
        place = found + 2
    return None


def _line_ends(text: str, begin: int, end: int) -> int:
    return len(LINE_END.findall(text, begin, end))


def _header_fault(columns: tuple[str, ...]) -> str | None:
    if fault := _character_fault(columns):
        return fault
    if repeated := [name for name, count in Counter(columns).items() if count > 1 and name]:
        return f"column {repeated[0]!r} given {columns.count(repeated[0])} times, expected once"
    if "" in columns:
        return f"column {columns.index('') + 1} has no name, expected one for each column"
    return None


def _row_fault(cells: list[str], columns: tuple[str, ...], first: int, last: int) -> str | None:
    if len(cells) != len(columns):
        found = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}"
        ends = f" in lines {first} to {last}" if last > first else ""
        hint = "; a comma inside a cell needs quotes around the cell" if len(cells) > len(columns) else ""
        return f"{found}{ends}, expected {len(columns)} as in the header{hint}"
    return _character_fault(cells)


def _character_fault(cells: tuple[str, ...] | list[str]) -> str | None:
    for number, cell in enumerate(cells, start=1):
        if "\0" in cell:
            return f"a NUL byte in cell {number}, expected text in UTF-8"
        if _BYTE_ORDER_MARK in cell:
            return f"a byte order mark (U+FEFF) in cell {number}, expected one at the file's beginning alone"
    return None


def _separator(text: str) -> str | None:
    """What the first line holds more of than commas."""
    header = LINE_END.split(text.lstrip("\r\n"), maxsplit=1)[0]
    counts = {separator: header.count(separator) for separator in (",", *_SEPARATORS)}
    most = max(counts, key=lambda separator: counts[separator])
    return None if not counts[most] else _SEPARATORS.get(most)
