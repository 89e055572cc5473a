"""Where clips come from: paths of any kind, pipes, bytes, open files; and films under a wrong name."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import mtab.audio.sources
from mtab.audio import SAMPLE_RATE, load_audio
from mtab.data.check import clip_seconds
from mtab.errors import AudioError

VALUES = (9_000 * np.sin(np.arange(SAMPLE_RATE) / 20)).astype("<i2")


def encoded(kind: str, count: int = SAMPLE_RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.resize(VALUES, count), SAMPLE_RATE, format=kind)
    return file.getvalue()


def refusal(source: Any) -> str:
    with pytest.raises(AudioError) as caught:
        load_audio(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class AnyPath:
    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        if isinstance(self.path, Exception):
            raise self.path
        return self.path


class Broken(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise RuntimeError("the network is gone")


class Text:
    def read(self) -> str:
        return "a"


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_clip_in_memory_is_the_file(tmp_path: Path, kind: str) -> None:
    content = encoded(kind)
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(content)
    (tmp_path / "0123abcd").write_bytes(content)  # as caches name what they keep
    expected = load_audio(path)
    assert len(expected) == SAMPLE_RATE
    with path.open("rb") as buffered, path.open("rb", buffering=0) as raw:
        behind = io.BytesIO(b"a header" + content)
        behind.seek(8)
        sources = (
            str(path),
            AnyPath(str(path)),
            AnyPath(os.fsencode(path)),
            content,
            bytearray(content),
            memoryview(content),
            io.BytesIO(content),
            behind,
            buffered,
            raw,
            tmp_path / "0123abcd",
        )
        for source in sources:
            assert (load_audio(source) == expected).all()
            if not hasattr(source, "read"):
                part = load_audio(source, 0.25, 0.5)
                np.testing.assert_allclose(part, expected[4_000:8_000], atol=1e-5)


def test_what_is_no_clip_in_memory(tmp_path: Path) -> None:
    closed = io.BytesIO(b"a")
    closed.close()
    assert refusal(b"") == refusal(bytearray()) == "audio bytes: unreadable (0 bytes), expected a clip"
    assert refusal(io.BytesIO()) == "audio file: unreadable (0 bytes), expected a clip"
    assert refusal(closed) == "audio file: unreadable (I/O operation on closed file), expected a clip"
    assert refusal(Broken()) == "audio file: unreadable (the network is gone), expected a clip"
    assert refusal(Text()) == "audio file: reads str, expected bytes"
    found = refusal(io.StringIO("a"))
    assert found == "audio file: is open as text, expected a file opened with 'rb'"
    assert "unreadable (" in refusal(io.BytesIO(encoded("WAV")[:20]))
    assert "truncated" in refusal(encoded("WAV")[:2_000])
    for path in ("a\0b.wav", AnyPath(ValueError("none")), AnyPath(3)):
        assert refusal(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path, content = tmp_path / "pipe.wav", encoded("WAV", 100_000)  # more than a pipe holds
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    assert (load_audio(path) == load_audio(content)).all()
    writer.join()
    with pytest.raises(AudioError, match=r"^is a pipe, expected a file$"):
        clip_seconds(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_nobody_writes_to_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtab.audio.sources, "_WRITER_SECONDS", 0.2)
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == (
        f"{tmp_path / 'pipe'}: is a pipe that nobody writes to, expected a clip"
    )


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="this system has no /dev/stdin")
@pytest.mark.parametrize("content", [encoded("FLAC"), encoded("WAV"), b""], ids=["flac", "wav", "nothing"])
def test_the_standard_input(content: bytes) -> None:
    code = (
        "from mtab.audio import load_audio\nfrom mtab.errors import AudioError\n"
        "try: print(load_audio('/dev/stdin').shape)\nexcept AudioError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=False)
    expected = "(16000,)" if content else "/dev/stdin: unreadable (0 bytes), expected a clip"
    assert (done.stdout.decode().strip(), done.stderr) == (expected, b"")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_what_is_no_file() -> None:
    for path in ("/dev/zero", "/dev/null"):
        assert refusal(path) == f"{path}: is a device, expected a clip"


def film(path: Path, kind: str, codec: str) -> bytes:
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(VALUES[None], format="s16", layout="mono")
        frame.rate = SAMPLE_RATE
        size = stream.codec_context.frame_size or 960
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", 48_000, size)
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("webm", "libopus"), ("matroska", "aac"), ("mp4", "aac"), ("mov", "aac"), ("flv", "aac")],
)
@pytest.mark.parametrize("suffix", ["wav", "mp3", "ogg"])
def test_a_film_under_a_wrong_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, codec: str, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    content = film(path, kind, codec) if kind != "flv" else b"FLV\x01\x04" + bytes(100)
    if kind != "flv":
        for source in (path, content, io.BytesIO(content)):
            assert len(load_audio(source)) == pytest.approx(SAMPLE_RATE, abs=2_048)
    path.write_bytes(content)
    monkeypatch.setitem(sys.modules, "av", None)
    for source, name in ((path, path), (content, "audio bytes")):
        expected = "decoding it needs av, which is not installed: pip install 'mtab[video]'"
        assert refusal(source) == f"{name}: {expected}"


@pytest.mark.parametrize("tag", [b"", b"ID3\x03\x00\x00\x00\x00\x00\x1e" + bytes(30)])
def test_aac_under_a_wrong_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: bytes) -> None:
    content = tag + film(tmp_path / "a", "adts", "aac")
    paths = [tmp_path / f"a.{suffix}" for suffix in ("aac", "wav", "flac", "mp3", "ogg")]
    for path in paths:
        path.write_bytes(content)
        assert len(load_audio(path)) == pytest.approx(SAMPLE_RATE, abs=2_048)
    assert len(load_audio(content)) == pytest.approx(SAMPLE_RATE, abs=2_048)
    monkeypatch.setitem(sys.modules, "av", None)
    for path in paths:
        assert refusal(path).endswith(
            "decoding it needs av, which is not installed: pip install 'mtab[video]'"
        )


def test_a_file_that_is_not_open_for_reading(tmp_path: Path) -> None:
    with (tmp_path / "a.wav").open("wb") as file:
        assert refusal(file) == "audio file: unreadable (not open for reading), expected a clip"
