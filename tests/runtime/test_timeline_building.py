"""A timeline's segments are what predict answers for their windows, at the right times."""

import dataclasses
import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mtab
from mtab import Model
from mtab.errors import AudioError, DataError, MtabError, TextError
from mtab.timeline.building import TimelineBuilder, TimelineOptions
from mtab.timeline.timeline import Gap, Segment, Timeline
from mtab.timeline.transcript import Cue

HIGH, LOW = "high", "low"


def sound(label: str, seconds: float) -> np.ndarray:
    """What the tones' model was taught."""
    random = np.random.default_rng(round(seconds * 1000))
    time = np.arange(round(seconds * 16_000)) / 16_000
    return 0.3 * np.sin(2 * np.pi * (700 if label == HIGH else 150) * time) + random.normal(
        0, 0.02, len(time)
    )


RECORDING = np.concatenate(
    [sound(HIGH, 0.4), sound(LOW, 0.4), sound(LOW, 0.3), np.zeros(8_000), sound(HIGH, 0.5)]
)
CUES = [
    Cue(0.0, 0.4, "it is high", "A"),
    Cue(0.4, 0.8, "it is low", "B"),
    Cue(0.8, 1.1, "it is low", "B"),
    Cue(1.6, 2.1, "it is high", "A"),
]


def test_cues_are_segments_and_each_is_what_predict_answers(model: Model) -> None:
    timeline = model.timeline(RECORDING, CUES)
    assert (timeline.segments_from, timeline.text_from) == ("cues", "transcript")
    assert timeline.complete
    assert timeline.duration == pytest.approx(2.1)
    assert timeline.recording == "audio array"
    assert [(s.start, s.end) for s in timeline.segments] == [(c.start, c.end) for c in CUES]
    assert [s.label for s in timeline.segments] == [HIGH, LOW, LOW, HIGH]
    for segment, cue in zip(timeline.segments, CUES, strict=True):
        expected = model.predict(RECORDING[round(cue.start * 16_000) : round(cue.end * 16_000)], cue.text)
        assert segment.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
        assert (segment.text, segment.speaker, segment.modalities) == (
            cue.text,
            cue.speaker,
            ("audio", "text"),
        )
    assert timeline.speakers == ("A", "B")
    assert timeline.shares == pytest.approx({HIGH: 0.9 / 1.6, LOW: 0.7 / 1.6})


def test_segments_take_the_transcripts_words(model: Model) -> None:
    words = [
        {"word": word, "start": at, "end": at + 0.05}
        for at, word in ((0.05, "it"), (0.2, "is"), (0.5, "low"))
    ]
    timeline = model.timeline(RECORDING, words, segments=[(0.45, 0.8, "B"), (0, 0.4, "A")])
    assert (timeline.segments_from, timeline.text_from) == ("segments", "transcript")
    assert [(s.start, s.text, s.speaker) for s in timeline.segments] == [
        (0.0, "it is", "A"),
        (0.45, "low", "B"),
    ]
    assert timeline.segments[1].words[0].start == 0.5


def test_windows_are_averaged(dropping: Model) -> None:
    options = TimelineOptions(window=0.5, overlap=0.3)
    timeline = dropping.timeline(RECORDING, segments=[(0, 1.0)], options=options)
    answers = [
        np.array(
            [
                *dropping.predict(
                    RECORDING[round(a * 16_000) : round((a + 0.5) * 16_000)]
                ).probabilities.values()
            ]
        )
        for a in (0.0, 1 / 6, 2 / 6, 0.5)
    ]
    bounds = [0.0, 1 / 6, 2 / 6, 0.5, 4 / 6, 5 / 6, 1.0]
    windows = [(0.0, 0.5), (1 / 6, 4 / 6), (2 / 6, 5 / 6), (0.5, 1.0)]
    rows = []
    for a, b in itertools.pairwise(bounds):
        rows.append(
            (a, b, np.mean([r for r, w in zip(answers, windows, strict=True) if w[0] <= a < w[1]], axis=0))
        )
    # Neighbours of one label are one segment, the mean by time.
    expected: list[list] = []
    for a, b, row in rows:
        if expected and expected[-1][3] == row.argmax():
            expected[-1][2] += (b - a) * row
            expected[-1][1] = b
        else:
            expected.append([a, b, (b - a) * row, row.argmax()])
    assert len(timeline.segments) == len(expected)
    for segment, (a, b, total, best) in zip(timeline.segments, expected, strict=True):
        assert (segment.start, segment.end) == pytest.approx((a, b), abs=1e-4)
        assert segment.label == dropping.labels[best]
        np.testing.assert_allclose([*segment.probabilities.values()], total / (b - a), atol=1e-4)


def test_speech_is_found(dropping: Model, spoken: tuple[np.ndarray, list[tuple[float, float]]]) -> None:
    samples, times = spoken
    timeline = dropping.timeline(samples)
    assert (timeline.segments_from, timeline.text_from) == ("speech", None)
    assert {s.text for s in timeline.segments} == {None}
    covered = [any(s.start <= (a + b) / 2 < s.end for s in timeline.segments) for a, b in times]
    assert covered == [True] * 3
    joined = dropping.timeline(samples, options=TimelineOptions(merge=5))
    labels = [s.label for s in timeline.segments]
    assert [s.label for s in joined.segments] == [label for label, _ in itertools.groupby(labels)]


def test_silence_has_no_segment(dropping: Model) -> None:
    timeline = dropping.timeline(np.zeros(48_000))
    assert (timeline.segments, timeline.failures, timeline.complete, timeline.duration) == ((), (), True, 3.0)
    assert timeline.shares == {}


def test_transcribed_speech(dropping: Model, spoken: tuple[np.ndarray, list[tuple[float, float]]]) -> None:
    asked: list[int] = []

    def recognise(samples: np.ndarray) -> str:
        asked.append(len(samples))
        assert samples.dtype == np.float32
        return f"phrase {len(asked)}"

    timeline = dropping.timeline(spoken[0], transcribe=recognise)
    assert timeline.text_from == "recognise"
    said = " ".join(s.text or "" for s in timeline.segments)
    assert said.split() == ["phrase", "1", "phrase", "2", "phrase", "3"]
    assert all(s.modalities == ("audio", "text") for s in timeline.segments if s.text)


def test_a_file_at_48_khz_in_stereo_is_as_its_clips(dropping: Model, tmp_path: Path) -> None:
    import soxr

    path = tmp_path / "meeting.flac"
    wide = soxr.resample(RECORDING, 16_000, 48_000)
    soundfile.write(path, np.stack([wide, wide], axis=1), 48_000)
    timeline = dropping.timeline(path, CUES)
    assert timeline.recording == str(path)
    for segment, cue in zip(timeline.segments, CUES, strict=True):
        [expected] = dropping.stream([mtab.Input(path, cue.text, cue.start, cue.end)])
        # A part that is resampled alone differs at its ends.
        assert segment.probabilities == pytest.approx(expected.probabilities, abs=0.02)


def test_overlapping_segments_stay_apart(model: Model) -> None:
    long = np.tile(RECORDING, 40)
    timeline = model.timeline(
        long,
        [Cue(0, 80, "it is high " * 100)],
        segments=[(0, 80, "A"), (10, 10.4, "B"), (30, 30.4, "B")],
        options=TimelineOptions(window=2, overlap=0),
        on_error="skip",
    )
    by = {speaker: [s for s in timeline.segments if s.speaker == speaker] for speaker in "AB"}
    assert [(s.start, s.end) for s in by["B"]] == [(10, 10.4), (30, 30.4)]
    assert sum(s.seconds for s in by["A"]) == pytest.approx(80)
    # Where the label stays, a long segment is not cut at its pieces.
    assert all(a.label != b.label for a, b in itertools.pairwise(by["A"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 1900), st.integers(40, 1000)), min_size=1, max_size=8),
    st.sampled_from([(0.5, 0.25), (0.3, 0.0), (1.0, 0.9)]),
)
def test_every_segment_is_covered_once(
    counting: Callable[[], Model], spans: list[tuple[int, int]], sizes: tuple[float, float]
) -> None:
    regions = [(a / 1000, min(a + d, 2100) / 1000, str(i)) for i, (a, d) in enumerate(spans)]
    timeline = counting().timeline(
        RECORDING, segments=regions, options=TimelineOptions(window=sizes[0], overlap=sizes[1])
    )
    for start, end, speaker in regions:
        found = [s for s in timeline.segments if s.speaker == speaker]
        assert found[0].start == pytest.approx(start, abs=1e-4)
        assert found[-1].end == pytest.approx(end, abs=1e-4)
        assert all(a.end == b.start and a.label != b.label for a, b in itertools.pairwise(found))


@pytest.fixture
def counting(counting_bundle: Callable[[str], Path]) -> Callable[[], Model]:
    loaded: list[Model] = []

    def model() -> Model:
        if not loaded:
            loaded.append(mtab.load(counting_bundle("audio"), threads=1))
        return loaded[0]

    return model


def test_memory_is_bounded(counting: Callable[[], Model], tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 16_000, 1, subtype="PCM_16") as file:
        for _ in range(1_800):
            file.write(np.random.default_rng(0).normal(0, 0.1, 16_000))
    model = counting()

    def peak(seconds: float) -> int:
        tracemalloc.start()
        builder = TimelineBuilder(model, path, segments=[(0.0, seconds)])
        for _ in builder:
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # Half an hour in float32 is 115 MB; what is held is up to 32 batches of windows.
    assert peak(1_800) < 60e6 + 1.5 * peak(600)


def test_the_label_is_unknown_where_it_is_not_sure(model: Model) -> None:
    timeline = model.timeline(RECORDING, CUES, options=TimelineOptions(abstain=1.0))
    assert {s.label for s in timeline.segments} == {"unknown"}


def test_what_has_no_answer(model: Model) -> None:
    cues = [*CUES[:1], Cue(0.5, 0.51, "it is low"), *CUES[2:]]
    with pytest.raises(AudioError) as raised:
        model.timeline(RECORDING, cues)
    message = "160 samples at 16 kHz (0.0100 s), expected at least 400 (0.0250 s)"
    assert str(raised.value) == f"audio array: 0.50 to 0.51 s: {message}"
    timeline = model.timeline(RECORDING, cues, on_error="skip")
    assert timeline.failures == (Gap(0.5, 0.51, message),)
    assert len(timeline.segments) == 3
    with pytest.raises(TextError, match=r"0\.00 to 0\.40 s: no transcript, expected one"):
        model.timeline(RECORDING, segments=[(0, 0.4)])
    with pytest.raises(TextError, match="no transcript"):
        model.timeline(RECORDING, [], segments=[(0, 0.4)])


def test_a_pause_in_a_cue_is_no_gap(model: Model) -> None:
    words = [{"word": "it", "start": 0.0, "end": 0.1}, {"word": "high", "start": 0.95, "end": 1.0}]
    cue = {"start": 0.0, "end": 1.0, "text": "it high", "words": words}
    options = TimelineOptions(window=0.4, overlap=0.2)
    timeline = model.timeline(RECORDING, [cue], options=options, on_error="skip")
    # 0.2 to 0.6 s and 0.4 to 0.8 have no word; what no other window covers is 0.4 to 0.6.
    assert [(gap.start, gap.end) for gap in timeline.failures] == [(0.4, 0.6)]
    assert (timeline.segments[0].start, timeline.segments[-1].end) == (0.0, 1.0)
    assert not any(s.start < 0.5 < s.end for s in timeline.segments)
    with pytest.raises(TextError, match=r"0\.40 to 0\.60 s: no transcript"):
        model.timeline(RECORDING, [cue], options=options)
    cue["words"] = [*words[:1], {"word": "is", "start": 0.45, "end": 0.5}, *words[1:]]
    assert model.timeline(RECORDING, [cue], options=options).failures == ()


def test_a_script_without_spaces_longer_than_a_window(model: Model) -> None:
    timeline = model.timeline(RECORDING, [Cue(0, 2, "今天天气真好")], options=TimelineOptions(window=0.5))
    assert "".join(s.text or "" for s in timeline.segments) == "今天天气真好"
    assert (timeline.segments[0].start, timeline.segments[-1].end) == (0, 2)


def test_a_recogniser_that_fails(
    dropping: Model, spoken: tuple[np.ndarray, list[tuple[float, float]]]
) -> None:
    asked: list[int] = []

    def recognise(samples: np.ndarray) -> str:
        asked.append(1)
        if len(asked) == 2:
            raise RuntimeError("no")
        return "it is high"

    with pytest.raises(TextError, match=r"audio array: .* to .* s: recognise: fails \(no\), expected"):
        dropping.timeline(spoken[0], transcribe=recognise)
    asked.clear()
    timeline = dropping.timeline(spoken[0], transcribe=recognise, on_error="skip")
    assert [gap.error for gap in timeline.failures] == ["recognise: fails (no), expected a transcript"]
    assert len(asked) == 3
    start, end = spoken[1][1]
    assert timeline.failures[0].start < start + 0.2 < end - 0.3 < timeline.failures[0].end
    assert not any(s.start < (start + end) / 2 < s.end for s in timeline.segments)


def test_what_reaches_beyond_the_recording(model: Model, tmp_path: Path) -> None:
    with pytest.raises(TextError) as raised:
        model.timeline(RECORDING, [*CUES, Cue(3.0, 4.0, "late")])
    found = "ends at 4.00 s, and the recording at 2.10 s"
    assert str(raised.value) == f"transcript: cue 5: {found}, expected the recording's own transcript"
    with pytest.raises(DataError) as error:
        model.timeline(RECORDING, CUES, segments=[(2.2, 2.4)])
    assert str(error.value) == (
        "audio array: 2.10 s long, expected at least 2.40 s: a segment is from 2.20 to 2.40 s"
    )
    # Subtitles stay a while, to be read.
    last = dataclasses.replace(CUES[-1], end=2.9)
    assert model.timeline(RECORDING, [*CUES[:-1], last]).segments[-1].end == pytest.approx(2.1)


def test_what_was_found_before_an_error_or_an_interruption_is_kept(model: Model, tmp_path: Path) -> None:
    builder = TimelineBuilder(model, RECORDING, CUES)
    found = iter(builder)
    assert isinstance(next(found), Segment)
    timeline = builder.timeline()
    assert not timeline.complete
    assert timeline.duration == pytest.approx(0.4)
    assert [s.label for s in timeline.segments] == [HIGH]
    # The last second is damaged: it shows once it is decoded.
    path = tmp_path / "a.wav"
    samples = RECORDING.astype(np.float32)
    samples[30_000] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    builder = TimelineBuilder(model, path, CUES)
    with pytest.raises(AudioError, match=r"a\.wav: holds a sample of nan"):
        list(builder)
    assert [s.label for s in builder.timeline().segments] == [HIGH, LOW]


def test_a_transcript_or_a_recogniser(model: Model) -> None:
    with pytest.raises(MtabError, match="a transcript and transcribe, expected one of them"):
        model.timeline(RECORDING, CUES, transcribe=lambda samples: "no")


@pytest.mark.parametrize(
    "values",
    [{"window": 0.01}, {"window": 31}, {"overlap": 4.9}, {"overlap": -1}, {"merge": -1}, {"abstain": 2}],
)
def test_what_options_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(MtabError, match="expected"):
        TimelineOptions(**values)  # pyright: ignore[reportArgumentType]


def test_a_timeline_is_plain_values(model: Model) -> None:
    timeline = model.timeline(RECORDING, CUES)
    assert isinstance(timeline, Timeline)
    values = timeline.to_dict()
    assert values["segments"][0]["words"][0]["text"] == "it"


def test_dimensions_are_averaged_too(rated_bundle: Path) -> None:
    rated = mtab.load(rated_bundle, threads=1)
    options = TimelineOptions(window=0.4, overlap=0.2)
    recording = sound(HIGH, 0.6)
    timeline = rated.timeline(recording, [Cue(0, 0.6, "high is high")], options=options)
    assert timeline.dimensions == rated.dimensions == ("valence", "arousal")
    windows = [(0.0, 0.4), (0.2, 0.6)]
    words = timeline.segments[0].words
    answers = [
        rated.predict(
            recording[round(a * 16_000) : round(b * 16_000)],
            " ".join(word.text for word in words if a <= (word.start + word.end) / 2 < b),
        )
        for a, b in windows
    ]
    assert len(timeline.segments) == 1
    for name, found in (timeline.segments[0].dimensions or {}).items():
        first, second = ((each.dimensions or {})[name] for each in answers)
        # 0.2 s of the first window alone, of both, and of the second.
        assert found == pytest.approx((first + (first + second) / 2 + second) / 3, abs=1e-5)
