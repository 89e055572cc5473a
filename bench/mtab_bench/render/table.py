"""The one value that every table of a report is: rendered for a terminal, as Markdown and on the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mtab.console import markdown_table, table
from mtab.timing import Ratio
from mtab_bench.render import formats


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the report, and how it is shown."""

    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """A factor and its interval; ``text`` says so where no factor should be quoted."""

    ratio: Ratio

    @property
    def text(self) -> str:
        """``2.61 × (2.55 to 2.68)``, with "disturbed" where it was."""
        return formats.ratio(self.ratio)


Cell = str | Figure | Span | None
"""None is what was not measured, or does not exist."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title, whether it holds words, and whether it is shown on the page alone."""

    title: str
    words: bool = False
    page_only: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row's cells, or its first one and the ``reason`` why there are no others."""

    cells: tuple[Cell, ...]
    reason: str | None = None
    main: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its ``title`` and the ``note`` below, which the page shows."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    page_only: bool = False

    def plain(self) -> tuple[list[list[str]], list[str]]:
        """Rows and header of what is shown outside the page, where a row without figures says nothing."""
        shown = [number for number, column in enumerate(self.columns) if not column.page_only]
        rows = [[text(row.cells[number]) for number in shown] for row in self.rows if row.reason is None]
        return rows, [self.columns[number].title for number in shown]

    def to_text(self) -> str:
        """For a terminal: the title stands over the first column."""
        rows, header = self.plain()
        return table(rows, (self.title, *header[1:]))

    def to_markdown(self) -> str:
        """As GitHub's Markdown."""
        return markdown_table(*self.plain())


def text(cell: Cell) -> str:
    """A cell as it is shown."""
    return "–" if cell is None else cell if isinstance(cell, str) else cell.text


def figure(show: Callable[[Any], str], value: float | None) -> Figure | None:
    """A number rounded by ``show``, one of `mtab_bench.render.formats`."""
    return None if value is None else Figure(value, show(value))


def span(ratio: Ratio | None) -> Span | None:
    """A factor with its interval."""
    return None if ratio is None else Span(ratio)


def rows_of(rows: Sequence[Sequence[Cell]]) -> tuple[Row, ...]:
    """Rows that all have figures."""
    return tuple(Row(tuple(row)) for row in rows)
