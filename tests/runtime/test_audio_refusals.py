"""What is wrong with each bad file, in one line that names it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtab.audio import SAMPLE_RATE, load_audio

from .media import SUFFIXES, assert_refused, speechlike, tone, write_media, write_wav


def shorten(file: Path, fraction: float) -> Path:
    shortened = file.with_name(f"shortened_{file.name}")
    content = file.read_bytes()
    shortened.write_bytes(content[: int(len(content) * fraction)])
    return shortened


def test_what_is_no_clip(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere.wav", "not found, expected a clip")
    assert_refused(tmp_path / "nowhere.mp4", "not found, expected a clip")
    assert_refused(tmp_path / ("a" * 300 + ".wav"), "expected a clip")
    folder = tmp_path / "folder.wav"
    folder.mkdir()
    assert_refused(folder, "but a folder")


@pytest.mark.parametrize("suffix", [*SUFFIXES, "mp4", "xyz"])
def test_files_without_sound(tmp_path: Path, suffix: str) -> None:
    if suffix in ("mp4", "xyz"):
        pytest.importorskip("av")
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(b"")
    assert_refused(file, "0 bytes")
    for content in (b"This is text, not sound.\n" * 40, b"RIFF", b"OggS", b"ID3", b"fLaC", bytes(5000)):
        file.write_bytes(content)
        assert_refused(file, "unreadable|truncated")


@pytest.mark.parametrize("after", [b"", b"LIST\x04\x00\x00\x00INFO"])
def test_a_wav_of_no_sample(tmp_path: Path, after: bytes) -> None:
    assert_refused(write_wav(tmp_path / "a.wav", b"", after=after), "holds no sample")


def test_an_ogg_of_no_sample(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", np.zeros(0), SAMPLE_RATE)
    assert_refused(tmp_path / "a.ogg", "holds no sample")


def test_a_wav_is_truncated(tmp_path: Path) -> None:
    whole = write_wav(tmp_path / "a.wav", bytes(range(200)) * 10)
    assert len(load_audio(whole)) == 1000
    short = tmp_path / "short.wav"
    short.write_bytes(whole.read_bytes()[:-1])
    assert_refused(short, "truncated: holds 1999 bytes of samples, expected 2000")
    # Sizes that a 24-hour recording may have are no sign of a pipe.
    assert_refused(write_wav(tmp_path / "b.wav", bytes(200), data=0x5265C000), "truncated")


@pytest.mark.parametrize("kind", ["RF64", "WAVEX"])
def test_other_kinds_of_wav(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, tone(), SAMPLE_RATE, format=kind, subtype="PCM_24")
    np.testing.assert_allclose(load_audio(file), tone(), atol=2e-7)
    assert_refused(shorten(file, 0.5), "truncated")


@pytest.mark.parametrize("fraction", [0.999, 0.9, 0.5, 0.1])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_are_truncated(tmp_path: Path, suffix: str, fraction: float) -> None:
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, speechlike(3 * SAMPLE_RATE), SAMPLE_RATE)
    assert load_audio(file).shape == (3 * SAMPLE_RATE,)
    assert_refused(shorten(file, fraction), "truncated|unreadable")


@pytest.mark.parametrize(
    ("name", "codec", "rate", "options", "video_seconds"),
    [
        ("a.mp4", "aac", 16000, {}, 0),
        ("a.mp4", "aac", 16000, {}, 6),
        ("a.mp4", "aac", 16000, {"movflags": "faststart"}, 0),
        ("a.mp4", "aac", 16000, {"movflags": "faststart"}, 6),
        ("a.m4a", "alac", 16000, {"movflags": "faststart"}, 0),
        ("a.mkv", "libopus", 48000, {}, 6),
        ("a.webm", "libopus", 48000, {}, 0),
        ("a.opus", "libopus", 48000, {}, 0),
        ("a.mka", "aac", 16000, {}, 0),
        ("a.aiff", "pcm_s16be", 16000, {}, 0),
    ],
)
def test_containers_are_truncated(
    tmp_path: Path, name: str, codec: str, rate: int, options: dict[str, str], video_seconds: float
) -> None:
    file = write_media(
        tmp_path / name,
        speechlike(5 * SAMPLE_RATE),
        codec,
        rate=rate,
        video_seconds=video_seconds,
        container_options=options,
    )
    assert len(load_audio(file)) == pytest.approx(5 * SAMPLE_RATE, abs=2048)
    for fraction in (0.9, 0.5):
        assert_refused(shorten(file, fraction), "truncated|unreadable")


def test_a_header_that_promises_a_fantasy(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(), SAMPLE_RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(content)
    assert_refused(tmp_path / "a.flac", "truncated|unreadable")


def test_a_film_without_sound(tmp_path: Path) -> None:
    file = write_media(tmp_path / "a.mp4", np.zeros(0), None, video_seconds=1)
    assert_refused(file, "no audio stream")


def test_a_container_without_av(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(bytes(100))
    monkeypatch.setitem(sys.modules, "av", None)
    assert_refused(tmp_path / "a.mp4", "pip install 'mtab\\[video\\]'")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_no_numbers(tmp_path: Path, bad: float, subtype: str) -> None:
    wave = tone()
    wave[5000] = bad
    soundfile.write(tmp_path / "a.wav", wave, SAMPLE_RATE, subtype=subtype)
    assert_refused(tmp_path / "a.wav", "expected finite numbers")
    assert len(load_audio(tmp_path / "a.wav", 0.5)) == 8000


@pytest.mark.parametrize("kind", ["AIFF", "W64"])
def test_formats_whose_truncation_would_go_unseen(tmp_path: Path, kind: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), SAMPLE_RATE, format=kind)
    assert_refused(tmp_path / "a.wav", f"holds {kind}, expected wav, flac, ogg or mp3")


def test_rates_and_channels_of_no_recording(tmp_path: Path) -> None:
    assert_refused(write_wav(tmp_path / "a.wav", bytes(2000), rate=10), "sample rate of 10 Hz")
    assert_refused(write_wav(tmp_path / "a.wav", bytes(2000), channels=100), "1 to 64 channels")


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (None, 1.2, "1.00 s long, expected at least 1.20 s"),
        (1.0, None, "1.00 s long, expected at least 1.00 s"),
        (2.0, 3.0, "1.00 s long, expected at least 3.00 s"),
        (0.0, float("inf"), "at least inf s"),
        (-0.1, None, "expected 0 <= start < end"),
        (0.5, 0.5, "expected 0 <= start < end"),
        (0.5, 0.2, "expected 0 <= start < end"),
        (float("nan"), None, "expected 0 <= start < end"),
        (None, float("nan"), "expected 0 <= start < end"),
    ],
)
@pytest.mark.parametrize("suffix", ["wav", "mp3", "mka"])
def test_parts_beyond_the_file(
    tmp_path: Path, suffix: str, start: float | None, end: float | None, found: str
) -> None:
    file = tmp_path / f"a.{suffix}"
    if suffix == "mka":
        write_media(file, tone(), "pcm_s16le")
    else:
        soundfile.write(file, tone(), SAMPLE_RATE)
    assert_refused(file, found, start=start, end=end)
