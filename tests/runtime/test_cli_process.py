"""`mtab` as a process of its own: interrupted, in a terminal, at a full disk, with too little memory."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mtab.data import Corpus

from .commands import MTAB, wav


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


def test_typed_with_little_memory(tone_bundle: Path, tmp_path: Path) -> None:
    """Attention over ten minutes took 7 GB at once; in blocks of time it does with what there is."""
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 600 * 16_000), 16_000)
    command = f'ulimit -v 4000000; exec "{MTAB}" predict "$@" --threads 1 --format json'
    arguments = [str(tone_bundle), str(tmp_path / "long.wav"), "--text", "a"]
    done = subprocess.run(["sh", "-c", command, "sh", *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["duration"] == 600
