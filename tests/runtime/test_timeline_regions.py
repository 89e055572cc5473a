"""Who speaks when, from every kind of file, and lists."""

import json
from pathlib import Path

import numpy as np
import pytest
from lhotse import SupervisionSegment, SupervisionSet

from mtab.errors import DataError
from mtab.timeline.regions import Region, as_regions, pieces_of

GIVEN = [(4.0, 5.5, "B"), (0.25, 3.5, "A")]
EXPECTED = (Region(0.25, 3.5, "A"), Region(4.0, 5.5, "B"))


def test_lists() -> None:
    assert as_regions(GIVEN, "a.wav") == EXPECTED
    assert (
        as_regions([{"start": a, "end": b, "speaker": c, "label": "x"} for a, b, c in GIVEN], "") == EXPECTED
    )
    assert as_regions([(0, 1)], "") == (Region(0.0, 1.0),)


def test_rttm_as_another_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    supervisions = SupervisionSet.from_segments(
        SupervisionSegment(str(i), "a", start, end - start, speaker=speaker)
        for i, (start, end, speaker) in enumerate(GIVEN)
    )
    lines = [
        f"SPEAKER {s.recording_id} 1 {s.start} {s.duration} <NA> <NA> {s.speaker} <NA> <NA>"
        for s in supervisions
    ]
    path.write_text("\n".join(["SPKR-INFO a 1 <NA> <NA> <NA> unknown A <NA> <NA>", *lines, ""]))
    assert as_regions(path, "there/a.wav") == EXPECTED
    # Of a file that names one recording the name does not matter.
    assert as_regions(path, "b.wav") == EXPECTED
    path.write_text(path.read_text() + "SPEAKER c 1 0 1 <NA> <NA> C <NA> <NA>\n")
    assert as_regions(path, "a.wav") == EXPECTED
    with pytest.raises(DataError, match=r"a\.rttm: is of a, c, expected b"):
        as_regions(path, "b.wav")


def test_csv_and_json(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("start,end,speaker,text\n4,5.5,B,x\n0.25,3.5,A,\n")
    assert as_regions(tmp_path / "a.csv", "") == EXPECTED
    values = [{"start": start, "end": end, "speaker": speaker} for start, end, speaker in GIVEN]
    for content in (values, {"segments": values}):
        (tmp_path / "a.json").write_text(json.dumps(content))
        assert as_regions(str(tmp_path / "a.json"), "") == EXPECTED


def test_a_csv_of_several_recordings(tmp_path: Path) -> None:
    path = tmp_path / "turns.csv"
    path.write_text(
        "audio,start,end,speaker\naudio/a.wav,4,5.5,B\naudio/a.wav,0.25,3.5,A\naudio/b.wav,1,2,C\n"
    )
    assert as_regions(path, "there/a.flac") == EXPECTED
    with pytest.raises(DataError, match=r"turns\.csv: no row of c, expected its segments"):
        as_regions(path, "c.wav")


def test_rows_of_an_array() -> None:
    assert as_regions(np.array([[1.0, 2.0]]), "") == (Region(1.0, 2.0),)


BAD = {
    "a.csv: backwards": ("start,end\n2,1\n", "a.csv:2: from 2 to 1 s, expected 0 <= start < end"),
    "a.csv: empty": ("start,end\n2,2\n", "a.csv:2: from 2 to 2 s, expected 0 <= start < end"),
    "a.csv: nan": ("start,end\nnan,2\n", "a.csv:2: from nan to 2 s, expected 0 <= start < end"),
    "a.csv: text": ("start,end\none,2\n", "a.csv:2: 'one', expected a number of seconds"),
    "a.csv: column": ("start,stop\n0,2\n", "a.csv: no column 'end', expected start, end; found start, stop"),
    "a.csv: cells": ("start,end\n0\n", "a.csv:2: "),
    "a.rttm: fields": (
        "SPEAKER a 1 0.5\n",
        "a.rttm:1: 4 fields, expected SPEAKER, file, channel, start, seconds, ...",
    ),
    "a.rttm: nothing": ("\n", "a.rttm: no SPEAKER line, expected RTTM"),
    "a.json: object": ("{}", "a.json: no list of segments, expected objects with start and end"),
    "a.json: item": ("[3]", "a.json: segment 0: 3, expected (start, end) or (start, end, speaker)"),
    "a.json: speaker": (
        '[{"start": 0, "end": 1, "speaker": 3}]',
        "a.json: segment 0: speaker is int, expected a string",
    ),
    "a.txt: suffix": ("", "a.txt: ends in '.txt', expected segments in .rttm, .csv, .json"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_are_no_segments(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    path = tmp_path / case.split(":")[0]
    path.write_text(content)
    with pytest.raises(DataError) as raised:
        as_regions(path, "a.wav")
    assert str(raised.value).startswith(f"{tmp_path}/{message}")


def test_long_ones_are_judged_in_equal_pieces() -> None:
    assert pieces_of(Region(1, 31)) == [(16_000, 31 * 16_000)]
    pieces = pieces_of(Region(0.5, 75.5))
    assert pieces == [(8_000, 408_000), (408_000, 808_000), (808_000, 1_208_000)]
