"""The hashes of the clips that a model learned from: of whole clips, and of those of the run before."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import soundfile

from mtab.data import Corpus
from mtab.data.clips import clip_hash, read_clips
from mtab.preprocess import Preprocessor
from mtab_train.run import open_run, run_parts
from mtab_train.start import Start

from .training import fit


def hashes(run: Path, corpus: Corpus, part: str) -> set[str]:
    preprocess = Preprocessor.from_folder(run)
    found = set()
    for utterance in getattr(run_parts(open_run(run), corpus), part):
        values = preprocess(utterance.audio, utterance.text).input_values
        assert values is not None
        found.add(clip_hash(values))
    return found


def test_clips_are_those_of_the_training_part(tone_run: Path, tones: Corpus) -> None:
    assert read_clips(tone_run) == hashes(tone_run, tones, "training")
    assert hashes(tone_run, tones, "training").isdisjoint(hashes(tone_run, tones, "test"))


def test_a_copy_in_another_format_is_the_same_clip(tone_run: Path, tones: Corpus, tmp_path: Path) -> None:
    preprocess = Preprocessor.from_folder(tone_run)
    clip = tones.utterances[0].audio
    assert clip is not None
    samples, rate = soundfile.read(clip, dtype="int16")
    soundfile.write(tmp_path / "copy.flac", samples, rate)
    one, other = (preprocess(path, "hi").input_values for path in (clip, tmp_path / "copy.flac"))
    assert one is not None
    assert other is not None
    assert clip_hash(one) == clip_hash(other) == hashlib.sha256(one.tobytes()).hexdigest()[:16]


def test_a_cut_clip_counts_whole(tmp_path: Path, start: Start, tones: Corpus, tone_run: Path) -> None:
    fit(tmp_path / "run", start, tones, epochs=1, max_seconds=0.1)
    assert read_clips(tmp_path / "run") == read_clips(tone_run)


def test_clips_of_the_run_before_count_too(
    tmp_path: Path, start: Start, tones: Corpus, tone_run: Path
) -> None:
    first = tmp_path / "first"
    shutil.copytree(tone_run, first)
    (first / "training_clips.json").write_text('{"clips": ["0123456789abcdef"]}')
    run = open_run(tone_run)
    fit(tmp_path / "run", dataclasses.replace(start, model=run.model, init_from=first), tones, epochs=1)
    assert read_clips(tmp_path / "run") == (read_clips(tone_run) or frozenset()) | {"0123456789abcdef"}
