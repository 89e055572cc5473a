"""What is said when: cues and words with their times, from SRT, WebVTT and JSON."""

import bisect
import html
import math
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from mtab.data.text_files import read_utf8
from mtab.errors import DataError, TextError
from mtab.files import read_json
from mtab.words import words_of

SUFFIXES = (".srt", ".vtt", ".json")
"""The files that `read_transcript` takes."""

END_TOLERANCE = 1.0
"""How far a cue may reach beyond the recording, in seconds: subtitles stay a while to be read."""

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,6}))?"
_TIMING = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_TAG = re.compile(r"</?(?:[bcisuv]|font|lang|rt|ruby)\b[^>]*>|<[\d:.]+>|\{\\[^}]*\}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or whatever else has times of its own, in seconds of the recording."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Cue:
    """A stretch of the recording, in seconds, with what is said in it and by whom (None: not told).

    ``words`` have times of their own; there are none where only the cue has.
    """

    start: float
    end: float
    text: str
    speaker: str | None = None
    words: tuple[Word, ...] = ()

    def timed_words(self) -> tuple[Word, ...]:
        """Its words; where they have no times, spread over the cue by their number of characters."""
        return self.words or tuple(_spread(self.text, self.start, self.end))


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said in a recording: cues in the order of their start. ``name`` is where it comes from.

    ``is_words`` tells that every cue is a single word: then the cues are no segments of the speech.
    """

    cues: tuple[Cue, ...]
    name: str = "transcript"
    is_words: bool = False
    _words: tuple[tuple[float, Word, str | None], ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        for number, cue in enumerate(self.cues, start=1):
            require_order(cue.start, cue.end, f"{self.name}: cue {number}", empty=self.is_words)
            for word in cue.words:
                require_order(word.start, word.end, f"{self.name}: cue {number}: {word.text!r}", empty=True)
        for number, (before, after) in enumerate(pairwise(self.cues), start=2):
            if after.start < before.start:
                found = f"begins at {after.start:g} s, before the one before it ({before.start:g} s)"
                raise TextError(f"{self.name}: cue {number}: {found}, expected the order of time")
        timed = [
            ((word.start + word.end) / 2, word, cue.speaker)
            for cue in self.cues
            for word in cue.timed_words()
        ]
        object.__setattr__(self, "_words", tuple(sorted(timed, key=lambda each: each[0])))

    @property
    def speakers(self) -> frozenset[str]:
        """Those that are named."""
        return frozenset(cue.speaker for cue in self.cues if cue.speaker is not None)

    def words(self, start: float, end: float, speaker: str | None = None) -> tuple[Word, ...]:
        """The words whose middle lies between ``start`` and ``end`` seconds.

        Where the transcript knows ``speaker``, those of others are left out.
        """
        first, last = (
            bisect.bisect_left(self._words, time, key=lambda each: each[0]) for time in (start, end)
        )
        known = speaker in self.speakers
        return tuple(word for _, word, by in self._words[first:last] if not known or by in (None, speaker))

    def require_within(self, seconds: float) -> None:
        """Raise `TextError` if a cue reaches beyond a recording of so many ``seconds``."""
        for number, cue in enumerate(self.cues, start=1):
            if cue.end > seconds + END_TOLERANCE:
                found = f"ends at {cue.end:.2f} s, and the recording at {seconds:.2f} s"
                raise TextError(
                    f"{self.name}: cue {number}: {found}, expected the recording's own transcript"
                )


Transcribed = Transcript | str | os.PathLike[str] | Mapping[str, Any] | Iterable[Cue | Mapping[str, Any]]
"""What `as_transcript` takes."""


def as_transcript(value: Transcribed) -> Transcript:
    """A `Transcript` itself, a file with one, or a list of `Cue` or of objects as `read_transcript` takes.

    Raises `TextError` as `read_transcript`.
    """
    if isinstance(value, Transcript):
        return value
    if isinstance(value, str | os.PathLike):
        return read_transcript(Path(value))
    if isinstance(value, Mapping):
        return _of_json(value, "transcript")
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        items = list(value)
        cues = tuple(item for item in items if isinstance(item, Cue))
        if len(cues) == len(items):
            return Transcript(cues)
        return _of_objects(items, "transcript")
    found = f"is {type(value).__name__}"
    raise TextError(
        f"transcript {found}, expected a file that ends in {', '.join(SUFFIXES)}, or a list of cues"
    )


def read_transcript(path: Path) -> Transcript:
    """Read SRT, WebVTT or JSON; cues without text are left out.

    JSON is an object with ``segments``, as Whisper and its kin write it, or with ``words``, or such a list:
    objects with ``start``, ``end``, ``text`` (of words also ``word``) and optionally ``speaker`` and
    ``words``, where a word without times lies between its neighbours; or what whisper.cpp writes. Raises
    `TextError`, naming the file and the place, for another format, for SRT and WebVTT that is not empty and
    has no cue, and for times that are no numbers or run backwards.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise TextError(
            f"{path}: ends in {suffix!r}, expected a transcript with times: {', '.join(SUFFIXES)}"
        )
    if suffix == ".json":
        try:
            values = read_json(path)
        except Exception as error:
            raise TextError(str(error)) from None
        return _of_json(values, str(path))
    try:
        text = read_utf8(path, "a transcript in SRT or WebVTT")
    except DataError as error:
        raise TextError(str(error)) from None
    if suffix == ".vtt" and not re.match(r"WEBVTT(?:[ \t\r\n]|$)", text):
        raise TextError(f"{path}:1: does not begin with WEBVTT, expected WebVTT")
    cues = tuple(_subtitles(text, path))
    if suffix == ".srt" and text.strip() and "-->" not in text:
        raise TextError(f"{path}: no cue, expected times as 00:00:01,500 --> 00:00:04,000")
    return Transcript(cues, str(path))


def require_order(start: float, end: float, what: str, empty: bool = False) -> None:
    """Raise `TextError` unless 0 <= start < end, or start <= end where it may be ``empty``."""
    finite = math.isfinite(start) and math.isfinite(end)
    if not (finite and start >= 0 and (start <= end if empty else start < end)):
        expected = "0 <= start <= end" if empty else "0 <= start < end"
        raise TextError(f"{what}: from {start:g} to {end:g} s, expected {expected}")


def _subtitles(text: str, path: Path) -> Iterator[Cue]:
    """The cues of SRT or WebVTT: a line with times, and those from there to an empty one or other times."""
    lines = deque(enumerate(text.splitlines(), start=1))
    while lines:
        number, line = lines.popleft()
        if "-->" not in line or line.startswith("NOTE"):
            continue
        match = _TIMING.fullmatch(line)
        if match is None:
            expected = "times as 00:00:01.500 --> 00:00:04.000"
            raise TextError(f"{path}:{number}: {line.strip()!r}, expected {expected}")
        payload = []
        while lines and lines[0][1].strip() and not _TIMING.fullmatch(lines[0][1]):
            payload.append(lines.popleft()[1])
        if lines and payload and _TIMING.fullmatch(lines[0][1]) and payload[-1].strip().isdigit():
            # The number of the next cue, where no empty line is between them.
            payload.pop()
        raw = " ".join(payload)
        voice = _VOICE.search(raw)
        said = " ".join(html.unescape(_TAG.sub("", raw)).split())
        if said:
            start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
            require_order(start, end, f"{path}:{number}")
            yield Cue(start, end, said, html.unescape(voice[1]).strip() if voice else None)


def _spread(text: str, start: float, end: float) -> Iterator[Word]:
    """The words of a text from ``start`` to ``end``, as long as their letters."""
    words = [text[first:last] for first, last in words_of(text)]
    reached = list(accumulate((len(word) + 1 for word in words), initial=0))
    times = [start + (end - start) * each / reached[-1] for each in reached] if words else []
    for first, last, word in zip(times[:-1], times[1:], words, strict=True):
        yield Word(first, last, word)


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(f"{seconds}.{fraction or 0}")


def _of_json(values: Any, name: str) -> Transcript:
    if isinstance(values, Mapping):
        for key in ("segments", "words"):
            if isinstance(values.get(key), list):
                return _of_objects(values[key], name)
        if isinstance(values.get("transcription"), list):
            return _of_objects([_of_whisper_cpp(each) for each in values["transcription"]], name)
        raise TextError(f"{name}: an object without segments, expected {{segments: [{{start, end, text}}]}}")
    if isinstance(values, list):
        return _of_objects(values, name)
    raise TextError(f"{name}: holds {type(values).__name__}, expected a list of {{start, end, text}}")


def _of_whisper_cpp(item: Any) -> Any:
    """Its times are in milliseconds."""
    offsets = item.get("offsets") if isinstance(item, Mapping) else None
    if not isinstance(offsets, Mapping):
        return item
    times = {key: offsets.get(place) for key, place in (("start", "from"), ("end", "to"))}
    seconds = {key: each / 1000 for key, each in times.items() if isinstance(each, int | float)}
    return {"text": item.get("text"), **seconds}


def _of_objects(items: Sequence[Any], name: str) -> Transcript:
    cues = [_cue(item, f"{name}: cue {number}") for number, item in enumerate(items, start=1)]
    is_words = bool(items) and all(isinstance(item, Mapping) and "word" in item for item in items)
    return Transcript(tuple(cue for cue in cues if cue is not None), name, is_words)


def _cue(item: Any, where: str) -> Cue | None:
    """None without a text."""
    if not isinstance(item, Mapping):
        raise TextError(f"{where}: is {type(item).__name__}, expected an object with start, end and text")
    words = item.get("words") or []
    if not isinstance(words, list) or not all(isinstance(word, Mapping) for word in words):
        raise TextError(f"{where}: words are {type(words).__name__}, expected a list of objects")
    text = item.get("text", item.get("word"))
    if text is None and words:
        text = " ".join(_text_of(word, where) for word in words)
    if not isinstance(text, str):
        raise TextError(f"{where}: no text, expected a string")
    if not text.strip():
        return None
    speaker = item.get("speaker")
    if not isinstance(speaker, str | None):
        raise TextError(f"{where}: speaker is {type(speaker).__name__}, expected a string")
    start, end = (_number(item, key, where) for key in ("start", "end"))
    require_order(start, end, where, empty="word" in item)
    return Cue(start, end, " ".join(text.split()), speaker, tuple(_words(words, start, end, where)))


def _words(items: Sequence[Mapping[str, Any]], start: float, end: float, where: str) -> Iterator[Word]:
    """The words of a cue, within its times; those that an aligner left without, between the others."""
    if all(item.get("start") is None for item in items):
        return
    waiting: list[str] = []
    reached = start
    for item in items:
        text = _text_of(item, where)
        if item.get("start") is None or item.get("end") is None:
            waiting.append(text)
            continue
        first, last = (_number(item, key, f"{where}: {text!r}") for key in ("start", "end"))
        require_order(first, last, f"{where}: {text!r}", empty=True)
        first, last = (min(max(each, start), end) for each in (first, last))
        yield from _spread(" ".join(waiting), reached, max(first, reached))
        waiting, reached = [], last
        yield Word(first, last, text)
    yield from _spread(" ".join(waiting), reached, end)


def _text_of(word: Mapping[str, Any], where: str) -> str:
    text = word.get("word", word.get("text"))
    if not isinstance(text, str):
        raise TextError(f"{where}: a word is {type(text).__name__}, expected a string")
    return text.strip()


def _number(item: Mapping[str, Any], key: str, where: str) -> float:
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = "missing" if key not in item else repr(value)
        raise TextError(f"{where}: {key} is {found}, expected seconds")
    try:
        return float(value)
    except OverflowError:
        return math.inf
