"""`mtab predict`: the answers, in every format."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import mtab
from mtab.data import Corpus

from .commands import answers, failure, run, wrong_use

# Results


def test_json(tone_bundle: Path, clip: Path, other: Path) -> None:
    model = mtab.load(tone_bundle, threads=1)
    found = answers(tone_bundle, clip, "--text", "it is high")
    expected = model.predict(clip, "it is high")
    assert found == [
        {
            "utterance": str(clip),
            "label": "high",
            "probabilities": expected.probabilities,
            "duration": expected.duration,
            "modalities": ["audio", "text"],
            "text_truncated": False,
        }
    ]


def test_csv(tone_bundle: Path, clip: Path, other: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("it is high\n" + "it is low " * 5_000 + "\n")
    arguments = (tone_bundle, clip, other, "--text-file", tmp_path / "t.txt")
    code, out, err = run("predict", *arguments, "--threads", 1, "--format", "csv")
    assert (code, err) == (0, "")
    header = ["utterance", "label", "high", "low", "duration", "modalities", "text_truncated", "error"]
    rows = list(csv.DictReader(io.StringIO(out)))
    assert out.endswith("\n")
    assert out.count("\n") == 3
    for row, expected in zip(rows, answers(*arguments), strict=True):
        assert list(row) == header
        assert row["utterance"] == expected["utterance"]
        assert row["label"] == expected["label"]
        assert {name: float(row[name]) for name in ("high", "low")} == expected["probabilities"]
        assert float(row["duration"]) == expected["duration"]
        assert row["modalities"] == "audio+text"
        assert row["text_truncated"] == str(expected["text_truncated"]).lower()
        assert row["error"] == ""
    assert [row["text_truncated"] for row in rows] == ["false", "true"]


def test_csv_quotes_names(tone_bundle: Path, clip: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a, "b".wav'
    odd.write_bytes(clip.read_bytes())
    _, out, _ = run("predict", tone_bundle, odd, "--text", "a", "--format", "csv")
    assert next(csv.DictReader(io.StringIO(out)))["utterance"] == str(odd)


def test_table(drop_bundle: Path, clip: Path, tmp_path: Path) -> None:
    short = tmp_path / "s.wav"
    short.write_bytes(clip.read_bytes())
    (tmp_path / "m.csv").write_text(f"audio,text\ns.wav,{'it is high ' * 30}so\n,it is low\n{clip},\n")
    code, out, err = run("predict", drop_bundle, "--manifest", tmp_path / "m.csv", "--threads", 1)
    assert (code, err) == (0, "")
    header, rule, *lines = out.splitlines()
    starts = [i for i in range(len(rule)) if rule[i] == "-" and (i == 0 or rule[i - 1] == " ")]
    starts.append(len(rule))  # the notes, which have no header
    cells = [
        [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        for line in [header, *lines]
    ]
    found = answers(drop_bundle, "--manifest", tmp_path / "m.csv")
    assert cells[0] == ["utterance", "label", "high", "low", "seconds", "from", ""]
    for row, expected in zip(cells[1:], found, strict=True):
        probabilities = [f"{p:.3f}" for p in expected["probabilities"].values()]
        seconds = "-" if expected["duration"] is None else f"{expected['duration']:.2f}"
        note = "text truncated" if expected["text_truncated"] else ""
        shown = [expected["utterance"], expected["label"], *probabilities, seconds]
        assert row == [*shown, "+".join(expected["modalities"]), note]
    assert [row[0] for row in cells[1:]] == ["s.wav", "line3", str(clip)]
    assert [row[5:] for row in cells[1:]] == [["audio+text", "text truncated"], ["text", ""], ["audio", ""]]
    assert {line.index(row[2]) + len(row[2]) for line, row in zip(lines, cells[1:], strict=True)} == {
        starts[2] + 5
    }


def test_batches_change_nothing(tone_bundle: Path, tones: Corpus) -> None:
    manifest = tones.root / "manifest.csv"
    one, many = (answers(tone_bundle, "--manifest", manifest, "--batch-size", n) for n in (1, 7))
    assert [each["utterance"] for each in one] == [utterance.id for utterance in tones.utterances]
    assert [each["label"] for each in one] == [utterance.label for utterance in tones.utterances]
    for a, b in zip(one, many, strict=True):
        assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-5)
        assert {**a, "probabilities": 0} == {**b, "probabilities": 0}


def test_jsonl(drop_bundle: Path, tones: Corpus) -> None:
    arguments = (drop_bundle, "--manifest", tones.root / "manifest.csv", "--threads", 1)
    code, out, err = run("predict", *arguments, "--format", "jsonl")
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == answers(*arguments)


def test_json_is_indented_as_json_writes_it(drop_bundle: Path, clip: Path, other: Path) -> None:
    _, out, _ = run("predict", drop_bundle, clip, other, "--format", "json")
    assert out == json.dumps(json.loads(out), indent=2) + "\n"


def test_the_likeliest_classes(drop_bundle: Path, clip: Path) -> None:
    (whole,) = answers(drop_bundle, clip)
    label, (other,) = whole["label"], {"high", "low"} - {whole["label"]}
    (found,) = answers(drop_bundle, clip, "--top-k", 1)
    assert found == {**whole, "probabilities": {label: whole["probabilities"][label]}}
    _, out, _ = run("predict", drop_bundle, clip, "--top-k", 1, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (float(row[label]), row[other]) == (whole["probabilities"][label], "")
    _, out, _ = run("predict", drop_bundle, clip, "--top-k", 1)
    assert sorted(out.splitlines()[2].split()[2:4]) == ["-", f"{whole['probabilities'][label]:.3f}"]


def test_unknown(tone_bundle: Path, clip: Path, other: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("it is high\nit is low\n")
    arguments = (tone_bundle, clip, other, "--text-file", tmp_path / "t.txt")
    whole = answers(*arguments)
    for threshold, labels in ((0, [each["label"] for each in whole]), (1, ["unknown"] * 2)):
        found = answers(*arguments, "--abstain", threshold)
        assert [each["label"] for each in found] == labels
        assert [each["probabilities"] for each in found] == [each["probabilities"] for each in whole]


def test_embeddings(tone_bundle: Path, clip: Path, other: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a tone\na tone\na tone\n")
    path = tmp_path / "e.npy"
    bad = tmp_path / "bad.wav"
    arguments = (tone_bundle, other, bad, clip, "--text-file", tmp_path / "t.txt", "--embeddings", path)
    code, _, err = run("predict", *arguments, "--on-error", "skip", "--threads", 1)
    assert (code, err) == (
        0,
        f"no answer for 1 of 3 utterances, the first: {bad}: not found, expected a clip\n",
    )
    model = mtab.load(tone_bundle, threads=1)
    results = model.predict([other, clip], ["a tone"] * 2, return_embedding=True)
    saved = np.load(path, allow_pickle=False)
    assert (saved.dtype, saved.shape) == (np.float32, (3, 32))
    assert np.isnan(saved[1]).all()
    for row, result in zip(saved[[0, 2]], results, strict=True):
        assert result.embedding is not None
        np.testing.assert_allclose(row, result.embedding, rtol=1e-4, atol=1e-4)
    assert failure(*arguments, printed=1) == f"{bad}: not found, expected a clip"
    assert np.load(path, allow_pickle=False).shape == (1, 32)
    missing = tmp_path / "no" / "e.npy"
    found = failure(tone_bundle, clip, "--text", "a", "--embeddings", missing)
    assert found == f"{missing}: No such file or directory"


# Folders


def test_a_folder_is_its_audio_files(tone_bundle: Path, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    names = ["b.WAV", "a/c.wav", "a/d/e.wav"]
    for name in [*names, ".hidden.wav", "._b.wav", "notes.txt"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(clip.read_bytes())
    (tmp_path / "t.txt").write_text("a tone\n" * 4)
    (tmp_path / "empty").mkdir()
    found = answers(tone_bundle, folder, clip, "--text-file", tmp_path / "t.txt")
    expected = [*(str(folder / name) for name in sorted(names, key=lambda name: Path(name))), str(clip)]
    assert [each["utterance"] for each in found] == expected
    assert "--text is one transcript" in wrong_use("predict", tone_bundle, folder, "--text", "a")
    found = failure(tone_bundle, tmp_path / "empty", "--text", "a")
    message = f"{tmp_path / 'empty'}: holds no clip, expected files that end in .wav, .flac, .ogg, .mp3, "
    assert found.startswith(message)


def test_a_folder_without_a_clip_is_no_utterance(drop_bundle: Path, clip: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    arguments = ("predict", drop_bundle, empty, clip, "--threads", 1)
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert f"{empty}: holds no clip, expected files" in err
    code, out, err = run(*arguments, "--on-error", "skip", "--format", "jsonl")
    assert (code, len(out.splitlines())) == (0, 1)
    assert err.startswith(f"{empty}: holds no clip, expected files")
    assert run("predict", drop_bundle, empty, "--on-error", "skip", "--threads", 1)[0] == 1
