"""The one record that every corpus is read into, and the corpus that holds them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from mtab.errors import DataError
from mtab.types import Dimension

SYNTHETIC_MARKER = "SYNTHETIC.txt"
"""A corpus folder that holds this file was made by ``mtab-train synth``; every figure from it says so."""

PEOPLE = ("speaker", "session", "dialogue")
"""What two corpora may call alike and have nothing in common."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One labelled utterance.

    ``start`` and ``end`` are seconds in the recording or dialogue that the utterance comes from. Only where
    ``cut`` is true is ``audio`` that whole recording, from which start-end must still be cut; otherwise the
    file holds the utterance alone. ``session`` is a recording session (IEMOCAP) or whatever a user's
    manifest calls one; ``dialogue`` groups utterances that belong together; ``split`` is the corpus's own
    ``train``, ``dev`` or ``test``. ``valence``, ``arousal`` and ``dominance`` are what people rated it, each
    in the corpus's own units (IEMOCAP's go from 1 to 5). ``gender`` is the speaker's,
    ``corpus`` the one that an utterance of several comes from.
    """

    id: str
    audio: Path | None
    text: str | None
    label: str
    speaker: str | None = None
    session: str | None = None
    dialogue: str | None = None
    split: str | None = None
    start: float | None = None
    end: float | None = None
    cut: bool = False
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    gender: str | None = None
    corpus: str | None = None

    def of_corpus(self, name: str) -> "Utterance":
        """The same one among utterances of several corpora: `PEOPLE` get the corpus's name before theirs."""
        people = {each: f"{name}-{value}" for each in PEOPLE if (value := getattr(self, each)) is not None}
        return replace(self, corpus=name, **people)

    @property
    def dimensions(self) -> dict[Dimension, float]:
        """What it was rated, without the dimensions that it was not rated in."""
        ratings: dict[Dimension, float | None] = {name: getattr(self, name) for name in get_args(Dimension)}
        return {name: rating for name, rating in ratings.items() if rating is not None}

    @property
    def span(self) -> tuple[float | None, float | None]:
        """What `mtab.audio.load_audio` must cut: (start, end) in seconds where ``cut``, else (None, None)."""
        return (self.start, self.end) if self.cut else (None, None)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a corpus that is not as it should be: where, and what was found and expected."""

    file: Path
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else f"{self.file}"
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus as read: usable utterances, the label set in its order, and every problem that was skipped.

    ``notices`` are what was kept but may not be as meant: bytes that were mended, labels that look alike.
    ``excluded`` counts what is sound but lies outside the label set on purpose (IEMOCAP's other emotions).
    ``source`` is the path to read it from again: a manifest's own file need not be its folder's only one.
    ``columns`` are the manifest's names of columns where they are not ours, by ours; ``own_name`` is what a
    user's corpus is called, where ``name`` is its layout's. ``kept`` is false for one that was put together
    here and lies in no file.
    """

    name: str
    root: Path
    labels: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    problems: tuple[Problem, ...] = ()
    excluded: Mapping[str, int] = field(default_factory=dict)
    source: Path | None = None
    notices: tuple[Problem, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    own_name: str | None = None
    kept: bool = True

    @property
    def synthetic(self) -> bool:
        """Whether ``mtab-train synth`` made it."""
        return (self.root / SYNTHETIC_MARKER).is_file()

    @property
    def place(self) -> Path:
        """What an error calls it: a manifest's own file, else the folder."""
        return self.source if self.source is not None and self.source.is_file() else self.root

    @property
    def title(self) -> str:
        """What to print beside a figure: its own name, ``iemocap``, ``iemocap layout, synthetic speech``."""
        return f"{self.name} layout, synthetic speech" if self.synthetic else self.own_name or self.name


@dataclass(frozen=True, slots=True)
class Fold:
    """One division of a corpus; ``validation`` is empty where there are too few utterances for it.

    ``folder`` is ``name`` made safe for a file system: one plain path component, unlike every other fold's
    also where capitals do not count.
    """

    name: str
    folder: str
    train: tuple[Utterance, ...]
    validation: tuple[Utterance, ...]
    test: tuple[Utterance, ...]


def corpus_hash(utterances: tuple[Utterance, ...], dimensions: Sequence[Dimension] = ()) -> str:
    """SHA-256 over ids, labels, transcripts, spans and audio content, in order: changes when the data do.

    Ratings count in those ``dimensions`` alone that somebody learns from.
    """
    digest = hashlib.sha256()
    for utterance in utterances:
        described = [utterance.id, utterance.label, utterance.text, utterance.span]
        described += [getattr(utterance, name) for name in dimensions]
        digest.update(json.dumps(described).encode())
        if utterance.audio is not None:
            try:
                digest.update(utterance.audio.read_bytes())
            except OSError as error:
                raise DataError(
                    f"{utterance.audio}: {error.strerror}, expected the clip of {utterance.id}"
                ) from None
    return digest.hexdigest()
