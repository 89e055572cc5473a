"""`mtab` as it is typed."""

import csv
import io
import json
import os
import subprocess
import sys
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


def failure(*arguments: object) -> str:
    """The one line of a command that fails."""
    code, out, err = run("predict", *arguments, "--threads", 1)
    assert (code, out) == (1, "")
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
    header = ["utterance", "label", "high", "low", "duration", "modalities", "text_truncated"]
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
    assert failure(tone_bundle, clip, other, "--text-file", tmp_path / "t.txt") == (
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
    assert failure(tone_bundle, clip, "--text-file", path).startswith(f"{path}: is not UTF-8 (")
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
        ("sound,text\n1.wav,a\n", "m.csv: no column 'audio', expected audio, text; found sound, text"),
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
    # Nothing is printed of the others either.
    assert failure(tone_bundle, clip, bad, "--text-file", tmp_path / "t.txt").startswith(f"{bad}: {message}")


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
        (
            ("predict", "b", "a", "c", "--text", "t"),
            "--text is one transcript, expected one AUDIO, got 2; see",
        ),
        (("predict", "b", "a", "--format", "xml"), "Invalid value for '--format'"),
        (("predict", "b", "a", "--threads", "0"), "Invalid value for '--threads'"),
        (("predict", "b", "a", "--batch-size", "0"), "Invalid value for '--batch-size'"),
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
    for arguments in (("--help",), ("predict", "--help")):
        code, out, _ = run(*arguments)
        assert code == 0
        for line in out.split("Example")[1].split("Options:")[0].splitlines():
            if line.strip().startswith("mtab "):
                command = line.strip().replace("mtab", str(MTAB), 1)
                done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
                assert (done.returncode, done.stderr) == (0, "")
                examples += 1
    assert examples == 4
    assert (tmp_path / "emotions.csv").read_text().startswith("utterance,label,high,low,")


def test_version() -> None:
    assert run("--version") == (0, f"mtab, version {mtab.__version__}\n", "")


@pytest.mark.parametrize(
    ("device", "message"),
    [("tpu", "device 'tpu', expected cpu, cuda or cuda:N"), ("cpu:1", "device 'cpu:1', expected cpu")],
)
def test_a_device_that_there_is_not(tone_bundle: Path, clip: Path, device: str, message: str) -> None:
    assert failure(tone_bundle, clip, "--text", "a", "--device", device).startswith(message)


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


def test_typed_with_what_is_not_there(tone_bundle: Path, tmp_path: Path) -> None:
    done = typed("predict", tone_bundle, tmp_path / "a.wav", "--text", "a")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {tmp_path / 'a.wav'}: not found, expected a clip\n"


def test_typed_with_a_name_that_no_terminal_shows(tone_bundle: Path, clip: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.wav"
    Path(os.fsdecode(name)).write_bytes(clip.read_bytes())
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    for style in ("table", "json", "csv"):
        done = typed("predict", tone_bundle, os.fsdecode(name), "--text", "a", "--format", style, env=strict)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{tmp_path}/\ufffd.wav" in done.stdout


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
