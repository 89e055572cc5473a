"""A timeline as the files that people read and annotate speech with: each format a function to its text."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from mtab.console import table
from mtab.errors import MtabError
from mtab.files import write_text
from mtab.timeline.timeline import Segment, Timeline

_SCHEMA = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
# A timeline does not say when it was made, and the same one makes the same file.
_NO_DATE = "1970-01-01T00:00:00Z"
_XML_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def to_table(timeline: Timeline) -> str:
    """To read in a terminal: a line for each segment and each gap."""
    speakers = bool(timeline.speakers)
    rated = timeline.dimensions
    header = ["start", "end", "label", "score", *rated, *(["speaker"] if speakers else []), "text"]
    rows: list[tuple[float, list[str]]] = []
    for each in timeline.segments:
        shown = [each.speaker or "" for _ in range(speakers)]
        shown = [*(f"{value:.2f}" for value in (each.dimensions or {}).values()), *shown]
        cells = [f"{each.start:.2f}", f"{each.end:.2f}", each.label, f"{each.score:.3f}", *shown]
        rows.append((each.start, [*cells, _short(each.text or "")]))
    for gap in timeline.failures:
        blank = ["-"] * len(rated) + [""] * speakers
        rows.append((gap.start, [f"{gap.start:.2f}", f"{gap.end:.2f}", "error", "-", *blank, gap.error]))
    return table([cells for _, cells in sorted(rows, key=lambda row: row[0])], header) + "\n"


def to_json(timeline: Timeline) -> str:
    """Everything."""
    return json.dumps(timeline.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(timeline: Timeline) -> str:
    """A row for each segment, with a column for each class and each dimension."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("start", "end", "label", *timeline.labels, *timeline.dimensions, "speaker", "text"))
    for each in timeline.segments:
        found = [each.probabilities[label] for label in timeline.labels]
        found += (each.dimensions or {}).values()
        writer.writerow((each.start, each.end, each.label, *found, each.speaker or "", each.text or ""))
    return stream.getvalue()


def to_srt(timeline: Timeline) -> str:
    """Subtitles: the label in brackets, then who speaks and what is said."""
    cues = []
    for number, each in enumerate(timeline.segments, start=1):
        by = f"{each.speaker}: " if each.speaker else ""
        # An arrow would be taken for the times of another cue.
        text = f"[{each.label}] {by}{each.text or ''}".replace("-->", "->").strip()
        cues.append(f"{number}\n{_clock(each.start, ',')} --> {_clock(each.end, ',')}\n{text}\n")
    return "\n".join(cues)


def to_vtt(timeline: Timeline) -> str:
    """WebVTT: as `to_srt`, who speaks as a voice."""
    cues = ["WEBVTT\n"]
    for each in timeline.segments:
        voice = "" if each.speaker is None else f"<v {_escaped(each.speaker)}>"
        text = f"{voice}[{each.label}] {_escaped(each.text or '')}".strip()
        cues.append(f"{_clock(each.start, '.')} --> {_clock(each.end, '.')}\n{text}\n")
    return "\n".join(cues)


def to_textgrid(timeline: Timeline) -> str:
    """Praat: an interval tier of labels, and of words where there are any, for each speaker.

    Raises `MtabError` where segments of one speaker overlap.
    """
    end = max([timeline.duration, *(each.end for each in timeline.segments)])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    tiers = list(_tiers(timeline, "TextGrid"))
    lines += ["xmin = 0", f"xmax = {end}", "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, _, marks) in enumerate(tiers, start=1):
        intervals = list(_intervals(marks, end))
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
        ]
        lines += ["        xmin = 0", f"        xmax = {end}", f"        intervals: size = {len(intervals)}"]
        for i, (first, last, mark) in enumerate(intervals, start=1):
            lines += [
                f"        intervals [{i}]:",
                f"            xmin = {first}",
                f"            xmax = {last}",
            ]
            lines.append(f"            text = {_quoted(mark)}")
    return "\n".join(lines) + "\n"


def to_eaf(timeline: Timeline) -> str:
    """ELAN: the tiers of `to_textgrid`, times in whole milliseconds; `MtabError` likewise."""
    tiers = list(_tiers(timeline, "ELAN's .eaf"))
    root = ET.Element("ANNOTATION_DOCUMENT", AUTHOR="mtab", FORMAT="3.0", VERSION="3.0", DATE=_NO_DATE)
    root.set(_SCHEMA, "http://www.mpi.nl/tools/elan/EAFv3.0.xsd")
    head = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if timeline.recording:
        ET.SubElement(head, "MEDIA_DESCRIPTOR", MEDIA_URL=_xml(timeline.recording), MIME_TYPE="audio/*")
    order = ET.SubElement(root, "TIME_ORDER")
    slots = ids = 0
    for name, speaker, marks in tiers:
        tier = ET.SubElement(root, "TIER", LINGUISTIC_TYPE_REF="default-lt", TIER_ID=_xml(name))
        if speaker is not None:
            tier.set("PARTICIPANT", _xml(speaker))
        for first, last, mark in marks:
            for time in (first, last):
                slots += 1
                ET.SubElement(
                    order, "TIME_SLOT", TIME_SLOT_ID=f"ts{slots}", TIME_VALUE=str(round(time * 1000))
                )
            ids += 1
            annotation = ET.SubElement(
                ET.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{ids}",
                TIME_SLOT_REF1=f"ts{slots - 1}",
                TIME_SLOT_REF2=f"ts{slots}",
            )
            ET.SubElement(annotation, "ANNOTATION_VALUE").text = _xml(mark)
    ET.SubElement(root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID="default-lt", TIME_ALIGNABLE="true")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def to_rttm(timeline: Timeline) -> str:
    """Who speaks when, the label as the subtype and its probability as the confidence.

    Raises `MtabError` for a segment without a speaker.
    """
    name = re.sub(r"\s+", "_", Path(timeline.recording).stem) or "recording"
    lines = []
    for each in timeline.segments:
        if each.speaker is None:
            found = f"{timeline.recording}: the segment from {each.start:.2f} s has no speaker"
            raise MtabError(f"{found}, expected one of each in RTTM; give segments with speakers")
        speaker, label = (re.sub(r"\s+", "_", part) for part in (each.speaker, each.label))
        place = f"{name} 1 {each.start:.3f} {each.seconds:.3f}"
        lines.append(f"SPEAKER {place} <NA> {label} {speaker} {each.score:.4f} <NA>\n")
    return "".join(lines)


FORMATS: dict[str, Callable[[Timeline], str]] = {
    "json": to_json,
    "csv": to_csv,
    "srt": to_srt,
    "vtt": to_vtt,
    "textgrid": to_textgrid,
    "eaf": to_eaf,
    "rttm": to_rttm,
}
"""The functions by the names of the formats, which are the files' suffixes too, in small letters."""

SUFFIXES = {"textgrid": ".TextGrid"}
"""Where a suffix is not written in small letters."""


def format_of(path: Path) -> str:
    """The name of the format that a file's suffix stands for. Raises `MtabError` for another suffix."""
    name = path.suffix.lower().removeprefix(".")
    if name not in FORMATS:
        expected = ", ".join(SUFFIXES.get(each, f".{each}") for each in FORMATS)
        raise MtabError(f"{path}: ends in {path.suffix!r}, expected one of {expected}")
    return name


def write_timeline(timeline: Timeline, path: Path) -> None:
    """Write a timeline in the format of the file's suffix, whole or not at all.

    Raises `MtabError` for another suffix, and for what the format cannot hold.
    """
    write_text(path, FORMATS[format_of(path)](timeline))


Marks = list[tuple[float, float, str]]


def _tiers(timeline: Timeline, kind: str) -> Iterator[tuple[str, str | None, Marks]]:
    """Name, speaker and marks of each tier: labels, then texts, of each speaker."""
    by: dict[str | None, list[Segment]] = {}
    for each in timeline.segments:
        by.setdefault(each.speaker, []).append(each)
    for speaker, segments in (by or {None: []}).items():
        for before, after in pairwise(segments):
            if after.start < before.end:
                found = f"{timeline.recording}: segments overlap at {after.start:.2f} s"
                whose = "" if speaker is None else f" of {speaker}"
                raise MtabError(f"{found}, expected none{whose} that do in {kind}; name their speakers")
        suffix = "" if speaker is None else f" {speaker}"
        yield f"emotion{suffix}", speaker, [(each.start, each.end, each.label) for each in segments]
        if any(each.text for each in segments):
            yield f"text{suffix}", speaker, [(each.start, each.end, each.text or "") for each in segments]


def _intervals(marks: Marks, end: float) -> Iterator[tuple[float, float, str]]:
    """The marks, with empty ones between them: a tier has no holes."""
    reached = 0.0
    for first, last, mark in marks:
        if first > reached:
            yield reached, first, ""
        yield first, last, mark
        reached = last
    if reached < end:
        yield reached, end, ""


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _xml(text: str) -> str:
    return _XML_CONTROL.sub("", text)
