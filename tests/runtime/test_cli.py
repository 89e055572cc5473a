"""`mtab` as it is typed."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import mtab
from mtab.cli import main
from mtab.data import Corpus
from mtab.errors import BundleError

MTAB = Path(sys.executable).with_name("mtab")


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def answers(*arguments: object) -> list[dict[str, Any]]:
    code, out, err = run("predict", *arguments, "--threads", 1, "--format", "json")
    assert (code, err) == (0, "")
    return json.loads(out)


def failure(*arguments: object, printed: int = 0) -> str:
    """The one line of a command that fails after that many answers."""
    code, out, err = run("predict", *arguments, "--threads", 1, "--format", "jsonl")
    assert (code, len(out.splitlines())) == (1, printed)
    assert err.startswith("Error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("Error: ").rstrip("\n")


def wrong_use(*arguments: object) -> str:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    return err.splitlines()[-1].removeprefix("Error: ")


@pytest.fixture
def clip(tones: Corpus) -> Path:
    return tones.root / "0-0.wav"


@pytest.fixture
def other(tones: Corpus) -> Path:
    return tones.root / "0-1.wav"


def tone(seconds: float, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    mono = 0.3 * np.sin(2 * np.pi * 700 * np.arange(round(seconds * rate)) / rate)
    return mono if channels == 1 else np.repeat(mono[:, None], channels, axis=1)


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
    (tmp_path / "m.csv").write_text(f"audio,text\ns.wav,{'it is high ' * 30}\n,it is low\n{clip},\n")
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


# Errors


@pytest.fixture
def with_bad(tones: Corpus, tmp_path: Path) -> Path:
    """A manifest of good clips with three in the midst that cannot be used."""
    rows = [f"{utterance.audio},{utterance.text}" for utterance in tones.utterances]
    (tmp_path / "text.wav").write_text("not a sound")
    bad = ["text.wav,a tone", "nowhere.wav,a tone", f"{tones.root / '0-0.wav'},"]
    content = "\n".join(
        ["id,audio,text", *(f"u{i},{row}" for i, row in enumerate(rows[:20] + bad + rows[20:]))]
    )
    (tmp_path / "m.csv").write_text(content + "\n")
    return tmp_path / "m.csv"


REASONS = (
    "text.wav: unreadable (",
    "nowhere.wav: not found, expected a clip",
    "no transcript, expected one: ",
)


def test_skipping_costs_no_other_its_answer(tone_bundle: Path, tones: Corpus, with_bad: Path) -> None:
    count = len(tones.utterances)
    expected = answers(tone_bundle, "--manifest", tones.root / "manifest.csv")
    code, out, err = run(
        "predict", tone_bundle, "--manifest", with_bad, "--on-error", "skip", "--format", "json"
    )
    assert code == 0
    assert err.startswith(
        f"no answer for 3 of {count + 3} utterances, the first: u20: {with_bad.parent}/text.wav"
    )
    assert err.count("\n") == 1
    found = json.loads(out)
    assert [each["utterance"] for each in found] == [f"u{i}" for i in range(count + 3)]
    for each, message in zip(found[20:23], REASONS, strict=True):
        assert set(each) == {"utterance", "error"}
        assert message in each["error"]
        assert not each["error"].startswith("u2")
    for each, answer in zip(found[:20] + found[23:], expected, strict=True):
        assert each["label"] == answer["label"]
        assert each["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-5)


def test_skipped_in_a_table_and_csv(tone_bundle: Path, with_bad: Path) -> None:
    arguments = ("predict", tone_bundle, "--manifest", with_bad, "--on-error", "skip")
    rows = run(*arguments)[1].splitlines()[22:25]
    assert [row.split()[:5] for row in rows] == [[f"u{i}", "error", "-", "-", "-"] for i in (20, 21, 22)]
    cells = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv")[1])))
    for row, cell, message in zip(rows, cells[20:23], REASONS, strict=True):
        assert message in row
        assert message in cell.pop("error")
        assert set(cell.values()) == {cell["utterance"], ""}
    assert [cell["error"] for cell in cells[:20] + cells[23:]] == [""] * (len(cells) - 3)


def test_failing_keeps_the_answers_before(tone_bundle: Path, with_bad: Path) -> None:
    for style, lines in (("csv", 21), ("jsonl", 20), ("table", 22)):
        code, out, err = run("predict", tone_bundle, "--manifest", with_bad, "--format", style)
        assert (code, len(out.splitlines())) == (1, lines)
        assert err.startswith(f"Error: u20: {with_bad.parent}/text.wav: unreadable (")
    code, out, err = run("predict", tone_bundle, "--manifest", with_bad, "--format", "json")
    assert (code, len(json.loads(out))) == (1, 20)


def test_skipping_all_is_a_failure(tone_bundle: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    found = failure(tone_bundle, *paths, "--on-error", "skip", printed=2)
    assert found == f"no answer for 2 of 2 utterances, the first: {paths[0]}: not found, expected a clip"


def test_what_is_too_long(tone_bundle: Path, clip: Path, tmp_path: Path) -> None:
    wav(tmp_path / "long.wav", tone(2))
    arguments = (tone_bundle, tmp_path / "long.wav", "--text", "a tone")
    expected = "2.00 s long, expected at most 1.5 s"
    assert failure(*arguments, "--max-seconds", 1.5) == f"{tmp_path / 'long.wav'}: {expected}"
    expected = "text of 6 characters, expected at most 5"
    assert failure(*arguments, "--max-characters", 5) == f"{tmp_path / 'long.wav'}: {expected}"
    assert len(answers(*arguments, "--max-characters", 6, "--max-seconds", 2)) == 1


# Transcripts


def test_a_line_for_each_clip(tone_bundle: Path, clip: Path, other: Path, tmp_path: Path) -> None:
    expected = [
        *answers(tone_bundle, clip, "--text", "é 1"),
        *answers(tone_bundle, other, "--text", "it is low"),
    ]
    for content in (
        "é 1\nit is low\n",
        "é 1\nit is low",
        "é 1\r\nit is low\r\n",
        "\ufeffé 1\nit is low\n",
    ):
        (tmp_path / "t.txt").write_bytes(content.encode())
        found = answers(tone_bundle, clip, other, "--text-file", tmp_path / "t.txt")
        for a, b in zip(found, expected, strict=True):
            assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-6)


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c"])
def test_what_separates_no_lines(tone_bundle: Path, clip: Path, tmp_path: Path, separator: str) -> None:
    (tmp_path / "t.txt").write_bytes(f"it is{separator}high\n".encode())
    assert answers(tone_bundle, clip, "--text-file", tmp_path / "t.txt") == answers(
        tone_bundle, clip, "--text", f"it is{separator}high"
    )


def test_a_blank_line_is_no_transcript(
    tone_bundle: Path, drop_bundle: Path, clip: Path, other: Path, tmp_path: Path
) -> None:
    (tmp_path / "t.txt").write_text("it is high\n \n")
    found = answers(drop_bundle, clip, other, "--text-file", tmp_path / "t.txt")
    assert [each["modalities"] for each in found] == [["audio", "text"], ["audio"]]
    assert failure(tone_bundle, clip, other, "--text-file", tmp_path / "t.txt", printed=1) == (
        f"{other}: no transcript, expected one: this model answers from audio and text"
    )


@pytest.mark.parametrize(("content", "lines"), [(b"", 0), (b"one\n", 1), (b"1\n2\n3\n", 3), (b"1\n2\n\n", 3)])
def test_another_number_of_lines(
    tone_bundle: Path, clip: Path, other: Path, tmp_path: Path, content: bytes, lines: int
) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    assert failure(tone_bundle, clip, other, "--text-file", tmp_path / "t.txt") == (
        f"{tmp_path / 't.txt'}: {lines} lines, expected one for each of 2 audio files"
    )


def test_what_is_no_text_file(tone_bundle: Path, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    expected = "expected a file with a transcript a line"
    assert failure(tone_bundle, clip, "--text-file", path) == f"{path}: No such file or directory, {expected}"
    path.write_bytes("caf\xe9\n".encode("latin-1"))
    assert failure(tone_bundle, clip, "--text-file", path).startswith(
        f"{path}: is not UTF-8 (line 1, byte 3: 0xE9, "
    )
    path.write_bytes("it is high\n".encode("utf-16"))
    assert failure(tone_bundle, clip, "--text-file", path).startswith(f"{path}: is UTF-16 (")
    path.write_bytes(b"it is high\nit \0is\n")
    assert failure(tone_bundle, clip, "--text-file", path).startswith(f"{path}:2: a NUL byte")
    assert failure(tone_bundle, clip, "--text-file", tmp_path) == f"{tmp_path}: Is a directory, {expected}"


def test_text_alone(tone_bundle: Path, drop_bundle: Path) -> None:
    (found,) = answers(drop_bundle, "--text", "it is high")
    assert (found["utterance"], found["duration"], found["modalities"]) == ("text", None, ["text"])
    assert failure(tone_bundle, "--text", "it is high") == (
        "text: no audio, expected some: this model answers from audio and text"
    )


def test_a_text_of_10_000_words(tone_bundle: Path, clip: Path) -> None:
    (found,) = answers(tone_bundle, clip, "--text", "word " * 10_000)
    assert found["text_truncated"] is True


def test_no_transcript(tone_bundle: Path, drop_bundle: Path, clip: Path, other: Path) -> None:
    assert failure(tone_bundle, clip) == (
        f"{clip}: no transcript, expected one: this model answers from audio and text"
    )
    assert [each["modalities"] for each in answers(drop_bundle, clip, other)] == [["audio"], ["audio"]]


# Manifests


def test_a_manifest(tone_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to the CSV, and start and end cut."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    low = 0.3 * np.sin(2 * np.pi * 150 * np.arange(8_000) / 16_000)
    soundfile.write(folder / "long.wav", np.concatenate([low, tone(0.5)]), 16_000, subtype="FLOAT")
    soundfile.write(folder / "part.wav", tone(0.25), 16_000, subtype="FLOAT")
    (folder / "m.csv").write_text(
        "id,audio,text,start,end,mood\n"
        "first,long.wav,a tone,0.5,0.75,x\n"
        ",long.wav,a tone,0.5,,x\n"
        ",long.wav,a tone,,,x\n"
        '"by path","' + str(folder / "part.wav") + '",a tone,,,x\n'
    )
    monkeypatch.chdir(tmp_path)
    found = answers(tone_bundle, "--manifest", "elsewhere/m.csv")
    assert [each["utterance"] for each in found] == ["first", "long.wav@0.5-", "long.wav", "by path"]
    assert [each["duration"] for each in found] == [0.25, 0.5, 1.0, 0.25]
    assert [each["label"] for each in found[:2]] == ["high", "high"]
    assert found[0]["probabilities"] == pytest.approx(found[3]["probabilities"], abs=2e-3)
    assert answers(tone_bundle, "--manifest", "elsewhere/m.csv") == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("audio,text\n,\n", "m.csv:2: neither audio nor text, expected at least one"),
        ("audio,text,start\n1.wav,a,0\n2.wav,a,soon\n", "m.csv:3: start 'soon', expected a number"),
        ("audio,text,start,end\n1.wav,a,2,1\n", "m.csv:2: end 1, expected more than start 2"),
        ("audio,text\n1.wav,a\n1.wav,b\n", "m.csv:3: '1.wav' a second time (first in line 2), expected once"),
        (
            "sound,text\n1.wav,a\n",
            "m.csv: no column 'audio', expected audio, text; found sound, text; give --columns audio=sound, "
            "or audio= if the corpus has none",
        ),
        ("", "m.csv: no column 'audio', 'text', expected audio, text; found nothing"),
        ("audio,text\n", "m.csv: no utterance, expected a row for each"),
        ("audio,text\nnowhere.wav,a\n", "nowhere.wav: not found, expected a clip"),
        ("audio,text,id\nnowhere.wav,a,x\n", "nowhere.wav: not found, expected a clip"),
        ("audio,text,start,end\n1.wav,a,5,6\n", "1.wav: 0.50 s long, expected at least 6.00 s"),
    ],
)
def test_a_manifest_that_cannot_be_used(
    tone_bundle: Path, tmp_path: Path, content: str, message: str
) -> None:
    soundfile.write(tmp_path / "1.wav", tone(0.5), 16_000)
    (tmp_path / "m.csv").write_text(content)
    assert failure(tone_bundle, "--manifest", tmp_path / "m.csv").endswith(str(tmp_path / message))


@pytest.mark.parametrize("on_error", ["fail", "skip"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"2.wav,Well, no,x", "m.csv:3: 4 cells, expected 3"),
        (b'2.wav,"Well,x', "m.csv:3: a quote opens here that is never closed"),
        (b"2.wav,Gr\xfc\xdfe,x", "m.csv: is not UTF-8 (line 3, byte 40: 0xFC"),
        (b"2.wav,Well\x00,x", "m.csv:3: a NUL byte in cell 2"),
    ],
)
def test_a_manifest_that_is_not_csv_is_refused_before_the_first_answer(
    tone_bundle: Path, tmp_path: Path, row: bytes, message: str, on_error: str
) -> None:
    soundfile.write(tmp_path / "1.wav", tone(0.5), 16_000)
    (tmp_path / "m.csv").write_bytes(b"audio,text,label\n1.wav,a tone,x\n" + row + b"\n1.wav,a,\n")
    found = failure(tone_bundle, "--manifest", tmp_path / "m.csv", "--on-error", on_error)
    assert found.startswith(str(tmp_path / message))


def test_a_manifest_with_its_own_names(
    tone_bundle: Path, drop_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text(f"path,words\n{clip},a tone\n")
    arguments = ("--manifest", tmp_path / "m.csv", "--columns", "audio=path,text=words")
    assert answers(tone_bundle, *arguments)[0]["modalities"] == ["audio", "text"]
    (tmp_path / "m.csv").write_text(f"audio\n{clip}\n")
    assert answers(drop_bundle, "--manifest", tmp_path / "m.csv")[0]["modalities"] == ["audio"]


def test_a_manifest_that_is_not_there(tone_bundle: Path, tmp_path: Path) -> None:
    assert failure(tone_bundle, "--manifest", tmp_path / "m.csv").startswith(
        f"{tmp_path / 'm.csv'}: not found"
    )


# Audio


def wav(path: Path, samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> None:
    soundfile.write(path, samples, rate, subtype=subtype)


def truncated(path: Path) -> None:
    wav(path, tone(1))
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "not found, expected a clip"),
        (lambda path: path.mkdir(), "not found (but a folder), expected a clip"),
        (lambda path: path.write_bytes(b""), "unreadable (0 bytes), expected a clip"),
        (lambda path: path.write_text("I am a text.\n" * 100), "unreadable (Format not recognised)"),
        (truncated, "truncated: holds 1956 bytes of samples, expected 32000"),
        (lambda path: wav(path, np.zeros(0)), "holds no sample, expected a clip"),
        (lambda path: wav(path, np.zeros(1)), "1 samples at 16 kHz (0.0001 s), expected at least 400"),
        (lambda path: wav(path, np.full(800, np.nan), subtype="FLOAT"), "holds a sample of nan, expected"),
        (lambda path: wav(path, np.full(800, np.inf), subtype="FLOAT"), "holds a sample of inf, expected"),
    ],
)
def test_bad_audio_is_one_line(
    tone_bundle: Path, clip: Path, tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    bad = tmp_path / "bad.wav"
    make(bad)
    (tmp_path / "t.txt").write_text("a tone\na tone\n")
    assert failure(tone_bundle, bad, "--text", "a tone").startswith(f"{bad}: {message}")
    # The answer before it is there.
    found = failure(tone_bundle, clip, bad, "--text-file", tmp_path / "t.txt", printed=1)
    assert found.startswith(f"{bad}: {message}")


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [
        (16_000, 1, "PCM_16"),
        (192_000, 1, "PCM_16"),
        (16_000, 8, "PCM_16"),
        (16_000, 1, "PCM_24"),
        (16_000, 1, "FLOAT"),
        (192_000, 8, "PCM_24"),
    ],
)
def test_unusual_audio_has_the_usual_answer(
    tone_bundle: Path, tmp_path: Path, rate: int, channels: int, subtype: str
) -> None:
    wav(tmp_path / "usual.wav", tone(0.5), subtype="DOUBLE")
    wav(tmp_path / "unusual.wav", tone(0.5, rate, channels), rate, subtype)
    (usual,) = answers(tone_bundle, tmp_path / "usual.wav", "--text", "a tone")
    (found,) = answers(tone_bundle, tmp_path / "unusual.wav", "--text", "a tone")
    assert found["duration"] == 0.5
    assert found["probabilities"] == pytest.approx(usual["probabilities"], abs=2e-3)


def test_silence_has_an_answer(tone_bundle: Path, tmp_path: Path) -> None:
    wav(tmp_path / "silent.wav", np.zeros(16_000))
    (found,) = answers(tone_bundle, tmp_path / "silent.wav", "--text", "a tone")
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert found["duration"] == 1.0


# Use


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict",), "Missing argument 'BUNDLE'."),
        (("predict", "b"), "give AUDIO, --text or --manifest"),
        (("predict", "b", "--text-file", "t"), "give AUDIO, --text or --manifest"),
        (("predict", "b", "a", "--text", "t", "--text-file", "t"), "give one of --text, --text-file and"),
        (
            ("predict", "b", "--text", "t", "--manifest", "m"),
            "give one of --text, --text-file and --manifest",
        ),
        (("predict", "b", "a", "--manifest", "m"), "give AUDIO or --manifest, not both"),
        (("predict", "b", "a", "--columns", "audio=path"), "--columns needs --manifest"),
        (
            ("predict", "b", "a", "c", "--text", "t"),
            "--text is one transcript, expected one AUDIO, got 2; see",
        ),
        (("predict", "b", "a", "--format", "xml"), "Invalid value for '--format'"),
        (("predict", "b", "a", "--threads", "0"), "Invalid value for '--threads'"),
        (("predict", "b", "a", "--batch-size", "0"), "Invalid value for '--batch-size'"),
        (("predict", "b", "a", "--batch-seconds", "0"), "Invalid value for '--batch-seconds'"),
        (("predict", "b", "a", "--top-k", "0"), "Invalid value for '--top-k'"),
        (("predict", "b", "a", "--abstain", "1.5"), "Invalid value for '--abstain'"),
        (("predict", "b", "a", "--on-error", "ignore"), "Invalid value for '--on-error'"),
        (("predict", "b", "a", "--colour", "red"), "No such option"),
        (("predicts",), "No such command"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], message: str) -> None:
    assert wrong_use(*arguments).startswith(message)


def test_without_arguments_it_teaches() -> None:
    code, _, err = run()
    assert code == 2
    assert "Example:" in err


def test_help_has_examples_that_work(
    tone_bundle: Path, clip: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line of the help's examples runs as it stands."""
    (tmp_path / "bundle").symlink_to(tone_bundle)
    for name, source in {"clip": clip, "a": clip, "b": other}.items():
        (tmp_path / f"{name}.wav").write_bytes(source.read_bytes())
    (tmp_path / "transcripts.txt").write_text("it is high\nit is low\n")
    (tmp_path / "recordings.csv").write_text("audio,text\na.wav,it is high\nb.wav,it is low\n")
    examples = 0
    for arguments in (("--help",), ("predict", "--help"), ("info", "--help")):
        code, out, _ = run(*arguments)
        assert code == 0
        for line in out.split("Example")[1].split("Options:")[0].splitlines():
            if line.strip().startswith("mtab "):
                command = line.strip().replace("mtab", str(MTAB), 1)
                done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
                assert (done.returncode, done.stderr) == (0, "")
                examples += 1
    assert examples == 6
    assert (tmp_path / "emotions.csv").read_text().startswith("utterance,label,high,low,")


def test_version() -> None:
    assert run("--version") == (0, f"mtab, version {mtab.__version__}\n", "")


@pytest.mark.parametrize(
    ("device", "message"),
    [("tpu", "device 'tpu', expected cpu, cuda or cuda:N"), ("cpu:1", "device 'cpu:1', expected cpu")],
)
def test_a_device_that_there_is_not(tone_bundle: Path, clip: Path, device: str, message: str) -> None:
    assert failure(tone_bundle, clip, "--text", "a", "--device", device).startswith(message)


def test_engine_and_precision(tone_bundle: Path, clip: Path) -> None:
    arguments = (tone_bundle, clip, "--text", "a")
    found = answers(*arguments, "--engine", "onnxruntime", "--precision", "fp32", "--device", "cpu")
    assert found == answers(*arguments)
    assert "expected fused int8" in failure(*arguments, "--precision", "int8")
    assert "engines are none" in failure(*arguments, "--engine", "tensorrt")
    assert "'tvm' is not one of 'auto', 'onnxruntime'" in wrong_use("predict", *arguments, "--engine", "tvm")
    assert "'fp7' is not one of 'auto', 'fp32'" in wrong_use("predict", *arguments, "--precision", "fp7")


def test_what_is_no_bundle(tone_run: Path, clip: Path) -> None:
    assert failure(tone_run, clip, "--text", "a") == (
        f"{tone_run}: holds no manifest.json, expected a bundle made by mtab-export"
    )
    with pytest.raises(BundleError):
        mtab.load(tone_run)


# The command itself


def typed(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | options.pop("env", {})
    command = [str(MTAB), *map(str, arguments)]
    return subprocess.run(
        command,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_typed(tone_bundle: Path, clip: Path) -> None:
    done = typed("predict", tone_bundle, clip, "--text", "it is high")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2].split()[:2] == [str(clip), "high"]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A manifest of as many clips as take half a minute and more."""
    wav(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 5 * 16_000))
    rows = "".join(f"u{i},a.wav,a tone\n" for i in range(20_000))
    (tmp_path / "many.csv").write_text("id,audio,text\n" + rows)
    return tmp_path / "many.csv"


@pytest.mark.parametrize("style", ["json", "csv", "table"])
def test_an_interruption_keeps_the_answers_before(tone_bundle: Path, many: Path, style: str) -> None:
    out, embeddings = many.parent / "out", many.parent / "e.npy"
    command = [MTAB, "predict", tone_bundle, "--manifest", many, "--threads", 1, "--format", style]
    with out.open("wb") as file:
        process = subprocess.Popen(
            [*map(str, command), "--embeddings", str(embeddings)], stdout=file, stderr=subprocess.PIPE
        )
        end = time.monotonic() + 60
        while out.stat().st_size < 5_000 and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"Interrupted\n")
    text = out.read_text()
    if style == "json":
        names = [each["utterance"] for each in json.loads(text)]
    elif style == "csv":
        names = [row["utterance"] for row in csv.DictReader(io.StringIO(text))]
    else:
        names = [line.split()[0] for line in text.splitlines()[2:]]
    assert 10 < len(names) < 20_000
    assert names == [f"u{i}" for i in range(len(names))]
    saved = np.load(embeddings, allow_pickle=False)
    assert abs(len(saved) - len(names)) <= 1
    assert np.isfinite(saved).all()


def test_progress_is_for_a_terminal_alone(tone_bundle: Path, tones: Corpus, tmp_path: Path) -> None:
    arguments = ("predict", tone_bundle, "--manifest", tones.root / "manifest.csv", "--format", "jsonl")
    reading, writing = pty.openpty()
    command = [str(MTAB), *map(str, arguments)]
    with (tmp_path / "out").open("wb") as file:
        done = subprocess.run(command, stdout=file, stderr=writing, check=False)
    os.close(writing)
    shown = os.read(reading, 100_000).decode()
    os.close(reading)
    assert done.returncode == 0
    assert "100%" in shown
    assert len((tmp_path / "out").read_text().splitlines()) == len(tones.utterances)
    assert typed(*arguments).stderr == ""


def test_typed_with_what_is_not_there(tone_bundle: Path, tmp_path: Path) -> None:
    done = typed("predict", tone_bundle, tmp_path / "a.wav", "--text", "a")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {tmp_path / 'a.wav'}: not found, expected a clip\n"


def test_typed_with_a_name_that_no_terminal_shows(tone_bundle: Path, clip: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.wav"
    Path(os.fsdecode(name)).write_bytes(clip.read_bytes())
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    missing = os.fsdecode(name + b"\xfe")
    arguments = ("predict", tone_bundle, os.fsdecode(name), missing, "--text-file", tmp_path / "t.txt")
    (tmp_path / "t.txt").write_text("a\na\n")
    for style in ("table", "json", "csv"):
        done = typed(*arguments, "--format", style, "--on-error", "skip", env=strict)
        assert done.returncode == 0
        assert f"{tmp_path}/\ufffd.wav" in done.stdout
        assert "not found, expected a clip" in done.stdout


def test_typed_onto_a_full_disk(tone_bundle: Path, clip: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = typed("predict", tone_bundle, clip, "--text", "a", stdout=full)
    assert (done.returncode, done.stderr) == (1, "Error: reading or writing: No space left on device\n")


def test_typed_where_nobody_reads_on(tone_bundle: Path, clip: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = typed("predict", tone_bundle, clip, "--text", "a", stdout=closed)
    assert (done.returncode, done.stderr) == (1, "")


def test_typed_with_too_little_memory(tone_bundle: Path, tmp_path: Path) -> None:
    """Attention over ten minutes takes 7 GB: refused in one line, and never by a shorter clip's answer."""
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 600 * 16_000), 16_000)
    command = f'ulimit -v 4000000; exec "{MTAB}" predict "$@" --threads 1'
    arguments = [str(tone_bundle), str(tmp_path / "long.wav"), "--text", "a"]
    done = subprocess.run(["sh", "-c", command, "sh", *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {tone_bundle / 'model.onnx'}: ONNX Runtime fails on cpu with ")
    assert done.stderr.count("\n") == 1


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
    assert found == f"{tmp_path / 'empty'}: not found (but a folder), expected a clip"
