"""Strict CSV: what csv.writer wrote reads back, and nothing else is repaired."""

import csv
import io
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtab.data.tables import parse_csv, read_table
from mtab.errors import DataError

FILE = Path("m.csv")
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=5) | st.text(
    '",;\r\n a', max_size=5
)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=5)
)


def written(rows: list[list[str]], quoting: int = csv.QUOTE_MINIMAL, end: str = "\r\n") -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=quoting, lineterminator=end).writerows(rows)
    return stream.getvalue()


@given(TABLES, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.booleans())
def test_what_the_csv_module_writes_reads_back(rows: list[list[str]], quoting: int, last_end: bool) -> None:
    text = written(rows, quoting)
    found = list(parse_csv(text if last_end else text.removesuffix("\r\n")))
    assert [cells for _, _, cells in found] == rows
    assert found[0][0] == 1
    for (_, last, _), (first, _, _) in pairwise(found):
        assert first == last + 1


@given(TABLES, st.sampled_from(["\n", "\r\n", "\r"]))
def test_lines_are_those_of_an_editor(rows: list[list[str]], end: str) -> None:
    """As Python's own universal newlines count them, of each row's first cell."""
    marked = [[f"<{i}>", *row] for i, row in enumerate(rows)]
    text = written(marked, csv.QUOTE_ALL, end)
    lines = list(io.StringIO(text, newline=None))
    for i, (line, _, _) in enumerate(parse_csv(text)):
        assert lines[line - 1].startswith(f'"<{i}>"')


@given(TABLES, st.data())
def test_a_cell_more_or_less_is_a_problem_of_its_line(rows: list[list[str]], data: st.DataObject) -> None:
    header = [f"column {i}" for i in range(len(rows[0]))]
    place = data.draw(st.integers(0, len(rows) - 1))
    wrong = [*rows[place], "more"] if len(header) == 1 or data.draw(st.booleans()) else rows[place][:-1]
    changed = [*rows[:place], wrong, *rows[place + 1 :]]
    table = read_table(FILE, written([header, *changed], csv.QUOTE_ALL))
    expected = list(parse_csv(written([header, *rows], csv.QUOTE_ALL)))
    (problem,) = table.problems
    assert problem.line == expected[place + 1][0]
    assert f"expected {len(header)} as in the header" in problem.message
    assert [list(row.cells.values()) for row in table.rows] == [
        [cell.strip() for cell in row] for i, row in enumerate(rows) if i != place
    ]


@given(st.text('",\r\n ab', max_size=60))
def test_no_line_is_lost(text: str) -> None:
    """Each line that holds something is a row's or a fault's, which takes the lines of its row before it."""
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    done = 0
    for first, last, found in parse_csv(text):
        assert done < first <= last <= len(lines)
        assert isinstance(found, str) or not any(lines[done : first - 1])
        done = last
    assert not any(lines[done:])


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        (['1,"Well', "2,no", "3,x"], 2, "a quote opens here that is never closed"),
        (['1,"Well', '2,"no"', "3,x"], 2, "closed 1 line below, with text after it"),
        (["1,x", '2,"two', 'lines"', '3,"Well', "4,no"], 5, "never closed"),
        (["1,x", '2,Oh "no"', "3,x"], 3, "a quote inside a cell without quotes"),
        (["1,x", '2, "no"', "3,x"], 3, "a quote inside a cell without quotes"),
        (["1,x", '2,"no" x', "3,x"], 3, "before its cell ends"),
        (["1,x", '2,"a"b"', "3,x"], 3, "before its cell ends"),
        (["1,x", "2,a\0b", "3,x"], 3, "a NUL byte in cell 2"),
        (["1,x", "\ufeff2,a", "3,x"], 3, "a byte order mark"),
        (["1,x", "2,Well, no", "3,x"], 3, "3 cells, expected 2"),
        (["1,x", '2,"a\nb",c', "3,x"], 3, "3 cells in lines 3 to 4, expected 2"),
        (["1,x", "2", "3,x"], 3, "1 cell, expected 2"),
        (["1,x", " ", "3,x"], 3, "1 cell, expected 2"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_fault_is_named_and_costs_no_other_row(rows: list[str], line: int, message: str, end: str) -> None:
    table = read_table(FILE, end.join(["id,text", *rows, ""]))
    assert [(problem.file, problem.line) for problem in table.problems] == [(FILE, line)]
    assert message in table.problems[0].message
    assert table.rows[-1].cells["id"] == rows[-1][0]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,text,id", "column 'id' given 2 times"),
        ("id,text, id", "column 'id' given 2 times"),
        ("id,text,", "column 3 has no name"),
        (",id,text", "column 1 has no name"),
        ("id,text,,", "column 3 has no name"),
        ('id,"text', "never closed"),
        ("id,te\0xt", "a NUL byte in cell 2"),
        ("\ufeffid,text", "a byte order mark"),
    ],
)
def test_a_header_that_cannot_be_used(header: str, message: str) -> None:
    with pytest.raises(DataError, match=r"m\.csv:2: .*" + message):
        read_table(FILE, f"\n{header}\n1,2\n")
