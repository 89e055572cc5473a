"""Decoding: right answers against hand-made files and closed forms, and what is wrong with each bad file."""

import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.audio import SAMPLE_RATE, cut, load_audio, normalize, span, to_mono_16k
from mtab.errors import AudioError

SUFFIXES = ("wav", "flac", "ogg", "mp3")


def tone(seconds: float = 1.0, rate: float = SAMPLE_RATE, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def speechlike(samples: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return (tone(samples / SAMPLE_RATE) * 0.5 + 0.05 * random.standard_normal(samples)).astype(np.float32)


def write_wav(
    file: Path,
    payload: bytes,
    *,
    code: int = 1,
    bits: int = 16,
    channels: int = 1,
    rate: int = SAMPLE_RATE,
    riff: int | None = None,
    data: int | None = None,
    after: bytes = b"",
    magic: bytes = b"RIFF",
) -> Path:
    """A wav made by hand; ``riff`` and ``data`` replace the sizes in its header."""
    order = ">" if magic == b"RIFX" else "<"
    frame = channels * bits // 8
    head = struct.pack(order + "4sIHHIIHH", b"fmt ", 16, code, channels, rate, rate * frame, frame, bits)
    head += struct.pack(order + "4sI", b"data", len(payload) if data is None else data)
    size = 4 + len(head) + len(payload) + len(after)
    riff_head = struct.pack(order + "4sI4s", magic, size if riff is None else riff, b"WAVE")
    file.write_bytes(riff_head + head + payload + after)
    return file


def write_media(
    file: Path,
    samples: np.ndarray,
    codec: str | None,
    *,
    rate: int = SAMPLE_RATE,
    video_seconds: float = 0.0,
    container_options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
) -> Path:
    """Mono ``samples`` (None: no audio stream) and a black picture, encoded by FFmpeg."""
    av = pytest.importorskip("av")
    if codec is not None and codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    with av.open(str(file), "w", options=container_options or {}) as container:
        picture = None
        if video_seconds:
            picture = container.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 32
        sound = (
            container.add_stream(codec, rate=rate, layout="mono", options=codec_options or {})
            if codec
            else None
        )
        if picture is not None:
            for _ in range(round(video_seconds * 10)):
                black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(picture.encode(black))
        if sound is not None:
            resampler = av.AudioResampler(format=sound.codec_context.format.name, layout="mono", rate=rate)
            for first in range(0, len(samples), 960):
                part = np.ascontiguousarray(samples[None, first : first + 960], dtype=np.float32)
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.rate, frame.pts = SAMPLE_RATE, first
                for converted in resampler.resample(frame):
                    container.mux(sound.encode(converted))
            for converted in resampler.resample(None):
                container.mux(sound.encode(converted))
            container.mux(sound.encode(None))
        if picture is not None:
            container.mux(picture.encode(None))
    return file


def shorten(file: Path, fraction: float) -> Path:
    shortened = file.with_name(f"shortened_{file.name}")
    content = file.read_bytes()
    shortened.write_bytes(content[: int(len(content) * fraction)])
    return shortened


def assert_refused(file: Path, found: str, **span: Any) -> None:
    """The error is one line that names the file and says ``found``."""
    with pytest.raises(AudioError, match=found) as error:
        load_audio(file, **span)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


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


# Bad files


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


# Arrays


def test_integer_arrays_are_scaled() -> None:
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        limits = np.iinfo(dtype)
        array = np.array([limits.min, 0, limits.max // 2 + 1], dtype)
        assert to_mono_16k(array, SAMPLE_RATE).tolist() == [-1.0, 0.0, 0.5]
    for dtype in (np.uint8, np.uint16, np.uint32):
        middle = np.iinfo(dtype).max // 2 + 1
        array = np.array([0, middle, middle + middle // 2], dtype)
        assert to_mono_16k(array, SAMPLE_RATE).tolist() == [-1.0, 0.0, 0.5]


SPEECH = np.round(9_000 * tone())


@pytest.mark.parametrize(
    ("array", "scale"),
    [
        (SPEECH.astype(np.int16), 2**15),
        ((SPEECH / 200).astype(np.int16), 2**15),  # a quiet clip
        (SPEECH.astype(np.int32) << 16, 2**31),
        (SPEECH.astype(np.int32) // 200 << 16, 2**31),  # as decoders make 32 bits of a quiet one
        (SPEECH.astype(np.int32) << 8, 2**31),
        (SPEECH.astype(np.int64) << 48, 2**63),
        ((SPEECH + 2**15).astype(np.uint16), None),
        (((SPEECH + 2**15).astype(np.uint32)) << 16, None),
    ],
)
def test_integers_on_the_scale_of_their_dtype(array: np.ndarray, scale: int | None) -> None:
    expected = SPEECH / 2**15 if scale is None else array / scale
    np.testing.assert_allclose(to_mono_16k(array, SAMPLE_RATE), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64, ">i4"])
@pytest.mark.parametrize("bits", [8, 16, 23])
@pytest.mark.parametrize("offset", [False, True])
def test_integers_on_a_smaller_scale(dtype: Any, bits: int, offset: bool) -> None:
    """By their dtype they would be silence."""
    array = np.round(9_000 * tone() * 2.0 ** (bits - 16))
    array += 2 ** (bits - 1) if offset or np.dtype(dtype).kind == "u" else 0
    found = f"holds {np.dtype(dtype)} samples from .* to .*, expected int16, floats, or the scale of "
    with pytest.raises(AudioError, match=found):
        to_mono_16k(array.astype(dtype), SAMPLE_RATE)


def test_silence_is_on_any_scale() -> None:
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        assert not to_mono_16k(np.zeros(100, dtype), SAMPLE_RATE).any()
    for dtype in (np.uint8, np.uint16, np.uint32):
        middle = np.full(100, np.iinfo(dtype).max // 2 + 1, dtype)
        assert not to_mono_16k(middle, SAMPLE_RATE).any()


def test_the_scale_of_floats_changes_no_answer() -> None:
    wave = speechlike(16_000)
    expected = normalize(to_mono_16k(wave, SAMPLE_RATE))
    for scale in (2**15, 2**31 / 8, 0.1):
        scaled = (wave * scale).astype(np.float32)
        np.testing.assert_allclose(normalize(to_mono_16k(scaled, SAMPLE_RATE)), expected, atol=2e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", ">i2"])
def test_arrays_of_any_layout(dtype: Any) -> None:
    array = (
        np.array([[40000, 0.5], [0, -0.25], [60000, 60000]]) if dtype != ">i2" else np.array([[1, 3], [4, 5]])
    )
    expected = array.mean(axis=1) / (32768 if dtype == ">i2" else 1)
    for layout in (
        array.astype(dtype),
        np.asfortranarray(array.astype(dtype)),
        array.astype(dtype)[::-1][::-1],
    ):
        np.testing.assert_allclose(to_mono_16k(layout, SAMPLE_RATE), expected, rtol=1e-3)


def test_an_array_is_not_changed() -> None:
    array = speechlike(1000)
    before = array.copy()
    normalize(to_mono_16k(array, SAMPLE_RATE))
    assert (array == before).all()


@pytest.mark.parametrize(
    ("array", "found"),
    [
        ([0.0, 1.0], "is list, expected a NumPy array"),
        (np.float32(1), "is float32, expected a NumPy array"),
        (np.array(1.0), r"has shape \(\)"),
        (np.zeros((10, 2, 1)), r"has shape \(10, 2, 1\)"),
        (np.zeros((10, 0)), r"has shape \(10, 0\)"),
        (np.zeros((2, 16000)), r"has shape \(2, 16000\), expected \(samples,\) or \(samples, channels\)"),
        (np.zeros(10, bool), "has dtype bool"),
        (np.zeros(10, complex), "has dtype complex128"),
        (np.array(["a"]), "has dtype <U1"),
        (np.array([None]), "has dtype object"),
        (np.zeros(0, np.float32), "holds no sample"),
        (np.zeros((0, 2), np.float32), "holds no sample"),
        (np.array([np.nan]), "holds a sample of nan"),
        (np.array([[np.inf, -np.inf]]), "holds a sample of nan"),
        (np.array([1e300]), "holds a sample of inf"),
    ],
)
def test_arrays_that_are_no_clip(array: Any, found: str) -> None:
    for use in (
        lambda: to_mono_16k(array, SAMPLE_RATE),
        lambda: to_mono_16k(cut(array, 16000, 0.0, None), 16000),
    ):
        with pytest.raises(AudioError, match=found):
            use()


@pytest.mark.parametrize("rate", [0, -1, 10, 1e9, float("nan"), float("inf")])
def test_rates_that_are_none(rate: float) -> None:
    for use in (lambda: to_mono_16k(np.zeros(10), rate), lambda: cut(np.zeros(10), rate, 0.0, 1.0)):
        with pytest.raises(AudioError, match="sample rate"):
            use()


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 100), st.floats(-1, 110), st.floats(-1, 110))
def test_a_span_lies_inside(seconds: float, start: float, end: float) -> None:
    try:
        first, last = span(seconds, start, end)
    except AudioError:
        assert start < 0 or end <= start or end > seconds or start >= seconds
    else:
        assert first == start
        assert 0 <= first < last <= seconds
        assert last == end or 0 < end - last <= 0.0101


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
