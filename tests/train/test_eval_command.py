"""`mtab-train eval`: the test set again, or other data; what is refused."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mtab.data import Corpus
from mtab_train.start import Start, begin_run

from .commands import run


def relabel(root: Path, change: Callable[[str], str]) -> None:
    manifest = root / "manifest.csv"
    header, *rows = [row.split(",") for row in manifest.read_text().splitlines()]
    rows = [[*row[:2], change(row[2]), *row[3:]] for row in rows]
    manifest.write_text("\n".join(",".join(row) for row in [header, *rows]))


def test_the_test_set_again_gives_the_same(tone_run: Path, tmp_path: Path) -> None:
    done = run(
        "eval", tone_run, "--out", tmp_path / "scores", "--batch-size", 2, "--device", "cpu", "--threads", 1
    )
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "scores" / "scores.json").read_text())
    test = json.loads((tone_run / "results.json").read_text())["test"]
    for key in ("war", "uar", "weighted_f1", "utterances", "confusion_matrix"):
        assert found["scores"][key] == test[key]
    assert found["scores"]["loss"] == pytest.approx(test["loss"], abs=1e-5)
    assert found["scores"]["ece"]["after"] == pytest.approx(test["ece"]["after"], abs=1e-5)
    before, again = (
        list(csv.DictReader((folder / "predictions.csv").open()))
        for folder in (tone_run, tmp_path / "scores")
    )
    assert [row["predicted"] for row in again] == [row["predicted"] for row in before]
    assert (tmp_path / "scores" / "confusion_matrix.png").is_file()
    assert f"WAR {test['war']:.3f}  UAR {test['uar']:.3f}" in done.output
    assert "chance: WAR 0.500  UAR 0.500" in done.output
    refused = run("eval", tone_run, "--out", tmp_path / "scores")
    assert refused.exit_code == 1
    assert "exists already" in refused.stderr


def test_other_data_with_fewer_classes(tone_run: Path, tmp_path: Path, make_tones) -> None:
    """High tones that are called low: a model that hears is wrong about each, and no better than chance."""
    relabel(make_tones(tmp_path), lambda label: "low")
    done = run("eval", tone_run, "--dataset", "manifest", "--data-dir", tmp_path)
    assert done.exit_code == 0, done.output
    assert "36 utterances of" in done.output
    assert "The model is at chance" in done.output
    assert "high" in done.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda label: "joy" if label == "low" else label, "label 'joy', expected those of"),
        (lambda label: label, "is the corpus that"),
    ],
)
def test_data_that_cannot_be_scored(
    tone_run: Path, tmp_path: Path, make_tones, change: Callable[[str], str], message: str
) -> None:
    relabel(make_tones(tmp_path), change)
    refused = run(
        "eval", tone_run, "--dataset", "manifest", "--data-dir", tmp_path, "--out", tmp_path / "out"
    )
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert message in refused.stderr
    assert not (tmp_path / "out").exists()


def test_other_labels_by_a_map(tone_run: Path, tmp_path: Path, make_tones) -> None:
    """As if they were called so; what the map leaves out is not scored."""
    root = make_tones(tmp_path)
    rows = (root / "manifest.csv").read_text().replace(",low,0", ",hum,0").splitlines()
    renamed = [row.replace(",high,", ",shrill,").replace(",low,", ",deep,") for row in rows]
    table = tmp_path / "labels.csv"
    table.write_text("label,mapped\nshrill,high\ndeep,low\nhum,\n")
    scores = []
    for lines, options in (
        ([row for row in rows if ",hum," not in row], ()),
        (renamed, ("--label-map", table)),
    ):
        (root / "manifest.csv").write_text("\n".join(lines) + "\n")
        out = tmp_path / f"out{len(scores)}"
        corpus = ("--dataset", "manifest", "--data-dir", root)
        done = run("eval", tone_run, *corpus, *options, "--out", out, "--device", "cpu")
        assert done.exit_code == 0, done.output
        scores.append(json.loads((out / "scores.json").read_text())["scores"])
    assert scores[0] == scores[1]
    assert scores[0]["utterances"] == 36 - 3
    refused = run("eval", tone_run, "--label-map", table)
    assert (refused.exit_code, refused.stderr.splitlines()[-1]) == (2, "Error: --label-map needs --dataset")


def test_an_unfinished_run_is_refused(tmp_path: Path, start: Start, tones: Corpus) -> None:
    begin_run(tmp_path / "run", start, tones, "speaker", "speaker-0")
    refused = run("eval", tmp_path / "run")
    assert refused.exit_code == 1
    assert "has not finished" in refused.stderr
