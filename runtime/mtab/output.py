"""What ``mtab predict`` writes: answers one by one, so that an interruption keeps those that there are."""

import csv
import io
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from mtab.reasons import Explanation
from mtab.results import UNKNOWN, Failure, Result

Answer = Result | Failure
Explained = Answer | Explanation
Write = Callable[[str, Explained], None]
"""Takes an utterance's name and its answer."""


@dataclass(frozen=True, slots=True)
class Style:
    """How answers are written: before the first, between two, after the last, and each by ``row``."""

    row: Callable[[str, Explained], str]
    head: str = ""
    separator: str = ""
    tail: str = ""


@contextmanager
def printed(style: Style) -> Iterator[Write]:
    """Print each answer at once, and the end in any case; without an answer nothing."""
    begun = False

    def write(name: str, answer: Explained) -> None:
        nonlocal begun
        click.echo((style.separator if begun else style.head) + style.row(name, answer), nl=False)
        begun = True

    try:
        yield write
    finally:
        if begun:
            click.echo(style.tail, nl=False)


def table_style(names: Sequence[str], labels: Sequence[str], dimensions: Sequence[str] = ()) -> Style:
    """To read: columns as wide as ``names``, ``labels`` and ``dimensions`` need them."""
    figures = [*labels, *dimensions]
    header = ["utterance", "label", *figures, "seconds", "from", ""]
    widest = [max(names, key=len), max(UNKNOWN, *labels, key=len), *["0.000"] * len(figures)]
    widths = [max(map(len, pair)) for pair in zip(header, [*widest, "", "audio+text", ""], strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if 2 <= i < 3 + len(figures) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip() + "\n"

    def row(name: str, answer: Explained) -> str:
        answer = _answer(answer)
        if isinstance(answer, Failure):
            return line([name, "error", *("-" for _ in figures), "-", "", reason(name, answer)])
        found = _figures(answer, labels, dimensions)
        seconds = "-" if answer.duration is None else f"{answer.duration:.2f}"
        note = "text truncated" if answer.text_truncated else ""
        shown = ("-" if p is None else f"{p:.3f}" for p in found)
        return line([name, answer.label, *shown, seconds, "+".join(answer.modalities), note])

    return Style(row, line(header) + line(["-" * width for width in widths]))


def csv_style(names: Sequence[str], labels: Sequence[str], dimensions: Sequence[str] = ()) -> Style:
    """With every digit; what an answer lacks is empty."""

    def line(cells: Sequence[object]) -> str:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerow(cells)
        return stream.getvalue()

    def row(name: str, answer: Explained) -> str:
        answer = _answer(answer)
        if isinstance(answer, Failure):
            return line([name, "", *("" for _ in header[2:-1]), reason(name, answer)])
        found = _figures(answer, labels, dimensions)
        truncated = str(answer.text_truncated).lower()
        return line([name, answer.label, *found, answer.duration, "+".join(answer.modalities), truncated, ""])

    header = [
        *("utterance", "label", *labels, *dimensions),
        *("duration", "modalities", "text_truncated", "error"),
    ]
    return Style(row, line(header))


def json_style(names: Sequence[str], labels: Sequence[str], dimensions: Sequence[str] = ()) -> Style:
    """A list of objects."""

    def row(name: str, answer: Explained) -> str:
        return textwrap.indent(json.dumps(record(name, answer), indent=2, ensure_ascii=False), "  ")

    return Style(row, "[\n", ",\n", "\n]\n")


def jsonl_style(names: Sequence[str], labels: Sequence[str], dimensions: Sequence[str] = ()) -> Style:
    """An object a line."""
    return Style(lambda name, answer: json.dumps(record(name, answer), ensure_ascii=False) + "\n")


STYLES = {"table": table_style, "json": json_style, "jsonl": jsonl_style, "csv": csv_style}


def _figures(answer: Result, labels: Sequence[str], dimensions: Sequence[str]) -> list[float | None]:
    """The probability of each label, None for one that was not asked for, and the dimensions."""
    rated = answer.dimensions or {}
    return [*(answer.probabilities.get(label) for label in labels), *(rated[name] for name in dimensions)]


def _answer(explained: Explained) -> Answer:
    return explained.result if isinstance(explained, Explanation) else explained


def record(name: str, explained: Explained) -> dict[str, Any]:
    """An answer as plain JSON values, with its reasons where it has some."""
    answer = _answer(explained)
    if isinstance(answer, Failure):
        return {"utterance": name, "error": reason(name, answer)}
    return {
        "utterance": name,
        "label": answer.label,
        "probabilities": answer.probabilities,
        **({} if answer.dimensions is None else {"dimensions": answer.dimensions}),
        "duration": answer.duration,
        "modalities": list(answer.modalities),
        "text_truncated": answer.text_truncated,
        **({} if answer.text_from is None else {"text": answer.transcript, "text_from": answer.text_from}),
        **({"reasons": explained.to_dict()} if isinstance(explained, Explanation) else {}),
    }


def reason(name: str, failure: Failure) -> str:
    """Why an utterance has no answer, in one line without its ``name``."""
    line = " ".join(str(failure.error).split()).removeprefix(f"{name}: ")
    return click.format_filename(line)  # a file's name may hold bytes that no output can show


@contextmanager
def saved_embeddings(path: Path, width: int) -> Iterator[Write]:
    """Write embeddings to an npy file, float32 (answers, ``width``), NaN where there is no answer."""

    def header(rows: int) -> None:
        # NumPy leaves room in it for any number of rows.
        values = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(file, values)

    def write(name: str, answer: Explained) -> None:
        nonlocal rows
        answer = _answer(answer)
        embedding = None if isinstance(answer, Failure) else answer.embedding
        row = np.full(width, np.nan, "<f4") if embedding is None else embedding.astype("<f4", copy=False)
        file.write(row.tobytes())
        rows += 1

    rows = 0
    with path.open("wb") as file:
        header(rows)
        try:
            yield write
        finally:
            file.seek(0)
            header(rows)
