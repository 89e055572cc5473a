"""`mtab predict` of what cannot be used: one line for each, and the answers of the others."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mtab.data import Corpus

from .commands import answers, failure, run, tone, wav

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


# Audio


def truncated(path: Path) -> None:
    wav(path, tone(1))
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "not found, expected a clip"),
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
