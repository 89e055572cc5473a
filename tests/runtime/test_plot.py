"""Pictures of answers: of every kind of utterance and word; without matplotlib one line."""

import dataclasses
import importlib.util
import json
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtab import Model
from mtab.errors import MtabError
from mtab.plot import draw, require_picture

from .commands import run, wrong_use

WORDS = {
    "one": "high",
    "hundred": "it is high " * 33,
    "scripts": "it is 学校 مرحبا שלום \N{GRINNING FACE} $x$ \\frac _a_ <b> a\nb",
    "long": "w" * 300 + " it is",
}


def size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


@pytest.mark.parametrize("words", WORDS)
def test_words(dropping: Model, clip: Path, tmp_path: Path, words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = dropping.explain(clip, WORDS[words])
        draw(found, tmp_path / "a.png", "a $clip$ of mine.wav")
        draw(dropping.explain(None, WORDS[words]), tmp_path / "text.png", "text")
    assert size(tmp_path / "a.png")[0] == size(tmp_path / "text.png")[0] == 900
    assert size(tmp_path / "a.png")[1] > size(tmp_path / "text.png")[1]


@pytest.mark.parametrize("seconds", [0.03, 20])
def test_sound(dropping: Model, tmp_path: Path, seconds: float) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)
    draw(dropping.explain(samples), tmp_path / "a.png", "noise")
    assert size(tmp_path / "a.png")[0] == 900


def test_silence_and_no_attention(dropping: Model, tmp_path: Path) -> None:
    samples = np.zeros(16_000, np.float32)
    found = dataclasses.replace(
        dropping.explain(samples, "it is"), times=None, tab_attention=None, speech_to_text=None
    )
    for suffix in ("png", "svg", "pdf"):
        draw(found, tmp_path / f"a.{suffix}", "silence")
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_attention_alone(model: Model, clip: Path, tmp_path: Path) -> None:
    draw(model.explain(clip, "it is", occlusion=False), tmp_path / "a.png", "clip")
    assert size(tmp_path / "a.png")[0] == 900


def test_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(MtabError) as raised:
        require_picture(tmp_path / "a.gif")
    assert str(raised.value) == f"{tmp_path}/a.gif: ends in '.gif', expected one of .png, .svg, .pdf"


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MtabError) as raised:
        require_picture(tmp_path / "a.png")
    assert str(raised.value) == ("drawing needs matplotlib, which is not installed: pip install 'mtab[plot]'")


def test_as_it_is_typed(tone_bundle: Path, clip: Path, tmp_path: Path) -> None:
    picture = tmp_path / "why.png"
    arguments = ("predict", tone_bundle, clip, "--text", "it is high", "--plot", picture, "--threads", 1)
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert out.splitlines()[2].split()[1] == "high"
    assert size(picture)[0] == 900
    code, out, err = run(*arguments[:-2], "--reasons", "--format", "json")
    [found] = json.loads(out)
    plain = json.loads(run(*arguments[:5], "--format", "json")[1])[0]
    reasons = found.pop("reasons")
    assert found == plain
    assert [word["text"] for word in reasons["words"]] == ["it", "is", "high"]


def test_reasons_of_many(tone_bundle: Path, clip: Path, other: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("it is high\n\n")
    arguments = ("predict", tone_bundle, clip, other, "--text-file", tmp_path / "texts.txt", "--reasons")
    code, out, err = run(*arguments, "--format", "jsonl", "--on-error", "skip")
    first, second = map(json.loads, out.splitlines())
    assert code == 0
    assert set(first["reasons"]) >= {"words", "sounds"}
    assert second == {
        "utterance": str(other),
        "error": "no transcript, expected one: this model answers from audio and text",
    }
    assert err.startswith("no answer for 1 of 2 utterances")
    code, out, err = run(*arguments, "--format", "jsonl")
    assert (code, len(out.splitlines())) == (1, 1)
    assert err.startswith(f"Error: {other}: no transcript")


def test_a_transcriber(tone_bundle: Path, clip: Path, tmp_path: Path) -> None:
    arguments = ("predict", tone_bundle, clip, "--transcribe", "echo it is high #", "--format", "json")
    [found] = json.loads(run(*arguments)[1])
    assert found["text"].startswith("it is high # ")
    assert found["text_from"] == "echo"
    [expected] = json.loads(run(*arguments[:3], "--text", found["text"], "--format", "json")[1])
    assert found["probabilities"] == expected["probabilities"]
    assert "text_from" not in expected
    code, _, err = run(*arguments[:4], "false", "--format", "json")
    assert (code, err) == (1, f"Error: {clip}: false: exit code 1, expected a transcript\n")


def test_wrong_use(tone_bundle: Path, clip: Path, other: Path, tmp_path: Path) -> None:
    assert wrong_use("predict", tone_bundle, clip, "--reasons") == (
        "--reasons needs --format json or jsonl, got table"
    )
    assert wrong_use("predict", tone_bundle, clip, other, "--plot", tmp_path / "a.png") == (
        "2 utterances, expected one for --plot"
    )
    given = ("--reasons", "--format", "json", "--embeddings", tmp_path / "a.npy")
    assert wrong_use("predict", tone_bundle, clip, *given) == (
        "give --embeddings or one of --reasons and --plot"
    )


def test_a_clip_from_memory_has_a_picture_too(model: Model, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 8_000), 16_000)
    content = (tmp_path / "a.wav").read_bytes()
    draw(model.explain(content, "it is"), tmp_path / "a.png", "bytes")
    assert size(tmp_path / "a.png")[0] == 900
