"""Which column of a manifest is which: by our names, or by the user's."""

import re
from collections.abc import Mapping
from difflib import SequenceMatcher

from mtab.data.records import Problem
from mtab.data.tables import Table
from mtab.errors import DataError

COLUMNS = (
    "audio",
    "text",
    "label",
    "id",
    "corpus",
    "speaker",
    "gender",
    "session",
    "dialogue",
    "split",
    "start",
    "end",
    "valence",
    "arousal",
    "dominance",
)
# What other corpora and tools call them.
_ALIASES = {
    "audio": "path file filename filepath wav wave clip recording sound audiofile audiopath",
    "text": "transcript transcription utterance sentence words caption",
    "label": "labels emotion class target category sentiment mood",
    "dialogue": "dialog conversation",
}
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def require_columns(columns: Mapping[str, str]) -> None:
    """Raise `DataError` if a name is none of `COLUMNS`, or a column is to be two of audio, text and label."""
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise DataError(f"--columns: unknown column {unknown[0]!r}, expected one of {', '.join(COLUMNS)}")
    taken: dict[str, str] = {}
    for name in ("audio", "text", "label"):
        # A label of its own name may be what nobody reads.
        theirs = columns.get(name, "" if name == "label" else name)
        if theirs and (other := taken.setdefault(theirs, name)) != name:
            raise DataError(f"--columns: {theirs!r} is both {other} and {name}, expected a column for each")


def choose_columns(
    table: Table, columns: Mapping[str, str], labelled: bool
) -> tuple[dict[str, str], list[Problem]]:
    """The table's column for each of `COLUMNS` that it has, and notices of those that look misspelt.

    ``columns`` are the user's names, by ours. Raises `DataError` as `require_columns`, if one of them is not
    there, if there is neither audio nor text, or no label where one is expected, or if a column looks like
    one of these three that is not there.
    """
    require_columns(columns)
    chosen = {name: columns.get(name, name) for name in COLUMNS}
    if lost := [theirs for name, theirs in columns.items() if theirs and theirs not in table.columns]:
        raise table.missing(lost, ", ".join(theirs for theirs in columns.values() if theirs) + " (--columns)")
    found = {name: theirs for name, theirs in chosen.items() if theirs in table.columns}
    needed = ("audio", "text", "label") if labelled else ("audio", "text")
    ignored = [name for name in table.columns if name not in found.values()]
    absent = [name for name in needed if name not in found and columns.get(name) != ""]
    alike = {name: theirs for name in absent if (theirs := _alike(name, ignored)) is not None}
    one_is_enough = any(name in found or name in alike for name in ("audio", "text"))
    lacking = [
        name
        for name in needed
        if name not in found and (name in alike or name == "label" or not one_is_enough)
    ]
    if lacking:
        without = [name for name in alike if name != "label" and ("audio" in found or "text" in found)]
        raise table.missing(lacking, ", ".join(needed), _hint(alike, without))
    notices = []
    for name in COLUMNS:
        if name not in found and name not in needed and (theirs := _alike(name, ignored, aliases=False)):
            message = f"column {theirs!r} ignored; if it is {name}, give --columns {name}={theirs}"
            notices.append(Problem(table.file, message, 1))
    return found, notices


def _hint(alike: dict[str, str], without: list[str]) -> str:
    """The option to give; ``without`` are modalities that the corpus may do without."""
    if not alike:
        return ""
    mapping = ",".join(f"{name}={theirs}" for name, theirs in alike.items())
    none = f", or {without[0]}= if the corpus has none" if without else ""
    return f"; give --columns {mapping}{none}"


def _alike(name: str, candidates: list[str], aliases: bool = True) -> str | None:
    """The first of ``candidates`` that is likely to be the column ``name``."""
    known = {name, *(_ALIASES.get(name, "").split() if aliases else ())}
    for each in candidates:
        words = [word.casefold() for word in _WORDS.findall(each)]
        whole = "".join(words)
        if known & {*words, whole} or SequenceMatcher(None, whole, name).ratio() >= 0.75:
            return each
    return None
