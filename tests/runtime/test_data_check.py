"""Finding a corpus, checking its clips, and the hash that follows its content."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtab.data import SYNTHETIC_MARKER, corpus_hash, find_data_dir, read_corpus, validate
from mtab.data.check import clip_seconds, measure
from mtab.errors import AudioError, DataError


def write_tone(file: Path, seconds: float = 0.5, rate: int = 16000) -> Path:
    samples = 0.1 * np.sin(np.arange(round(seconds * rate)) * 0.05)
    soundfile.write(file, samples, rate)
    return file


def write_mp4(file: Path, seconds: float = 0.5, video: bool = False) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(file), "w") as container:
        if video:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 32
            frames = [av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")]
        else:
            stream = container.add_stream("aac", rate=16000, layout="mono")
            samples = np.zeros((1, round(seconds * 16000)), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.rate, frame.time_base, frame.pts = 16000, Fraction(1, 16000), 0
            frames = [frame]
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_seconds_of_sound_files(tmp_path: Path, suffix: str) -> None:
    assert clip_seconds(write_tone(tmp_path / f"a.{suffix}", 0.5, 22050)) == pytest.approx(0.5, abs=1e-3)


def test_seconds_of_a_container(tmp_path: Path) -> None:
    # AAC comes in frames of 1024 samples.
    assert clip_seconds(write_mp4(tmp_path / "a.mp4", 0.5)) == pytest.approx(0.5, abs=0.13)


def test_what_is_no_clip(tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("This is no sound.")
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    silent = tmp_path / "no_sample.wav"
    soundfile.write(silent, np.zeros(0), 16000)
    for file, message in [
        (text, "unreadable"),
        (empty, "unreadable"),
        (silent, "no sample"),
        (tmp_path / "nowhere.wav", "not found"),
        (tmp_path, "not found"),
        (tmp_path / ("a" * 300 + ".wav"), "expected a clip"),
    ]:
        with pytest.raises(AudioError, match=message) as error:
            clip_seconds(file)
        assert "\n" not in str(error.value)


def test_a_container_without_sound(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no audio stream"):
        clip_seconds(write_mp4(tmp_path / "silent_film.mp4", video=True))


def test_validate_lists_and_leaves_out(tmp_path: Path) -> None:
    write_tone(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_text("no sound")
    (tmp_path / "manifest.csv").write_text(
        "audio,text,label,start,end\n"
        "good.wav,Hi,x,,\n"
        "good.wav,Hi,x,0.1,0.3\n"
        "good.wav,Hi,x,0.25,\n"
        "good.wav,Hi,x,0.1,0.9\n"
        "bad.wav,Hi,x,,\n"
        "gone.wav,Hi,x,,\n"
        ",Hi,x,,\n"
    )
    corpus, seconds = measure(read_corpus("manifest", tmp_path))
    assert [u.id for u in corpus.utterances] == ["good.wav", "good.wav@0.1-0.3", "good.wav@0.25-", "line8"]
    assert [problem.file.name for problem in corpus.problems] == ["good.wav", "bad.wav", "gone.wav"]
    assert "0.50 s long, expected at least 0.90 s" in corpus.problems[0].message
    assert seconds == pytest.approx({"good.wav": 0.5, "good.wav@0.1-0.3": 0.2, "good.wav@0.25-": 0.25})
    assert validate(corpus).utterances == corpus.utterances


def test_hash_follows_content(tmp_path: Path) -> None:
    clip = write_tone(tmp_path / "a.wav")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("audio,text,label\na.wav,Hi,x\n")
    first = corpus_hash(read_corpus("manifest", tmp_path).utterances)
    assert corpus_hash(read_corpus("manifest", tmp_path).utterances) == first
    manifest.write_text("audio,text,label\na.wav,Ho,x\n")
    second = corpus_hash(read_corpus("manifest", tmp_path).utterances)
    write_tone(clip, 0.6)
    assert len({first, second, corpus_hash(read_corpus("manifest", tmp_path).utterances)}) == 3


def test_the_synthetic_marker_shows_in_the_title(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("audio,text,label\na.wav,Hi,x\n")
    assert read_corpus("manifest", tmp_path).title == tmp_path.name
    (tmp_path / SYNTHETIC_MARKER).touch()
    assert read_corpus("manifest", tmp_path).title == "manifest layout, synthetic speech"


def test_where_a_corpus_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTAB_DATA", raising=False)
    with pytest.raises(DataError, match=r"tried data/meld; give --data-dir"):
        find_data_dir("meld", None)
    (tmp_path / "data/meld").mkdir(parents=True)
    assert find_data_dir("meld", None) == Path("data/meld")
    monkeypatch.setenv("MTAB_DATA", str(tmp_path / "corpora"))
    assert find_data_dir("meld", None) == Path("data/meld")
    (tmp_path / "corpora/meld").mkdir(parents=True)
    assert find_data_dir("meld", None) == tmp_path / "corpora/meld"
    with pytest.raises(DataError, match="tried elsewhere"):
        find_data_dir("meld", Path("elsewhere"))


def test_an_unknown_corpus(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="expected one of iemocap, meld, ravdess, cremad, tess, nemo, emodb, manifest"
    ):
        read_corpus("savee", tmp_path)


def test_reading_needs_neither_torch_nor_av() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'transformers', 'sklearn', 'av'])); "
        "import mtab.data; assert 'mtab_train' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
