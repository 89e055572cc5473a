"""A long recording is judged as its known turns say."""

import wave
from pathlib import Path

import numpy as np
import pytest

import mtab
from mtab.data import Corpus
from mtab.errors import DataError
from mtab.timeline.timeline import Segment, Timeline
from mtab_bench.sections.timeline import Turn, _shares, measure_timeline
from mtab_bench.sections.vad import measure_detectors, read_turns
from mtab_bench.test_set import read_test_set


def test_the_share_of_each_label_in_each_turn() -> None:
    def segment(start: float, end: float, label: str) -> Segment:
        return Segment(start, end, label, {label: 1.0})

    segments = (segment(0.5, 2, "a"), segment(2, 3, "b"), segment(3.5, 6, "a"), segment(9, 10, "b"))
    timeline = Timeline("", 10, True, ("a", "b"), (), "speech", None, segments)
    turns = [Turn(0, 2.5, 0), Turn(3, 4, 1), Turn(5, 6.5, 2), Turn(7, 8, 3)]
    assert [dict(each) for each in _shares(timeline, turns)] == [
        {"a": 1.5, "b": 0.5},
        {"a": 0.5},
        {"a": 1.0},
        {},
    ]


def test_a_recording_of_test_clips(tone_bundle: Path, tones: Corpus) -> None:
    model = mtab.load(tone_bundle, threads=1)
    test = read_test_set(model.bundle, model.preprocess, "manifest", tones.root)
    found = measure_timeline(model, test, 0.004)
    assert found.seconds > 14
    assert found.turns >= 3
    assert 0 < found.real_time_factor == pytest.approx(found.wall / found.seconds)
    assert found.max_ram > 50e6
    # Silero takes tones for no speech: nothing is answered, and nothing is right.
    assert found.segments == 0
    assert (found.covered, found.time_agreement, found.war) == (0, 0, 0)
    assert found.clips_war > 0.5


def test_detectors_on_silence(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.zeros(32_000, np.int16).tobytes())
    (tmp_path / "turns.csv").write_text("audio,start,end,speaker\na.wav,0.5,1.0,A\n")
    ours = measure_detectors(read_turns(tmp_path / "turns.csv"))[0]
    assert (ours.missed, ours.false_alarm, ours.error) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    "content", [None, "audio,start\na.wav,0\n", "audio,start,end\n", "audio,start,end\na,b,c\n"]
)
def test_what_are_no_turns(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "turns.csv").write_text(content)
    with pytest.raises(DataError, match=r"turns\.csv: .*, expected "):
        read_turns(tmp_path / "turns.csv")
