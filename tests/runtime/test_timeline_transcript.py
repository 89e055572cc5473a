"""Transcripts with times are what srt and webvtt read, and are refused where their times are none."""

import datetime
import json
from pathlib import Path

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from mtab.errors import TextError
from mtab.timeline.transcript import Cue, Transcript, Word, as_transcript, read_transcript

CUES = (
    Cue(0.5, 2.25, "I never said that!"),
    Cue(2.25, 3.0, "Did I?"),
    Cue(3661.001, 3662.5, "Grüße & <mehr>, 言う"),
)


def timedelta(seconds: float) -> datetime.timedelta:
    return datetime.timedelta(milliseconds=round(seconds * 1000))


def test_srt_as_another_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    composed = [srt.Subtitle(i, timedelta(c.start), timedelta(c.end), c.text) for i, c in enumerate(CUES, 1)]
    path.write_text(srt.compose(composed), encoding="utf-8")
    assert read_transcript(path).cues == CUES


def test_webvtt_is_read_as_another_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text(
        "WEBVTT - a talk\nKind: captions\n\nNOTE\nnothing --ignored\n\nSTYLE\n::cue { color: lime }\n\n"
        "first\n00:01.500 --> 00:04.000 align:start\n<v Mary>Hello\n<i>there</i></v>\n\n"
        "00:05.000 --> 01:00:01.000\n<00:00:06.000><c>plain</c> words &amp; more\n\n"
        "00:10.000 --> 00:11.000\n\n",
        encoding="utf-8",
    )
    found = read_transcript(path).cues
    assert found == (
        Cue(1.5, 4.0, "Hello there", "Mary"),
        Cue(5.0, 3601.0, "plain words & more"),
    )
    others = [each for each in webvtt.read(path) if each.text.strip()]
    assert [each.start_in_seconds for each in others] == [1, 5]
    assert [" ".join(each.text.split()) for each in others][:1] == ["Hello there"]
    assert others[0].voice == "Mary"


def test_json_as_whisper_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    words = [{"word": " Hello", "start": 0.0, "end": 0.4}, {"word": " you"}]
    segment = {"id": 0, "start": 0, "end": 1.5, "text": " Hello you", "speaker": "A", "words": words}
    path.write_text(json.dumps({"text": " Hello you", "segments": [segment], "language": "en"}))
    [cue] = read_transcript(path).cues
    # An aligner leaves words without times; they lie between their neighbours.
    assert cue == Cue(0.0, 1.5, "Hello you", "A", (Word(0.0, 0.4, "Hello"), Word(0.4, 1.5, "you")))
    assert not read_transcript(path).is_words


def test_cues_without_an_empty_line_between_them(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(
        "1\n00:00:01 --> 00:00:02\nHello\n2\n00:00:03,5 --> 00:00:04,000\n{\\i1}<B>World</B>{\\i0}\n3\n"
    )
    first, second = read_transcript(path).cues
    assert first == Cue(1.0, 2.0, "Hello")
    assert (second.start, second.end, second.text) == (3.5, 4.0, "World 3")


def test_what_says_nothing_is_left_out_before_its_times_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text("1\n00:00:01,000 --> 00:00:01,000\n\n2\n00:00:03,000 --> 00:00:04,000\nyes\n")
    assert read_transcript(path).cues == (Cue(3.0, 4.0, "yes"),)
    silent = {"start": 2, "end": 2, "text": "", "words": []}
    assert as_transcript({"segments": [silent, {"start": 3, "end": 4, "text": "yes"}]}).cues == (
        Cue(3.0, 4.0, "yes"),
    )
    (tmp_path / "empty.srt").write_text("")
    assert read_transcript(tmp_path / "empty.srt").cues == as_transcript({"segments": []}).cues == ()


def test_json_as_whisper_cpp_writes_it() -> None:
    items = [{"timestamps": {}, "offsets": {"from": 500, "to": 1500}, "text": " Hello"}]
    assert as_transcript({"transcription": items}).cues == (Cue(0.5, 1.5, "Hello"),)


def test_words_without_times_lie_between_their_neighbours() -> None:
    words = [
        {"word": "in", "start": 0, "end": 1},
        {"word": "2014"},
        {"word": "at", "start": 2, "end": 9},
        {"word": "$5"},
    ]
    [cue] = as_transcript([{"start": 0, "end": 3, "text": "in 2014 at $5", "words": words}]).cues
    assert cue.words == (Word(0, 1, "in"), Word(1, 2, "2014"), Word(2, 3, "at"), Word(3, 3, "$5"))


def test_words_of_scripts_without_spaces_are_spread_too() -> None:
    words = Cue(0, 6, "今天 abc").timed_words()
    assert [word.text for word in words] == ["今", "天", "abc"]
    assert [word.start for word in words] == [0, 1.5, 3.0]


def test_words_alone_are_no_segments() -> None:
    found = as_transcript([{"word": "a", "start": 0, "end": 0.5}, {"word": "b", "start": 0.5, "end": 0.5}])
    assert found.is_words
    assert [word.text for word in found.words(0, 1)] == ["a", "b"]


def test_words_are_spread_by_their_letters() -> None:
    # "ab" and "abcd", each with a space: 3 of 8 and 5 of 8.
    assert Cue(10, 18, "ab  abcd").timed_words() == (Word(10.0, 13.0, "ab"), Word(13.0, 18.0, "abcd"))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 10)), max_size=20), st.floats(0, 110))
def test_every_word_is_on_one_side_of_any_time(times: list[tuple[float, float]], at: float) -> None:
    cues = [Cue(start, start + seconds, f"w{i} x{i}") for i, (start, seconds) in enumerate(sorted(times))]
    transcript = as_transcript(cues)
    before, after = transcript.words(0, at), transcript.words(at, 1_000)
    assert sorted(w.text for w in before + after) == sorted(w for cue in cues for w in cue.text.split())
    assert all((word.start + word.end) / 2 <= at for word in before)


def test_another_speaker_is_left_out_where_speakers_are_known() -> None:
    transcript = Transcript((Cue(0, 2, "mine", "A"), Cue(0.1, 2, "yours", "B"), Cue(0.2, 2, "whose")))
    assert [word.text for word in transcript.words(0, 2, "A")] == ["mine", "whose"]
    assert [word.text for word in transcript.words(0, 2)] == ["mine", "yours", "whose"]
    assert len(transcript.words(0, 2, "SPEAKER_00")) == 3


BAD = {
    "a.srt: backwards": (
        "1\n00:00:02,000 --> 00:00:01,000\nno\n",
        "a.srt:2: from 2 to 1 s, expected 0 <= start < end",
    ),
    "a.srt: empty": (
        "1\n00:00:02,000 --> 00:00:02,000\nno\n",
        "a.srt:2: from 2 to 2 s, expected 0 <= start < end",
    ),
    "a.srt: order": (
        "1\n00:00:02,000 --> 00:00:03,000\na\n\n2\n00:00:01,000 --> 00:00:04,000\nb\n",
        "a.srt: cue 2: begins at 1 s, before the one before it (2 s), expected the order of time",
    ),
    "a.srt: times": (
        "1\n0:0:2 --> three\nno\n",
        "a.srt:2: '0:0:2 --> three', expected times as 00:00:01.500 --> 00:00:04.000",
    ),
    "a.vtt: header": (
        "00:01.000 --> 00:02.000\nno\n",
        "a.vtt:1: does not begin with WEBVTT, expected WebVTT",
    ),
    "a.json: no list": (
        '{"text": "no"}',
        "a.json: an object without segments, expected {segments: [{start, end, text}]}",
    ),
    "a.json: a word": ("3", "a.json: holds int, expected a list of {start, end, text}"),
    "a.json: no start": ('[{"end": 1, "text": "no"}]', "a.json: cue 1: start is missing, expected seconds"),
    "a.json: text": ('[{"start": 0, "end": 1}]', "a.json: cue 1: no text, expected a string"),
    "a.json: start": (
        '[{"start": "0", "end": 1, "text": "no"}]',
        "a.json: cue 1: start is '0', expected seconds",
    ),
    "a.json: huge": (
        '[{"start": 0, "end": 1' + "0" * 400 + ', "text": "no"}]',
        "a.json: cue 1: from 0 to inf s, expected 0 <= start < end",
    ),
    "a.json: words": (
        '[{"start": 0, "end": 1, "text": "no", "words": 5}]',
        "a.json: cue 1: words are int, expected a list of objects",
    ),
    "a.json: null": (
        '[{"start": 0, "end": 1, "text": "no", "words": [{"word": null, "start": 0, "end": 1}]}]',
        "a.json: cue 1: a word is NoneType, expected a string",
    ),
    "a.srt: arrows": (
        "1\n00:00:01,000 -> 00:00:02,000\nno\n",
        "a.srt: no cue, expected times as 00:00:01,500 --> 00:00:04,000",
    ),
    "a.json: item": ('["no"]', "a.json: cue 1: is str, expected an object with start, end and text"),
    "a.txt: suffix": (
        "no times",
        "a.txt: ends in '.txt', expected a transcript with times: .srt, .vtt, .json",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_transcript(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    path = tmp_path / case.split(":")[0]
    path.write_text(content)
    with pytest.raises(TextError) as raised:
        read_transcript(path)
    assert str(raised.value) == f"{tmp_path}/{message}"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"none\.srt: No such file"):
        as_transcript(tmp_path / "none.srt")
    with pytest.raises(TextError, match=r"none\.json: not found"):
        as_transcript(str(tmp_path / "none.json"))
    (tmp_path / "a.srt").write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\n\xff\n")
    with pytest.raises(TextError, match="is not UTF-8"):
        as_transcript(tmp_path / "a.srt")
    with pytest.raises(TextError, match="is int, expected a file"):
        as_transcript(3)  # pyright: ignore[reportArgumentType]
