"""A recording in blocks is what it is at once, in every format, and is refused as that is."""

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from mtab.audio import load_audio, to_mono_16k
from mtab.audio.streaming import open_audio
from mtab.errors import AudioError

from .media import SUFFIXES, speechlike, write_media, write_wav


def streamed(source: object, rate: float = 16_000) -> np.ndarray:
    with open_audio(source, rate) as stream:
        return np.concatenate(list(stream.blocks))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_blocks_are_the_clip(tmp_path: Path, suffix: str, channels: int, rate: int) -> None:
    path = tmp_path / f"a.{suffix}"
    samples = speechlike(round(3.3 * rate))
    soundfile.write(path, np.stack([samples, -0.5 * samples], axis=1)[:, :channels], rate)
    found, expected = streamed(path), load_audio(path)
    assert found.dtype == np.float32
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    with open_audio(path) as stream:
        assert stream.seconds == pytest.approx(len(expected) / 16_000, abs=1e-3)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.webm", "libopus"), ("a.mkv", "pcm_s16le")])
def test_containers(tmp_path: Path, name: str, codec: str) -> None:
    path = write_media(tmp_path / name, speechlike(48_000 * 2), codec, rate=48_000)
    np.testing.assert_allclose(streamed(path), load_audio(path), atol=2e-6)


def test_a_wav_that_was_written_to_a_pipe(tmp_path: Path) -> None:
    pytest.importorskip("av")
    payload = (speechlike(40_000) * 32_767).astype("<i2").tobytes()
    path = write_wav(tmp_path / "pipe.wav", payload, riff=0xFFFFFFFF, data=0xFFFFFFFF)
    np.testing.assert_allclose(streamed(path), load_audio(path), atol=2e-6)


@given(
    count=st.integers(1, 70_000),
    rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 48_000]),
    kind=st.sampled_from(["int16", "float32", "float64"]),
)
def test_arrays(count: int, rate: int, kind: str) -> None:
    samples = speechlike(count)
    values = (samples * 32_767).astype("int16") if kind == "int16" else samples.astype(kind)
    found = streamed(values, rate)
    expected = to_mono_16k(values, rate)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 48_000, 2, subtype="PCM_16") as file:
        for _ in range(120):
            file.write(np.zeros((48_000, 2), np.int16))
    with open_audio(path) as stream:
        sizes = [len(block) for block in stream.blocks]
    assert sum(sizes) == 120 * 16_000
    assert max(sizes) <= 16_000 + 1_000


def refusal(source: object, rate: float = 16_000) -> str:
    with pytest.raises(AudioError) as raised:
        streamed(source, rate)
    return str(raised.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_breaks_off(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, speechlike(80_000), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError) as expected:
        load_audio(path)
    found = refusal(path)
    assert found.startswith(f"{path}: ")
    assert found.split(":")[1].split(",")[0].split()[0] == str(expected.value).split(":")[1].split()[0]


def test_what_is_no_recording(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.wav") == f"{tmp_path}/none.wav: not found, expected a clip"
    assert refusal(None) == "audio array: is NoneType, expected a NumPy array, a path, bytes or a binary file"
    assert refusal(np.zeros(0)) == "audio array: holds no sample, expected a clip"
    assert refusal(np.zeros(10), 10) == "audio array: has a sample rate of 10 Hz, expected 1000 to 1000000 Hz"


def test_a_sample_that_is_none_is_told_with_its_place() -> None:
    samples = speechlike(80_000)
    samples[50_000] = np.nan
    assert refusal(samples) == (
        "audio array: holds a sample of nan, expected finite numbers up to 2.14748e+09 (from 3.00 s on)"
    )


def test_who_stops_in_the_middle_leaves_no_thread_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000 * 30), 16_000)
    before = threading.active_count()
    for _ in range(20):
        with open_audio(path) as stream:
            next(stream.blocks)
        assert threading.active_count() == before
