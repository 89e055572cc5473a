"""Decoding: right answers against hand-made files and closed forms."""

import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.audio import SAMPLE_RATE, load_audio, normalize, to_mono_16k
from mtab.errors import AudioError

from .media import SUFFIXES, assert_refused, speechlike, tone, write_media, write_wav

# Right answers


@pytest.mark.parametrize(
    ("code", "bits", "half"), [(1, 8, 128), (1, 16, 2**15), (1, 24, 2**23), (1, 32, 2**31)]
)
def test_integer_samples(tmp_path: Path, code: int, bits: int, half: int) -> None:
    values = [0, 1, -1, half // 2, -half // 3, half - 1, -half] * 100
    if bits == 8:
        payload = bytes(value + 128 for value in values)
    else:
        payload = b"".join(value.to_bytes(bits // 8, "little", signed=True) for value in values)
    samples = load_audio(write_wav(tmp_path / "a.wav", payload, code=code, bits=bits))
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, np.array(values) / half, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("bits", "kind"), [(32, "<f4"), (64, "<f8")])
def test_float_samples_keep_their_scale(tmp_path: Path, bits: int, kind: str) -> None:
    values = np.array([0.0, 0.1, -0.25, 1.5, -3e4] * 100)
    samples = load_audio(write_wav(tmp_path / "a.wav", values.astype(kind).tobytes(), code=3, bits=bits))
    np.testing.assert_allclose(samples, values, rtol=1e-7)


def test_channels_are_averaged(tmp_path: Path) -> None:
    channels = np.arange(8 * 500).reshape(500, 8) % 1000
    file = write_wav(tmp_path / "a.wav", channels.astype("<i2").tobytes(), channels=8)
    np.testing.assert_allclose(load_audio(file), channels.mean(axis=1) / 32768, atol=1e-7)


def test_big_endian_wav(tmp_path: Path) -> None:
    file = write_wav(tmp_path / "a.wav", struct.pack(">500h", *range(500)), magic=b"RIFX")
    np.testing.assert_allclose(load_audio(file), np.arange(500) / 32768, atol=1e-7)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000])
def test_a_tone_stays_a_tone_at_any_rate(tmp_path: Path, rate: int) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, np.stack([tone(1.0, rate)] * 2, axis=1), rate, subtype="FLOAT")
    samples = load_audio(file)
    assert len(samples) == SAMPLE_RATE
    np.testing.assert_allclose(samples[800:-800], tone()[800:-800], atol=2e-3)


@settings(deadline=None, max_examples=25)
@given(st.floats(4000, 200_000), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_resampling_keeps_duration_and_mean_channel(rate: float, channels: int, seed: int) -> None:
    waves = np.stack([tone(0.3, rate, 200 + seed % 300 + 50 * i) for i in range(channels)], axis=1)
    samples = to_mono_16k(waves, rate)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - len(waves) * SAMPLE_RATE / rate) <= 1
    expected = np.mean([tone(0.4, SAMPLE_RATE, 200 + seed % 300 + 50 * i) for i in range(channels)], axis=0)
    np.testing.assert_allclose(samples[800:-800], expected[: len(samples)][800:-800], atol=2e-3)


def test_what_lies_above_8_khz_does_not_fold_back(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0, 48000, 12_000), 48000)
    assert np.abs(load_audio(tmp_path / "a.wav")[800:-800]).max() < 1e-3


@pytest.mark.parametrize("suffix", ["wav", "flac", "WAV"])
def test_lossless_files_are_bit_exact(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(1).integers(-(2**15), 2**15, 5000).astype(np.int16)
    soundfile.write(tmp_path / f"a.{suffix}", values, SAMPLE_RATE)
    assert (load_audio(tmp_path / f"a.{suffix}") == values / np.float32(32768)).all()


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_lossy_files(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"a.{suffix}", tone(), SAMPLE_RATE)
    samples = load_audio(str(tmp_path / f"a.{suffix}"))
    assert len(samples) == SAMPLE_RATE
    np.testing.assert_allclose(samples[800:-800], tone()[800:-800], atol=0.05)


def test_digital_silence_is_zeros(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((4410, 2)), 44100)
    samples = load_audio(tmp_path / "a.wav")
    assert samples.shape == (1600,)
    assert not samples.any()
    assert not normalize(samples).any()


def test_one_sample(tmp_path: Path) -> None:
    assert load_audio(write_wav(tmp_path / "a.wav", struct.pack("<h", 16384))).tolist() == [0.5]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_part_is_the_same_as_of_the_whole(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, speechlike(3 * SAMPLE_RATE), SAMPLE_RATE)
    whole = load_audio(file)
    for start, end in [(None, 1.5), (0.0, 0.5), (0.7311, 1.9), (2.5, None), (2.9, 3.005)]:
        first, last = round((start or 0) * SAMPLE_RATE), round((end or 3) * SAMPLE_RATE)
        np.testing.assert_allclose(load_audio(file, start, end), whole[first:last], atol=1e-5)


def test_a_part_is_cut_at_the_files_own_rate(tmp_path: Path) -> None:
    wave = tone(1.0, 48000)
    soundfile.write(tmp_path / "a.wav", wave, 48000, subtype="FLOAT")
    expected = to_mono_16k(wave[12000:36000].astype(np.float32), 48000)
    assert (load_audio(tmp_path / "a.wav", 0.25, 0.75) == expected).all()


@pytest.mark.parametrize("riff", [0, 8, 36, 0x7FFFF024, 0xFFFFFFFF])
@pytest.mark.parametrize("data", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_is_whole(tmp_path: Path, riff: int, data: int) -> None:
    payload = struct.pack("<500h", *range(500))
    samples = load_audio(write_wav(tmp_path / "a.wav", payload, riff=riff, data=data))
    np.testing.assert_allclose(samples, np.arange(500) / 32768, atol=1e-7)


def test_a_flac_from_a_pipe_is_whole(tmp_path: Path) -> None:
    pytest.importorskip("av")
    wave = speechlike(SAMPLE_RATE)
    soundfile.write(tmp_path / "a.flac", wave, SAMPLE_RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # STREAMINFO's 36-bit number of samples
    content[22:26] = bytes(4)
    (tmp_path / "piped.flac").write_bytes(content)
    assert (load_audio(tmp_path / "piped.flac") == load_audio(tmp_path / "a.flac")).all()


def rising(seconds: int) -> np.ndarray:
    """A tone under rising noise: a variable bit rate starts low."""
    noise = np.random.default_rng(0).standard_normal(seconds * SAMPLE_RATE)
    return tone(seconds) * 0.3 + 0.1 * noise * np.linspace(0, 1, len(noise)) ** 3


@pytest.mark.parametrize("quality", [{}, {"flags": "+qscale", "global_quality": "236"}])
def test_an_mp3_without_xing_header_is_whole(tmp_path: Path, quality: dict[str, str]) -> None:
    wave = rising(10)
    plain = write_media(
        tmp_path / "a.mp3",
        wave,
        "libmp3lame",
        container_options={"write_xing": "0", "id3v2_version": "0"},
        codec_options=quality,
    )
    assert b"Xing" not in plain.read_bytes()
    assert b"Info" not in plain.read_bytes()
    assert len(load_audio(plain)) == pytest.approx(len(wave), abs=4 * 1152)
    assert len(load_audio(plain, 8.0, 9.5)) == 1.5 * SAMPLE_RATE


def test_a_variable_mp3_that_libsndfile_would_cut_needs_av(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_media(
        tmp_path / "a.mp3",
        rising(10),
        "libmp3lame",
        container_options={"write_xing": "0"},
        codec_options={"flags": "+qscale", "global_quality": "236"},
    )
    # What this test is about: a shorter answer without a word.
    assert len(soundfile.read(file)[0]) < 9 * SAMPLE_RATE
    monkeypatch.setitem(sys.modules, "av", None)
    assert_refused(file, "pip install 'mtab\\[video\\]'")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "plain.mp3", "mp4", "aac"])
def test_no_more_than_most_is_decoded(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    if suffix in ("mp4", "aac"):
        write_media(file, tone(3.0), "aac")
    elif suffix == "plain.mp3":
        write_media(file, tone(3.0), "libmp3lame", container_options={"write_xing": "0"})
    else:
        soundfile.write(file, tone(3.0), SAMPLE_RATE)
    for start in (None, 1.0):
        with pytest.raises(AudioError) as caught:
            load_audio(file, start, most=1.5)
        assert str(caught.value).startswith(f"{file}: ")
        assert str(caught.value).endswith(("expected at most 1.5 s", "expected at most that"))
        whole = load_audio(file, start)
        assert (load_audio(file, start, most=4) == whole).all()
    part = load_audio(file, 1.0, 2.0, most=1)
    assert (part == load_audio(file, 1.0, 2.0)).all()
    with pytest.raises(AudioError, match=r": 1\.00 s long, expected at most 0\.5 s$"):
        load_audio(file, 1.0, 2.0, most=0.5)


@pytest.mark.parametrize("name", ["a.m4a", "a.mp4", "16:21.mp4", "a.mka"])
def test_sound_of_a_container(tmp_path: Path, name: str) -> None:
    samples = load_audio(write_media(tmp_path / name, tone(2.0), "aac"))
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE, abs=1024)
    np.testing.assert_allclose(samples[1600:30000], tone(2.0)[1600:30000], atol=0.05)


def test_sound_of_a_film(tmp_path: Path) -> None:
    file = write_media(tmp_path / "a.mp4", tone(2.0), "aac", video_seconds=3)
    assert len(load_audio(file)) == pytest.approx(2 * SAMPLE_RATE, abs=1024)
    np.testing.assert_allclose(load_audio(file, 0.5, 1.0), tone(2.0)[8000:16000], atol=0.05)


def test_a_lossless_container_is_exact_at_another_rate(tmp_path: Path) -> None:
    file = write_media(tmp_path / "a.aiff", tone(), "pcm_s16be", rate=48000)
    np.testing.assert_allclose(load_audio(file)[800:-800], tone()[800:-800], atol=2e-3)


def test_many_threads_get_what_one_gets(tmp_path: Path) -> None:
    files = []
    for index in range(16):
        suffix = SUFFIXES[index % 4]
        files.append(tmp_path / f"{index}.{suffix}")
        soundfile.write(files[-1], speechlike(8000 + 500 * index), (16000, 22050, 44100, 48000)[index // 4])
    alone = [load_audio(file) for file in files]
    with ThreadPoolExecutor(8) as pool:
        for expected, samples in zip(alone * 5, pool.map(load_audio, files * 5), strict=True):
            assert (samples == expected).all()


@pytest.mark.skipif("MTAB_TEST_DATA" not in os.environ, reason="MTAB_TEST_DATA names no folder with emodb/")
def test_real_speech() -> None:
    files = sorted((Path(os.environ["MTAB_TEST_DATA"]) / "emodb" / "audio").glob("*.flac"))
    assert files
    for file in files[:40]:
        expected, rate = soundfile.read(file, dtype="int16")
        assert rate == SAMPLE_RATE
        assert (load_audio(file) == expected / np.float32(32768)).all()


# Normalisation


def test_normalised_as_transformers_does() -> None:
    transformers = pytest.importorskip("transformers")
    published = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    random = np.random.default_rng(2)
    for samples in (
        speechlike(16000),
        (3e4 * random.standard_normal(5000)).astype(np.float32),
        (0.3 + 1e-3 * random.standard_normal(40000)).astype(np.float32),
        (1e-6 * random.standard_normal(1000)).astype(np.float32),
        np.zeros(400, np.float32),
        np.eye(1, 500, dtype=np.float32)[0],
    ):
        expected = published(samples, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_values"][0]
        normalised = normalize(samples)
        assert normalised.dtype == np.float32
        np.testing.assert_allclose(normalised, expected, rtol=0, atol=1e-6)


def test_import_is_quick() -> None:
    code = (
        "import sys, mtab.audio; "
        "print([name for name in ('av', 'torch', 'transformers', 'tokenizers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
