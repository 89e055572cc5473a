"""`mtab-train data`: what a corpus holds and what had to be skipped."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from mtab.data import read_corpus
from mtab_train.data_command import data, data_report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two speakers with 15 utterances each, of which 25 clips are missing."""
    rows = [f"{s}{i}.wav,Hi,{'xy'[i % 2]},{s}" for s in "ab" for i in range(15)]
    (tmp_path / "manifest.csv").write_text("\n".join(["audio,text,label,speaker", *rows, "c.wav,Hi,,a"]))
    for name in ("a0", "a1", "a2", "b0", "b1"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16000), 16000)
    return tmp_path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(data, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_report(folder: Path) -> None:
    report = data_report(read_corpus("manifest", folder))
    assert report["utterances"] == {"annotated": 30, "usable": 5}
    assert report["classes"] == {"x": {"annotated": 16, "usable": 3}, "y": {"annotated": 14, "usable": 2}}
    assert report["hours"]["from_clips"] == pytest.approx(5 / 3600)
    assert report["folds"]["scheme"] == "speaker"
    assert [fold["test"] for fold in report["folds"]["folds"]] == [{"x": 2, "y": 1}, {"x": 1, "y": 1}]
    assert report["problem_count"] == len(report["problems"]) == 26
    assert report["problems"][0] == {
        "file": str(folder / "manifest.csv"),
        "line": 32,
        "message": "no label, expected one",
    }


def test_faults_of_the_file_are_listed_and_slips_are_noticed(tmp_path: Path) -> None:
    file = tmp_path / "manifest.csv"
    file.write_text('audio,text,label\na.wav,Well, no,x\nb.wav,"Hi,x\nc.wav,Hi,Sad\nd.wav,Hi,sad\n')
    report = data_report(read_corpus("manifest", tmp_path))
    assert [each["line"] for each in report["problems"][:2]] == [2, 3]
    assert [each["line"] for each in report["notices"]] == [4]
    code, output = run("--dataset", "manifest", "--data-dir", tmp_path)
    assert code == 0
    assert f"{file}:2: 4 cells, expected 3" in output
    assert f"{file}:3: a quote opens here" in output
    assert f"notices: 1\n  {file}:4: labels 'Sad' (1), 'sad' (1) differ only in case" in output


def test_table(folder: Path) -> None:
    code, output = run("--dataset", "manifest", "--data-dir", folder, "--folds", "random:2")
    assert code == 0
    assert "30 utterances annotated, 5 usable" in output
    assert "problems: 26" in output
    assert f"{folder / 'manifest.csv'}:32: no label" in output
    assert "... and 6 more" in output


def test_json(folder: Path) -> None:
    code, output = run("--dataset", "manifest", "--data-dir", folder, "--json")
    assert code == 0
    assert json.loads(output) == data_report(read_corpus("manifest", folder))


def test_no_clip_at_all_is_reported_from_the_annotations(folder: Path) -> None:
    for clip in folder.glob("*.wav"):
        clip.unlink()
    report = data_report(read_corpus("manifest", folder))
    assert report["folds"]["of"] == "annotated"
    assert len(report["folds"]["folds"]) == 2
    code, output = run("--dataset", "manifest", "--data-dir", folder)
    assert code == 0
    assert "30 utterances annotated, 0 usable" in output


def test_names_of_columns(tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text("path,text,emotion\na.wav,Hi,x\n")
    arguments = ("--dataset", "manifest", "--data-dir", tmp_path / "calls.csv")
    code, output = run(*arguments, "--columns", "audio=path, label=emotion")
    assert code == 0
    assert output.startswith(f"calls in {tmp_path / 'calls.csv'}\n")
    for columns, message in (
        ("audio", "'audio', expected pairs such as"),
        ("=path", "'=path', expected pairs such as"),
        ("audio=path,audio=text", "'audio' a second time"),
    ):
        code, output = run(*arguments, "--columns", columns)
        assert code == 2
        assert message in output


def test_an_error_names_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the folder that it lies in, where others may lie too."""
    monkeypatch.chdir(tmp_path)
    Path("one.csv").write_text("text,label,speaker\nHi,x,a\nNo,y,a\n")
    Path("none.csv").write_text("text,label\n")
    for file, folds, expected in (
        ("one.csv", "speaker", "speaker makes one group"),
        ("one.csv", "random:11", "random:11 of 2 utterances"),
        ("one.csv", "session", "2 of 2 utterances have no session"),
        ("none.csv", "random:2", "no usable utterance"),
    ):
        output = run("--dataset", "manifest", "--data-dir", file, "--folds", folds)[1]
        assert output.startswith(f"Error: {file}: {expected}")


def test_failures_are_one_line(folder: Path) -> None:
    for arguments in (
        ("--dataset", "manifest", "--data-dir", folder, "--folds", "session"),
        ("--dataset", "iemocap", "--data-dir", folder),
        ("--dataset", "meld", "--data-dir", folder / "nowhere"),
    ):
        code, output = run(*arguments)
        assert code == 1
        assert output.startswith("Error: ")
        assert output.count("\n") == 1
    assert run("--dataset", "savee")[0] == 2
    code, output = run("--dataset", "manifest", "--data-dir", folder / "nowhere", "--folds", "random:x")
    assert (code, "'random:x', expected session, speaker, speaker-pair" in output) == (2, True)
