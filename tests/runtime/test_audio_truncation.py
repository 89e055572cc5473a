"""What is whole is answered and what breaks off is refused, by what each format says of its own length."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtab.audio import SAMPLE_RATE, load_audio
from mtab.data.check import clip_seconds
from mtab.errors import AudioError

COUNT = SAMPLE_RATE
VALUES = (9_000 * np.sin(np.arange(COUNT) / 20)).astype("<i2")
ID3 = b"ID3\x03\x00\x00\x00\x00\x00\x1e" + bytes(30)


def chunk(name: bytes, content: bytes, order: str = "<") -> bytes:
    return name + struct.pack(order + "I", len(content)) + content + bytes(len(content) % 2)


def pcm(order: str = "<", code: int = 1) -> bytes:
    return struct.pack(order + "HHIIHH", code, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)


def wav(*before: bytes, after: bytes = b"", riff: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(before) + chunk(b"fmt ", pcm()) + chunk(b"data", VALUES.tobytes()) + after
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def w64() -> bytes:
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")

    def part(name: bytes, content: bytes) -> bytes:
        return name + tail + struct.pack("<Q", 24 + len(content)) + content + bytes(-len(content) % 8)

    body = b"wave" + tail + part(b"fmt ", pcm()) + part(b"data", VALUES.tobytes())
    head = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
    return head + struct.pack("<Q", 24 + len(body)) + body


def caf(size: int | None = None) -> bytes:
    form = struct.pack(">d4sIIIII", SAMPLE_RATE, b"lpcm", 2, 2, 1, 1, 16)
    data = bytes(4) + VALUES.tobytes()
    return (
        b"caff\0\1\0\0desc" + struct.pack(">q", len(form)) + form
        + b"data" + struct.pack(">q", len(data) if size is None else size) + data
    )  # fmt: skip


def aiff() -> bytes:
    rate = struct.pack(">HQ", 16383 + 13, SAMPLE_RATE << 50)  # an 80-bit float
    common = chunk(b"COMM", struct.pack(">hIh", 1, COUNT, 16) + rate, ">")
    body = b"AIFF" + common + chunk(b"SSND", bytes(8) + VALUES.astype(">i2").tobytes(), ">")
    return b"FORM" + struct.pack(">I", len(body)) + body


def au(size: int | None = None) -> bytes:
    samples = VALUES.astype(">i2").tobytes()
    head = (24, len(samples) if size is None else size, 3, SAMPLE_RATE, 1)
    return b".snd" + struct.pack(">5I", *head) + samples


MADE: dict[str, Callable[[], bytes]] = {"wav": wav, "w64": w64, "caf": caf, "aiff": aiff, "au": au}
WRITTEN = {"sph": "NIST", "avr": "AVR", "voc": "VOC"}


def written(kind: str, channels: int = 1, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    values = np.stack([VALUES] * channels, axis=1)
    soundfile.write(file, values, SAMPLE_RATE, format=WRITTEN[kind], subtype=subtype)
    return file.getvalue()


def needs_av(kind: str) -> None:
    if kind != "wav":
        pytest.importorskip("av")


def refusal(source: Path | bytes) -> str:
    with pytest.raises(AudioError) as caught:
        load_audio(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(source: Path | bytes) -> None:
    np.testing.assert_allclose(load_audio(source), VALUES / 2**15, atol=1e-6)


@pytest.mark.parametrize("before", [b"", ID3, ID3 * 2], ids=["plain", "tagged", "tagged twice"])
@pytest.mark.parametrize("kind", MADE)
def test_a_whole_file_is_answered_and_a_cut_one_is_not(tmp_path: Path, kind: str, before: bytes) -> None:
    needs_av(kind)
    content = before + MADE[kind]()
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    same(path)
    same(content)
    assert clip_seconds(path) == pytest.approx(1.0)
    for missing in (2, len(VALUES), 2 * len(VALUES) - 2):
        cut = content[:-missing] if missing < len(content) else content[:100]
        path.write_bytes(cut)
        assert refusal(path).startswith(f"{path}: truncated: holds ")
        assert refusal(cut).startswith("audio bytes: truncated: holds ")
        with pytest.raises(AudioError, match=r"^truncated: "):
            clip_seconds(path)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", WRITTEN)
def test_formats_that_count_their_samples(tmp_path: Path, kind: str, channels: int) -> None:
    needs_av(kind)
    content = written(kind, channels)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    same(path)
    same(content)
    for missing in (4, len(content) // 2):
        path.write_bytes(content[:-missing])
        assert refusal(path).startswith(f"{path}: truncated: holds ")
        assert refusal(content[:-missing]).startswith("audio bytes: truncated: holds ")


@pytest.mark.parametrize(("kind", "subtype"), [("sph", "ULAW"), ("sph", "PCM_24"), ("avr", "PCM_S8")])
def test_formats_that_count_samples_of_another_width(kind: str, subtype: str) -> None:
    needs_av(kind)
    content = written(kind, subtype=subtype)
    assert len(load_audio(content)) == COUNT
    assert "truncated" in refusal(content[: len(content) // 2])


def test_a_sphere_without_a_count_is_no_promise() -> None:
    needs_av("sph")
    content = written("sph").replace(b"sample_count", b"sample_total")
    same(content)
    assert len(load_audio(content[:-COUNT])) == COUNT // 2


@pytest.mark.parametrize("content", [caf(-1), au(0xFFFF_FFFF)], ids=["caf", "au"])
def test_a_length_that_is_not_known_is_no_promise(content: bytes) -> None:
    pytest.importorskip("av")
    same(content)


@pytest.mark.parametrize(
    "content",
    [
        wav(after=chunk(b"LIST", b"INFO")),
        wav(after=b"TAG" + bytes(125)),
        wav(chunk(b"LIST", b"INFOx")),
        wav(chunk(b"JUNK", bytes(28)), chunk(b"bext", bytes(602))),
        wav(riff=0),
        wav(riff=10),
        wav(riff=2**31),
    ],
    ids=["chunk after", "ID3v1 after", "odd chunk", "chunks before", "0", "10", "2**31"],
)
def test_what_lies_around_the_samples_takes_none_away(tmp_path: Path, content: bytes) -> None:
    same(content)
    (tmp_path / "a.wav").write_bytes(content)
    same(tmp_path / "a.wav")
    # Half the samples, and whatever lies before them.
    start = content.index(b"data") + 8
    assert "truncated: holds 16000 bytes of samples, expected 32000" in refusal(content[: start + COUNT])


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "MS_ADPCM", "IMA_ADPCM", "GSM610", "PCM_24", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_every_coding_of_a_wav(kind: str, subtype: str) -> None:
    if not soundfile.check_format(kind, subtype):
        pytest.skip(f"no {kind} of {subtype}")
    file = io.BytesIO()
    soundfile.write(file, VALUES, SAMPLE_RATE, format=kind, subtype=subtype)
    content = file.getvalue()
    expected, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    assert len(expected) >= COUNT
    for whole in (content, ID3 + content):
        assert (load_audio(whole) == expected).all()
        assert "truncated" in refusal(whole[: len(whole) * 2 // 3])


def mp3(frames: int = COUNT) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.resize(VALUES, frames), SAMPLE_RATE, format="MP3")
    return file.getvalue()


def mp3_in_wav(content: bytes, samples: int, code: int = 0x55) -> bytes:
    """``samples`` is what its fact chunk says, which counts the padding of the encoder or does not."""
    form = struct.pack("<HHIIHHHHIHHH", code, 1, SAMPLE_RATE, 4_000, 1, 0, 12, 1, 2, 144, 1, 1_393)
    parts = (chunk(b"fmt ", form), chunk(b"fact", struct.pack("<I", samples)), chunk(b"data", content))
    body = b"WAVE" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("samples", [0, COUNT // 2, COUNT, COUNT + 3_000, 2**31])
def test_an_mp3_in_a_wav_is_that_mp3(tmp_path: Path, samples: int) -> None:
    content = mp3()
    whole = mp3_in_wav(content, samples)
    expected = load_audio(content)
    assert len(expected) == COUNT
    assert (load_audio(whole) == expected).all()
    assert (load_audio(ID3 + whole) == expected).all()
    (tmp_path / "a.wav").write_bytes(whole)
    assert (load_audio(tmp_path / "a.wav", 0.25, 0.5) == expected[COUNT // 4 : COUNT // 2]).all()
    assert "truncated" in refusal(whole[:-10])


def test_an_mp3_in_a_wav_as_ffmpeg_writes_it(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(VALUES[None], format="s16", layout="mono")
        frame.rate = SAMPLE_RATE
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", SAMPLE_RATE, 1_152)
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    assert COUNT <= len(load_audio(path)) < COUNT + 4 * 1_152
    path.write_bytes(path.read_bytes()[:-400])
    assert "truncated" in refusal(path)


def ogg(subtype: str = "VORBIS") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, VALUES, SAMPLE_RATE, format="OGG", subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_and_a_chain_of_them(tmp_path: Path, subtype: str) -> None:
    content = ogg(subtype)
    assert len(load_audio(content)) == COUNT
    assert len(load_audio(content + b"TAG" + bytes(125))) == COUNT
    for cut in (content[:-1], content[: len(content) // 2]):
        assert "truncated" in refusal(cut)
    pytest.importorskip("av")
    for path in (tmp_path / "a.ogg", tmp_path / "a.opus"):
        path.write_bytes(content + ogg(subtype))  # each has a serial number of its own
        assert len(load_audio(path)) == pytest.approx(2 * COUNT, abs=1_000)
        path.write_bytes(content + ogg(subtype)[:-1])
        assert "truncated" in refusal(path)


def test_mp3s_in_one_file() -> None:
    first, second = mp3(), mp3(COUNT // 2)
    assert len(load_audio(first)) == COUNT
    for tag in (b"TAG" + bytes(125), b"APETAGEX" + bytes(3_000)):
        assert len(load_audio(ID3 + first + tag)) == COUNT
    assert "truncated" in refusal(first[: len(first) // 2])
    pytest.importorskip("av")
    assert len(load_audio(first + second)) == pytest.approx(1.5 * COUNT, abs=4 * 1_152)
    # What FFmpeg does not take is an error, and not the first one alone.
    assert "unreadable" in refusal(first + ID3 + second)


def test_a_flac_without_its_last_frames() -> None:
    file = io.BytesIO()
    soundfile.write(file, VALUES, SAMPLE_RATE, format="FLAC")
    content = file.getvalue()
    for whole in (content, ID3 + content, content + b"TAG" + bytes(125)):
        same(whole)
    for missing in (1, 100, len(content) // 2):
        assert "truncated" in (found := refusal(content[:-missing])) or "unreadable" in found


@pytest.mark.parametrize("content", [wav()[: wav().index(b"data") + 4] + bytes(4), aiff()[:12]])
def test_no_sample_at_all(content: bytes) -> None:
    pytest.importorskip("av")
    assert "holds no sample" in (found := refusal(content)) or "unreadable" in found
