"""Each format is what an independent reader of it reads."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pympi
import pytest
import srt
import webvtt
from lhotse import SupervisionSet
from praatio import textgrid

from mtab.config import from_dict
from mtab.errors import MtabError
from mtab.timeline.formats import FORMATS, to_table, write_timeline
from mtab.timeline.regions import as_regions
from mtab.timeline.timeline import Gap, Segment, Timeline
from mtab.timeline.transcript import Word, read_transcript

QUOTED = 'He said "no" --> & <b>left</b>, Grüße 言う'


def segment(start: float, end: float, label: str, speaker: str | None, text: str | None) -> Segment:
    shares = {"anger": 0.25, "joy": 0.25, "neutral": 0.25} | {label: 0.5}
    words = () if text is None else (Word(start, end, text),)
    return Segment(start, end, label, shares, speaker, text, words, ("audio",))


TIMELINE = Timeline(
    recording="calls/meeting one.wav",
    duration=20.0,
    complete=True,
    labels=("anger", "joy", "neutral"),
    dimensions=(),
    segments_from="segments",
    text_from="a.srt",
    segments=(
        segment(0.5, 2.25, "anger", "Ann Lee", QUOTED),
        segment(2.0, 4.1, "joy", "Bo", "Yes."),
        segment(4.5, 4.75, "neutral", "Ann Lee", None),
        segment(3600.001, 3602.5, "joy", "Bo", "Late."),
    ),
    failures=(Gap(5.0, 6.0, "no transcript"),),
)
TIMELINE = replace(TIMELINE, duration=3610.0)
NAMELESS = replace(TIMELINE, segments=tuple(replace(each, speaker=None) for each in TIMELINE.segments[2:]))


def times(timeline: Timeline) -> list[tuple[float, float]]:
    return [(each.start, each.end) for each in timeline.segments]


def test_json(tmp_path: Path) -> None:
    write_timeline(TIMELINE, tmp_path / "a.json")
    values = json.loads((tmp_path / "a.json").read_text())
    assert from_dict(Timeline, values, "a.json") == TIMELINE
    # What was written can be given again.
    assert [(r.start, r.end, r.speaker) for r in as_regions(tmp_path / "a.json", "")] == [
        (each.start, each.end, each.speaker) for each in TIMELINE.segments
    ]


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](TIMELINE))))
    assert [(float(row["start"]), float(row["end"])) for row in rows] == times(TIMELINE)
    assert [row["label"] for row in rows] == ["anger", "joy", "neutral", "joy"]
    assert rows[0]["text"] == QUOTED
    assert [float(row["anger"]) for row in rows] == [0.5, 0.25, 0.25, 0.25]


def test_srt(tmp_path: Path) -> None:
    found = list(srt.parse(FORMATS["srt"](TIMELINE)))
    assert [(each.start.total_seconds(), each.end.total_seconds()) for each in found] == times(TIMELINE)
    assert [each.content for each in found] == [
        '[anger] Ann Lee: He said "no" -> & <b>left</b>, Grüße 言う',
        "[joy] Bo: Yes.",
        "[neutral] Ann Lee:",
        "[joy] Bo: Late.",
    ]
    write_timeline(TIMELINE, tmp_path / "a.srt")
    assert [(cue.start, cue.end) for cue in read_transcript(tmp_path / "a.srt").cues] == times(TIMELINE)


def test_webvtt(tmp_path: Path) -> None:
    write_timeline(TIMELINE, tmp_path / "a.vtt")
    found = webvtt.read(tmp_path / "a.vtt")
    assert [each.start for each in found] == ["00:00:00.500", "00:00:02.000", "00:00:04.500", "01:00:00.001"]
    assert [each.voice for each in found] == ["Ann Lee", "Bo", "Ann Lee", "Bo"]
    cues = read_transcript(tmp_path / "a.vtt").cues
    assert [cue.speaker for cue in cues] == ["Ann Lee", "Bo", "Ann Lee", "Bo"]
    assert cues[0].text == f"[anger] {QUOTED}"


def test_textgrid(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    write_timeline(TIMELINE, path)
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    assert grid.tierNames == ("emotion Ann Lee", "text Ann Lee", "emotion Bo", "text Bo")
    assert (grid.minTimestamp, grid.maxTimestamp) == (0, 3610)
    assert [tuple(each) for each in grid.getTier("emotion Ann Lee").entries] == [
        (0.5, 2.25, "anger"),
        (4.5, 4.75, "neutral"),
    ]
    assert tuple(grid.getTier("text Ann Lee").entries[0]) == (0.5, 2.25, QUOTED)
    assert [tuple(each) for each in grid.getTier("text Bo").entries] == [
        (2.0, 4.1, "Yes."),
        (3600.001, 3602.5, "Late."),
    ]


def test_eaf(tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    write_timeline(TIMELINE, path)
    found = pympi.Elan.Eaf(str(path))
    assert sorted(found.get_tier_names()) == ["emotion Ann Lee", "emotion Bo", "text Ann Lee", "text Bo"]
    assert sorted(found.get_annotation_data_for_tier("emotion Ann Lee")) == [
        (500, 2250, "anger"),
        (4500, 4750, "neutral"),
    ]
    assert sorted(found.get_annotation_data_for_tier("text Bo")) == [
        (2000, 4100, "Yes."),
        (3_600_001, 3_602_500, "Late."),
    ]
    assert found.get_annotation_data_for_tier("text Ann Lee")[0][2] == QUOTED
    assert found.get_parameters_for_tier("emotion Bo")["PARTICIPANT"] == "Bo"


def test_rttm(tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    write_timeline(TIMELINE, path)
    found = list(SupervisionSet.from_rttm(path))
    assert [(each.start, each.end, each.speaker) for each in found] == [
        (each.start, pytest.approx(each.end), (each.speaker or "").replace(" ", "_"))
        for each in TIMELINE.segments
    ]
    assert {each.recording_id for each in found} == {"meeting_one"}
    assert path.read_text().splitlines()[1] == "SPEAKER meeting_one 1 2.000 2.100 <NA> joy Bo 0.5000 <NA>"


def test_without_speakers(tmp_path: Path) -> None:
    write_timeline(NAMELESS, tmp_path / "a.TextGrid")
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=False)
    assert grid.tierNames == ("emotion", "text")
    with pytest.raises(MtabError) as raised:
        write_timeline(NAMELESS, tmp_path / "a.rttm")
    assert str(raised.value) == (
        "calls/meeting one.wav: the segment from 4.50 s has no speaker, expected one of each in RTTM; "
        "give segments with speakers"
    )
    assert not (tmp_path / "a.rttm").exists()


@pytest.mark.parametrize("style", ["textgrid", "eaf"])
def test_what_overlaps_is_no_tier(style: str) -> None:
    overlapping = replace(TIMELINE, segments=tuple(replace(each, speaker=None) for each in TIMELINE.segments))
    with pytest.raises(MtabError, match=r"segments overlap at 2\.00 s, expected none that do in"):
        FORMATS[style](overlapping)


@pytest.mark.parametrize("style", FORMATS)
def test_nothing_found(style: str, tmp_path: Path) -> None:
    silent = replace(TIMELINE, segments=(), failures=())
    path = tmp_path / f"a.{style}"
    write_timeline(silent, path)
    if style == "textgrid":
        [tier] = textgrid.openTextgrid(str(path), includeEmptyIntervals=True).tiers
        assert [tuple(each) for each in tier.entries] == [(0.0, 3610.0, "")]
    if style == "eaf":
        assert list(pympi.Elan.Eaf(str(path)).get_tier_names()) == ["emotion"]
    if style == "srt":
        assert list(srt.parse(path.read_text())) == []


def test_the_table_has_gaps_in_their_place() -> None:
    lines = to_table(TIMELINE).splitlines()
    assert lines[0].split() == ["start", "end", "label", "score", "speaker", "text"]
    assert [line.split()[0] for line in lines[2:]] == ["0.50", "2.00", "4.50", "5.00", "3600.00"]
    assert lines[5].split()[2:4] == ["error", "-"]


def test_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(MtabError) as raised:
        write_timeline(TIMELINE, tmp_path / "a.xlsx")
    expected = ".json, .csv, .srt, .vtt, .TextGrid, .eaf, .rttm"
    assert str(raised.value) == f"{tmp_path}/a.xlsx: ends in '.xlsx', expected one of {expected}"
