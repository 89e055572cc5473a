"""`mtab predict` of the utterances that a manifest lists."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from .commands import answers, failure, tone


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
        (b"2.wav,Gr\xfc\xdfe,x", "m.csv: is not UTF-8 (line 3, byte 9: 0xFC"),
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
        f"{tmp_path / 'm.csv'}: not found, expected a CSV file with a column audio or text"
    )
