"""`mtab predict` with transcripts: in a file of lines, as an argument, without audio, and none."""

from pathlib import Path

import pytest

from .commands import answers, failure


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
        f"{path}: is not UTF-8 (line 1, byte 4: 0xE9, "
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
