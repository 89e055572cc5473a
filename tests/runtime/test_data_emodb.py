"""The EmoDB reader: everything is in the file names."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtab.data import read_corpus
from mtab.errors import DataError


def write_clips(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        soundfile.write(folder / name, np.zeros(1600), 16000)
    return folder


@pytest.mark.parametrize("folder", ["wav", "audio", "EmoDB/wav", "."])
def test_clip_folder_root_and_parent(tmp_path: Path, folder: str) -> None:
    write_clips(tmp_path / folder, "03a01Fa.wav", "16b10Wb.flac")
    (tmp_path / folder / "._03a01Fa.wav").write_bytes(b"\x00\x05\x16\x07")
    corpus = read_corpus("emodb", tmp_path)
    first, second = corpus.utterances
    assert (first.id, first.label, first.speaker) == ("03a01Fa", "happiness", "03")
    assert first.text == "Der Lappen liegt auf dem Eisschrank."
    assert (second.id, second.label, second.speaker) == ("16b10Wb", "anger", "16")
    assert corpus.problems == ()


def test_problems(tmp_path: Path) -> None:
    write_clips(tmp_path, "03a01Fa.wav", "03a01Fa.flac", "03a01Xa.wav", "notes.wav", "03b07Ta.wav")
    corpus = read_corpus("emodb", tmp_path)
    assert [utterance.id for utterance in corpus.utterances] == ["03a01Fa", "03b07Ta"]
    assert corpus.utterances[1].text is None
    assert {problem.file.name for problem in corpus.problems} == {
        "03a01Fa.wav",
        "03a01Xa.wav",
        "notes.wav",
        "03b07Ta.wav",
    }


def test_no_clip_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected EmoDB's clips"):
        read_corpus("emodb", tmp_path)


def test_the_real_corpus_agrees_with_its_manifest() -> None:
    data = os.environ.get("MTAB_TEST_DATA")
    if not data:
        pytest.skip("needs EmoDB: set MTAB_TEST_DATA to the folder that holds emodb/")
    root = Path(data) / "emodb"
    corpus = read_corpus("emodb", root)
    assert corpus.problems == ()
    with (root / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = {(root / r["audio"], r["text"], r["label"], r["speaker"]) for r in csv.DictReader(file)}
    assert len(corpus.utterances) == len(rows) == 408
    assert {(u.audio, u.text, u.label, u.speaker) for u in corpus.utterances} == rows
    assert len(read_corpus("manifest", root).utterances) == 408
