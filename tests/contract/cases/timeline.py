"""What goes wrong with a long recording, live speech and reasons."""

import json

import numpy as np
import soundfile

import mtab
from cases import Case, Place
from mtab.errors import AudioError, DataError, MtabError, TextError

SRT = "1\n00:00:00,000 --> 00:00:00,100\nit is high\n\n"


def timeline(place: Place, *options: object) -> list[object]:
    return ["mtab", "timeline", place.bundle, place.clip, *options]


def transcript(place: Place, content: str, name: str = "said.srt") -> list[object]:
    return timeline(place, "--transcript", place.file(name, content))


def segments(place: Place, content: str, name: str = "turns.csv") -> list[object]:
    given = ("--transcript", place.file("said.json", json.dumps([{"word": "it", "start": 0, "end": 0.1}])))
    return timeline(place, *given, "--segments", place.file(name, content))


def feed(place: Place, *chunks: object, **options: float) -> None:
    live = mtab.load(place.bundle, "cpu", threads=1).live()
    for chunk in chunks:
        list(live.accept(chunk, **options))  # pyright: ignore[reportArgumentType]
    live.finish()


def two_recordings(place: Place) -> list[object]:
    for name in ("a.wav", "b.wav"):
        soundfile.write(place.folder / name, np.zeros(8_000), 16_000)
    given = ("--transcript", place.file("a.srt", SRT))
    return ["mtab", "timeline", place.bundle, place.folder / "a.wav", place.folder / "b.wav", *given]


CASES = (
    Case(
        "A transcript whose times run backwards",
        lambda place: transcript(place, "1\n00:00:02,000 --> 00:00:01,000\nno\n"),
        TextError,
        "<FILE>:2: from 2 to 1 s, expected 0 <= start < end",
    ),
    Case(
        "Cues out of order",
        lambda place: transcript(place, SRT.replace("00,000", "00,050") + SRT),
        TextError,
        "<FILE>: cue 2: begins at 0 s, before the one before it (0.05 s), expected the order of time",
    ),
    Case(
        "A cue that ends more than 1 s after the recording",
        lambda place: transcript(place, SRT.replace("00,100", "09,000")),
        TextError,
        "<FILE>: cue 1: ends at 9.00 s, and the recording at <SECONDS> s, expected the recording's own "
        "transcript",
    ),
    Case(
        "A transcript without times",
        lambda place: transcript(place, "it is high", "said.txt"),
        TextError,
        "<FILE>: ends in '.txt', expected a transcript with times: .srt, .vtt, .json",
    ),
    Case(
        "JSON that is no transcript",
        lambda place: transcript(place, '{"text": "it is high"}', "said.json"),
        TextError,
        "<FILE>: an object without segments, expected {segments: [{start, end, text}]}",
    ),
    Case(
        "An empty segment",
        lambda place: segments(place, "start,end\n0.1,0.1\n"),
        DataError,
        "<FILE>:2: from 0.1 to 0.1 s, expected 0 <= start < end",
    ),
    Case(
        "A segment beyond the recording",
        lambda place: segments(place, "start,end\n5,6\n"),
        DataError,
        "<FILE>: <SECONDS> s long, expected at least 6.00 s: a segment is from 5.00 to 6.00 s",
    ),
    Case(
        "Segments in another format",
        lambda place: segments(place, "<xml/>", "turns.xml"),
        DataError,
        "<FILE>: ends in '.xml', expected segments in .rttm, .csv, .json",
    ),
    Case(
        "A stretch without words, for a model that needs them; with `--on-error skip` a gap",
        lambda place: segments(place, "start,end\n0.11,0.2\n"),
        TextError,
        "<FILE>: 0.11 to 0.20 s: no transcript, expected one: <REASON>",
    ),
    Case(
        "RTTM of segments without speakers",
        lambda place: [*transcript(place, SRT), "--format", "rttm"],
        MtabError,
        "<FILE>: segments without speakers, expected one of each in RTTM; give segments with speakers",
    ),
    Case(
        "A file for `--out` of no format",
        lambda place: [*transcript(place, SRT), "--out", place.folder / "a.xlsx"],
        MtabError,
        "<FILE>: ends in '.xlsx', expected one of .json, .csv, .srt, .vtt, .TextGrid, .eaf, .rttm",
    ),
    Case(
        "One transcript for several recordings",
        two_recordings,
        None,
        "<FILE> is one file for 2 recordings, expected a folder with one of each name",
        2,
    ),
    Case(
        "A recogniser that fails",
        lambda place: ["mtab", "predict", place.bundle, place.clip, "--transcribe", "false"],
        TextError,
        "<FILE>: false: exit code 1, expected a transcript",
    ),
    Case(
        "A recogniser that is not there",
        lambda place: ["mtab", "predict", place.bundle, place.clip, "--transcribe", "no-such-program"],
        MtabError,
        "<FILE>: no-such-program: No such file or directory, expected a command that transcribes",
    ),
    Case(
        "Live speech that changes its rate",
        lambda place: feed(place, np.zeros(100), sample_rate=8_000),
        AudioError,
        "stream at 0.00 s: a chunk has 8000 Hz, expected 16000 Hz as before it",
        None,
    ),
    Case(
        "Live speech with NaN: the chunk is not taken, the stream goes on",
        lambda place: feed(place, np.full(100, np.nan)),
        AudioError,
        "stream at 0.00 s: a chunk holds a sample of nan, expected finite numbers up to 2.14748e+09",
        None,
    ),
    Case(
        "Live speech that ends before it begins",
        lambda place: feed(place),
        AudioError,
        "stream: nothing was heard, expected samples or text",
        None,
    ),
    Case(
        "`--reasons` in a table",
        lambda place: ["mtab", "predict", place.bundle, place.clip, "--text", "it is high", "--reasons"],
        None,
        "--reasons needs --format json or jsonl, got table",
        2,
    ),
    Case(
        "A picture of another format",
        lambda place: ["mtab", "predict", place.bundle, place.clip, "--plot", place.folder / "why.gif"],
        MtabError,
        "<FILE>: ends in '.gif', expected one of .png, .svg, .pdf",
    ),
)
