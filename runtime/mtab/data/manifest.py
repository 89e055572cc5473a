"""Anybody's own recordings, listed in a CSV file."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from mtab.data.columns import choose_columns
from mtab.data.records import Corpus, Problem, Utterance
from mtab.data.tables import read_table
from mtab.data.text_files import read_utf8
from mtab.errors import DataError
from mtab.types import Dimension

SPLITS = ("train", "dev", "test")
# Stricter than float(), which takes 1_000 and the digits of every script.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read_manifest(path: Path, labelled: bool = True, columns: Mapping[str, str] | None = None) -> Corpus:
    """Read a CSV file, or ``manifest.csv`` in a folder, with the columns audio, text and label.

    Recordings that are only to be predicted have no label: unless ``labelled`` it may be empty or absent.
    A corpus of audio alone needs no column text, one of text alone none for audio.

    Optional columns: id, corpus (see `Utterance.of_corpus`), speaker, gender, session, dialogue, split
    (train, dev or test), start and end (seconds: the part of the audio file that holds the utterance),
    valence, arousal, dominance (numbers on any scale, read if ``labelled``; a cell may be empty); any other
    column is ignored. ``columns`` gives the file's own names for some of them, by ours: ``{"audio":
    "path"}``; an empty one says that there is no such column. Audio is relative to the CSV. Audio or text may
    be empty, not both. Labels are sorted.

    Rows that cannot be used are ``problems``; what is ignored or looks like a slip is in ``notices``.
    Raises `DataError` if the file is not there or not UTF-8, or its header cannot be used.
    """
    file = path / "manifest.csv" if path.is_dir() else path
    if not file.exists():
        columns_there = "a column audio or text" + (", and one for the label" if labelled else "")
        raise DataError(f"{file}: not found, expected a CSV file with {columns_there}")
    table = read_table(file, read_utf8(file, "a CSV file"))
    names, notices = choose_columns(table, columns or {}, labelled)
    utterances: list[Utterance] = []
    problems = list(table.problems)
    line_of: dict[str, int] = {}
    for each in table.rows:
        row = {name: each.cells[theirs] for name, theirs in names.items()}
        try:
            utterance = as_utterance(row, file.parent, each.line, labelled)
        except ValueError as error:
            problems.append(Problem(file, str(error), each.line))
            continue
        if utterance.id in line_of:
            message = f"{utterance.id!r} a second time (first in line {line_of[utterance.id]}), expected once"
            problems.append(Problem(file, message, each.line))
            continue
        line_of[utterance.id] = each.line
        utterances.append(utterance)
    if labelled:
        notices += _alike_labels(file, utterances, line_of)
    return Corpus(
        "manifest",
        file.parent,
        tuple(sorted({utterance.label for utterance in utterances} - {""})),
        tuple(utterances),
        tuple(sorted(problems, key=lambda problem: problem.line or 0)),
        notices=(*table.notices, *notices),
        columns=dict(columns or {}),
        own_name=_own_name(file),
    )


def as_utterance(row: dict[str, str], folder: Path, line: int, labelled: bool) -> Utterance:
    """A manifest's row, its cells by our names, as an utterance. Raises `ValueError` for what is none."""
    audio, text, label = (row.get(column, "") for column in ("audio", "text", "label"))
    for column, cell in row.items():
        # A line break most of all, where a quote was closed too late.
        if column != "text" and _CONTROL.search(cell):
            raise ValueError(f"{column} {cell[:60]!r}, expected one line without control characters")
    if labelled and not label:
        raise ValueError("no label, expected one")
    if not audio and not text:
        raise ValueError("neither audio nor text, expected at least one")
    split = row.get("split") or None
    if split is not None and split not in SPLITS:
        raise ValueError(f"split {split!r}, expected {', '.join(SPLITS)} or nothing")
    read = ("start", "end", *(get_args(Dimension) if labelled else ()))
    numbers: dict[str, Any] = {column: _number(column, row.get(column, "")) for column in read}
    start, end = numbers["start"], numbers["end"]
    if start is not None and start < 0:
        raise ValueError(f"start {start:g}, expected 0 seconds or more")
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"end {end:g}, expected more than start {start or 0.0:g}")
    cut = bool(audio) and (start is not None or end is not None)
    span = f"@{row.get('start', '')}-{row.get('end', '')}" if cut else ""
    utterance = Utterance(
        id=row.get("id") or (audio + span if audio else f"line{line}"),
        audio=folder / audio if audio else None,
        text=text or None,
        label=label,
        speaker=row.get("speaker") or None,
        gender=row.get("gender") or None,
        session=row.get("session") or None,
        dialogue=row.get("dialogue") or None,
        split=split,
        cut=cut,
        **numbers,
    )
    return utterance.of_corpus(row["corpus"]) if row.get("corpus") else utterance


def _number(column: str, cell: str) -> float | None:
    if not cell:
        return None
    number = float(cell) if _NUMBER.fullmatch(cell) else float("nan")
    if not abs(number) < float("inf"):
        raise ValueError(f"{column} {cell!r}, expected a number")
    return number


def _alike_labels(file: Path, utterances: Iterable[Utterance], line_of: dict[str, int]) -> list[Problem]:
    """A notice for each group of labels that a reader would take for one."""
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for utterance in utterances:
        groups[_folded(utterance.label)][utterance.label].append(line_of[utterance.id])
    notices = []
    for spellings in groups.values():
        if len(spellings) > 1:
            # What is encoded in two ways looks the same on a screen.
            distinct = {unicodedata.normalize("NFC", each) for each in spellings}
            show = repr if len(distinct) == len(spellings) else ascii
            found = ", ".join(f"{show(label)} ({len(lines)})" for label, lines in sorted(spellings.items()))
            rarest = min(spellings.values(), key=len)
            differ = "differ only in case, white space or Unicode normalisation"
            message = f"labels {found} {differ}, expected one; kept apart"
            notices.append(Problem(file, message, rarest[0]))
    return notices


def _folded(label: str) -> str:
    """What is left of a label without case, white space, invisible characters and ways to encode it."""
    plain = unicodedata.normalize("NFKC", label).casefold()
    return "".join(each for each in plain if unicodedata.category(each)[0] not in "ZC")


def _own_name(file: Path) -> str:
    """What a user would call the corpus: its file's name, or its folder's if the file is manifest.csv."""
    file = file.absolute()
    name = file.stem if file.name != "manifest.csv" else file.parent.resolve().name
    # A name may hold bytes that no report can show.
    return name.encode("utf-8", "replace").decode() or "manifest"
