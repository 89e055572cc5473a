"""Anybody's own recordings, listed in a CSV file."""

import math
from pathlib import Path

from mtab.data.layout import read_csv
from mtab.data.records import Corpus, Problem, Utterance
from mtab.errors import DataError

REQUIRED = ("audio", "text", "label")
NUMBERS = ("start", "end", "valence", "arousal", "dominance")
SPLITS = ("train", "dev", "test")


def read_manifest(path: Path, labelled: bool = True) -> Corpus:
    """Read a CSV file, or ``manifest.csv`` in a folder, with the columns audio, text and label.

    Recordings that are only to be predicted have no label: unless ``labelled`` it may be empty or absent.

    Optional columns: id, speaker, session, dialogue, split (train, dev or test), start and end (seconds:
    the part of the audio file that holds the utterance), valence, arousal, dominance; any other column is
    ignored. Audio is relative to the CSV. Audio or text may be empty, not both. Labels are sorted.
    Raises `DataError` if the file or a required column is missing.
    """
    required = REQUIRED if labelled else REQUIRED[:2]
    file = path / "manifest.csv" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{file}: not found, expected a CSV file with the columns {', '.join(required)}")
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    line_of: dict[str, int] = {}
    for line, row in read_csv(file, required):
        try:
            utterance = _utterance(row, file.parent, line, labelled)
        except ValueError as error:
            problems.append(Problem(file, str(error), line))
            continue
        if utterance.id in line_of:
            message = f"{utterance.id!r} a second time (first in line {line_of[utterance.id]}), expected once"
            problems.append(Problem(file, message, line))
            continue
        line_of[utterance.id] = line
        utterances.append(utterance)
    labels = tuple(sorted({utterance.label for utterance in utterances} - {""}))
    return Corpus("manifest", file.parent, labels, tuple(utterances), tuple(problems))


def _utterance(row: dict[str, str], folder: Path, line: int, labelled: bool) -> Utterance:
    """One row as an utterance; ``ValueError`` says what is wrong with it."""
    audio, text, label = (row.get(column, "") for column in REQUIRED)
    if labelled and not label:
        raise ValueError("no label, expected one")
    if not audio and not text:
        raise ValueError("neither audio nor text, expected at least one")
    split = row.get("split") or None
    if split is not None and split not in SPLITS:
        raise ValueError(f"split {split!r}, expected {', '.join(SPLITS)} or nothing")
    numbers = {column: _number(column, row.get(column, "")) for column in NUMBERS}
    start, end = numbers["start"], numbers["end"]
    if start is not None and start < 0:
        raise ValueError(f"start {start:g}, expected 0 seconds or more")
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"end {end:g}, expected more than start {start or 0.0:g}")
    cut = bool(audio) and (start is not None or end is not None)
    span = f"@{row.get('start', '')}-{row.get('end', '')}" if cut else ""
    return Utterance(
        id=row.get("id") or (audio + span if audio else f"line{line}"),
        audio=folder / audio if audio else None,
        text=text or None,
        label=label,
        speaker=row.get("speaker") or None,
        session=row.get("session") or None,
        dialogue=row.get("dialogue") or None,
        split=split,
        cut=cut,
        **numbers,
    )


def _number(column: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column} {cell!r}, expected a number")
    return number
