"""Write clips of every kind, and what the Python runtime makes of them, for audio_test.cpp.

``python write_audio_golden.py OUT_FOLDER`` fills OUT_FOLDER/audio: the clips, ``index.json`` with the cases,
and for each the samples that `mtab.audio.load_audio` gives as raw float32, or its error. What Python hands to
FFmpeg counts as refused, as in the C++ library. With ``MTAB_TEST_DATA``, real recordings are among them.
"""

import io
import json
import math
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import mtab.audio
import mtab.audio.soundfiles
from mtab.audio import cut, load_audio, normalize, require_at_most, to_mono_16k
from mtab.audio.sources import Recording
from mtab.audio.truncation import require_whole
from mtab.errors import AudioError

RATE = 16_000
ID3 = b"ID3\x03\x00\x00\x00\x00\x00\x1e" + bytes(30)
FFMPEG = "needs FFmpeg, which this library has not, expected wav, flac, ogg or mp3"
MOST = 600.0
SPANS = ((0.1, None), (None, 0.25), (0.1234, 0.3456), (0.3, 9.0), (9.0, None), (-1.0, None), (0.3, 0.3))
ODD_SPANS = (
    (math.nan, None), (None, math.nan), (None, math.inf), (math.inf, None), (0.0, 0.0), (0.2, 0.1),
    (0.00001, 0.00002), (None, -1.0), (0.0, 1e300), (0.5, 0.508), (0.5, 0.6101),
)  # fmt: skip
LIMITED = (
    (None, None, 0.2), (0.1, None, 0.2), (0.1, 0.4, 0.2), (None, 0.2, 0.2), (None, None, math.inf)
)  # fmt: skip


def refuse_container(recording: Recording, *_: object) -> Any:
    require_whole(recording.file)
    raise AudioError(FFMPEG)


def wave(seconds: float = 0.6, rate: float = RATE, channels: int = 1) -> np.ndarray:
    """Something like speech, other in each channel."""
    random = np.random.default_rng(round(rate) + channels)
    time = np.arange(round(seconds * rate))[:, None] / rate
    tones = 0.3 * np.sin(2 * np.pi * (200.0 + 90.0 * np.arange(channels)) * time) * np.sin(7 * time)
    return tones + 0.05 * random.standard_normal(tones.shape)


def encoded(samples: np.ndarray, rate: int, form: str, subtype: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes, order: str = "<", size: int | None = None) -> bytes:
    size = len(content) if size is None else size
    return name + struct.pack(order + "I", size) + content + bytes(len(content) % 2)


def wav(
    *,
    payload: bytes | None = None,
    order: str = "<",
    code: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    riff: int | None = None,
    data: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
    magic: bytes | None = None,
    form: bytes | None = None,
) -> bytes:
    if payload is None:
        payload = (20_000 * wave()[:, 0]).astype(order + "i2").tobytes()
    frame = channels * bits // 8
    if form is None:
        form = struct.pack(order + "HHIIHH", code, channels, rate, rate * frame & 0xFFFF_FFFF, frame, bits)
    body = b"WAVE" + before + chunk(b"fmt ", form, order) + chunk(b"data", payload, order, data) + after
    size = len(body) if riff is None else riff
    return (magic or (b"RIFX" if order == ">" else b"RIFF")) + struct.pack(order + "I", size) + body


def w64(samples: bytes) -> bytes:
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")

    def part(name: bytes, content: bytes) -> bytes:
        return name + tail + struct.pack("<Q", 24 + len(content)) + content + bytes(-len(content) % 8)

    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"wave" + tail + part(b"fmt ", form) + part(b"data", samples)
    return b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<Q", 24 + len(body)) + body


def caf(samples: bytes, size: int | None = None) -> bytes:
    form = struct.pack(">d4sIIIII", RATE, b"lpcm", 2, 2, 1, 1, 16)
    data = bytes(4) + samples
    head = b"caff\0\1\0\0desc" + struct.pack(">q", len(form)) + form
    return head + b"data" + struct.pack(">q", len(data) if size is None else size) + data


def au(samples: bytes, size: int | None = None) -> bytes:
    return b".snd" + struct.pack(">5I", 24, len(samples) if size is None else size, 3, RATE, 1) + samples


def mp3_in_wav(content: bytes, data: int | None = None, riff: int | None = None) -> bytes:
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 4_000, 1, 0, 12, 1, 2, 144, 1, 1_393)
    return wav(
        payload=content, form=form, before=chunk(b"fact", struct.pack("<I", 9_600)), data=data, riff=riff
    )


def without_xing(content: bytes) -> bytes:
    """An mp3 without its first frame, which holds the Xing header and no sound."""
    place = max(content.find(b"Xing"), content.find(b"Info"))
    begin = content.rfind(b"\xff", 0, place - 8) if content[0] != 0xFF else 0
    following = content.index(content[begin : begin + 2], place)
    return content[following:]


def clips() -> dict[str, bytes]:
    """The content of every clip by its file's name."""
    made: dict[str, bytes] = {}
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM"):
        made[f"{subtype}.wav"] = encoded(wave(), RATE, "WAV", subtype)
    for rate in (1_000, 8_000, 11_025, 15_999, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 1_000_000):
        made[f"{rate}.wav"] = encoded(wave(0.4, rate), rate, "WAV", "FLOAT")
    for channels in (2, 3, 6, 8, 9, 17, 64):
        made[f"{channels}_channels.wav"] = encoded(wave(0.3, channels=channels), RATE, "WAV", "FLOAT")
    for channels in (1, 2, 6):
        for kind in ("flac", "ogg"):
            for rate in (8_000, 44_100, 48_000):
                samples = wave(0.5, rate, channels)
                made[f"{rate}_{channels}.{kind}"] = encoded(samples, rate, kind.upper())
    made["opus.ogg"] = encoded(wave(), RATE, "OGG", "OPUS")
    made["wavex.wav"] = encoded(wave(channels=2), RATE, "WAVEX", "PCM_24")
    made["rf64.wav"] = encoded(wave(), RATE, "RF64", "PCM_16")
    made["24.flac"] = encoded(wave(), RATE, "FLAC", "PCM_24")
    for rate, channels in ((16_000, 1), (22_050, 1), (44_100, 2), (48_000, 2)):
        made[f"plain_{rate}.mp3"] = encoded(wave(1.5, rate, channels), rate, "MP3")
        made[f"vbr_{rate}.mp3"] = encoded(
            wave(1.5, rate, channels), rate, "MP3", bitrate_mode="VARIABLE", compression_level=0.5
        )
        made[f"constant_{rate}.mp3"] = encoded(
            wave(1.5, rate, channels), rate, "MP3", bitrate_mode="CONSTANT", compression_level=0.5
        )
    made["integers.wav"] = encoded(30_000 * wave(), RATE, "WAV", "FLOAT")
    made["silence.wav"] = encoded(np.zeros(8_000), RATE, "WAV", "PCM_16")
    made["one_sample.wav"] = wav(payload=b"\x10\x20")
    made["12s.flac"] = encoded(np.zeros(12 * 48_000), 48_000, "FLAC")
    # Under names that say nothing, something else, and in capitals.
    made["CAPITALS.WAV"] = wav()
    made["noname"] = made["PCM_16.wav"]
    made["noname_ogg"] = made["8000_1.ogg"]
    made["noname_mp3"] = made["plain_16000.mp3"]
    made["flac.wav"] = made["24.flac"]
    made["mp3.wav"] = made["plain_16000.mp3"]
    made["wav.mp4"] = made["PCM_16.wav"]
    made["ogg.opus"] = made["opus.ogg"]
    made["mp3.xyz"] = made["plain_16000.mp3"]
    made.update(wavs_by_hand())
    made.update(tagged(made))
    made.update(broken(made))
    made.update(containers())
    return made


def wavs_by_hand() -> dict[str, bytes]:
    long_sizes = struct.pack("<QQQI", 0, 19_200, 9_600, 0)
    no_size = 0xFFFF_FFFF
    return {
        "rifx.wav": wav(order=">"),
        "rifx_pipe.wav": wav(order=">", data=0, riff=0),
        "pipe_0.wav": wav(data=0, riff=0),
        "pipe_f.wav": wav(data=no_size, riff=no_size),
        "pipe_7.wav": wav(data=0x7FFF_FFF0, riff=0x7FFF_FFFF),
        "pipe_riff.wav": wav(data=0, riff=36),
        "empty_then_chunk.wav": wav(payload=b"", after=chunk(b"LIST", b"INFO")),
        "24_hours.wav": wav(data=0x5265_C000),
        "riff_10.wav": wav(riff=10),
        "after.wav": wav(after=chunk(b"LIST", b"INFO")),
        "id3v1.wav": wav(after=b"TAG" + bytes(125)),
        "odd_chunk.wav": wav(before=chunk(b"LIST", b"INFOx")),
        "many_chunks.wav": wav(before=chunk(b"JUNK", bytes(28)) + chunk(b"bext", bytes(602))),
        "huge_chunk.wav": wav(before=chunk(b"JUNK", b"abcd", size=0xFFFF_FFF0)),
        "rf64_short.wav": wav(magic=b"RF64", before=chunk(b"ds64", long_sizes), data=no_size)[:9_000],
        "rf64_huge.wav": wav(
            magic=b"RF64", before=chunk(b"ds64", struct.pack("<QQQI", 0, 2**63, 0, 0)), data=no_size
        ),
        "rf64_stub.wav": wav(magic=b"RF64", before=chunk(b"ds64", b"0123456789"), data=no_size),
        "10_hz.wav": wav(rate=10),
        "2_mhz.wav": wav(rate=2_000_000),
        "0_hz.wav": wav(rate=0),
        "100_channels.wav": wav(channels=100),
        "100_channels_10_hz.wav": wav(channels=100, rate=10),
        "0_channels.wav": wav(channels=0),
        "0_bits.wav": wav(bits=0),
        "unknown_code.wav": wav(code=0x1234),
        "no_format.wav": b"RIFF\x10\0\0\0WAVE" + chunk(b"data", bytes(100)),
        "no_sample.wav": wav(payload=b""),
        "half_a_frame.wav": wav(payload=bytes(2_001), channels=2),
    }


def tagged(made: dict[str, bytes]) -> dict[str, bytes]:
    tags = {
        "tag": ID3,
        "two_tags": ID3 * 2,
        "foot": b"ID3\x04\x00\x10\x00\x00\x00\x0a" + bytes(20),
    }
    names = ("PCM_16.wav", "24.flac", "8000_1.ogg", "plain_16000.mp3", "noname")
    found = {f"{tag}_{name}": head + made[name] for tag, head in tags.items() for name in names}
    found["tag_alone.wav"] = ID3
    found["tag_beyond.wav"] = b"ID3\x03\x00\x00\x7f\x7f\x7f\x7f" + made["PCM_16.wav"]
    found["tag_of_nothing.wav"] = b"ID3\x03\x00\x00\x00\x00\x00\x00" * 20
    found["tag_cut.mp3"] = b"ID3\x03\x00"
    return found


def broken(made: dict[str, bytes]) -> dict[str, bytes]:
    """Truncated, damaged and hostile ones."""
    found: dict[str, bytes] = {}
    for name in ("PCM_16.wav", "rf64.wav", "rifx.wav", "24.flac", "8000_1.ogg", "opus.ogg", "plain_16000.mp3",
                 "vbr_44100.mp3", "tag_PCM_16.wav", "IMA_ADPCM.wav"):  # fmt: skip
        content = made[name]
        for missing in (1, 2, len(content) // 2, len(content) - 100, len(content) - 20, len(content) - 4):
            found[f"short_{missing}_{name}"] = content[:-missing]
    for suffix in ("wav", "flac", "ogg", "mp3", "mp4", "xyz"):
        text = b"This is text, not sound.\n" * 40
        heads = (b"RIFF", b"OggS", b"ID3", b"fLaC", b"\xff", b"\xff\xfb")
        for i, content in enumerate((b"", text, bytes(5_000), *heads)):
            found[f"none_{i}.{suffix}"] = content
    for subtype in ("FLOAT", "DOUBLE"):
        for bad in (math.nan, -math.nan, math.inf, -math.inf, 1e30, 2.0**31, -(2.0**31) * 1.001):
            samples = wave()
            samples[5_000] = bad
            found[f"{bad:g}_{subtype}.wav"] = encoded(samples, RATE, "WAV", subtype)
    flac = bytearray(made["24.flac"])
    flac[21] &= 0xF0  # STREAMINFO's 36-bit number of samples
    flac[22:26] = bytes(4)
    found["piped.flac"] = bytes(flac)
    flac[21] |= 0x0F
    flac[22:26] = b"\xff" * 4
    found["fantasy.flac"] = bytes(flac)
    for kind in ("24.flac", "8000_1.ogg", "PCM_16.wav", "vbr_44100.mp3"):
        content = bytearray(made[kind])
        content[len(content) // 2 : len(content) // 2 + 40] = b"\xa5" * 40
        found[f"damaged_{kind}"] = bytes(content)
    found["chain.ogg"] = made["8000_1.ogg"] + encoded(wave(), 8_000, "OGG")
    found["chain_short.ogg"] = found["chain.ogg"][:-1]
    found["tag_after.ogg"] = made["8000_1.ogg"] + b"TAG" + bytes(125)
    found["no_sample.ogg"] = encoded(np.zeros(0), RATE, "OGG")
    found["chain.mp3"] = made["plain_16000.mp3"] + encoded(wave(), RATE, "MP3")
    found["tag_after.mp3"] = made["plain_16000.mp3"] + b"TAG" + bytes(125)
    found["ape_after.mp3"] = made["plain_16000.mp3"] + b"APETAGEX" + bytes(3_000)
    for rate in (16_000, 22_050, 44_100):
        found[f"no_xing_{rate}.mp3"] = without_xing(made[f"constant_{rate}.mp3"])
    found["no_xing_tagged.mp3"] = ID3 + found["no_xing_16000.mp3"] + b"TAG" + bytes(125)
    found["no_xing_short.mp3"] = found["no_xing_16000.mp3"][:-500]
    found["no_xing_plain.mp3"] = without_xing(made["plain_16000.mp3"])
    found["no_xing_vbr.mp3"] = without_xing(made["vbr_44100.mp3"])
    found["mp3_in.wav"] = mp3_in_wav(made["plain_16000.mp3"])
    found["mp3_in_short.wav"] = mp3_in_wav(made["plain_16000.mp3"])[:-10]
    found["mp3_in_pipe.wav"] = mp3_in_wav(made["plain_16000.mp3"], data=0, riff=0)
    found["adts.wav"] = b"\xff\xf1" + bytes(500)
    return found


def containers() -> dict[str, bytes]:
    """What FFmpeg reads, whole and truncated, under its own name and none."""
    samples = (9_000 * wave()[:, 0]).astype("<i2")
    kinds: dict[str, bytes] = {
        "a.w64": w64(samples.tobytes()),
        "a.caf": caf(samples.tobytes()),
        "a.au": au(samples.astype(">i2").tobytes()),
        "le.au": encoded(samples, RATE, "AU", endian="LITTLE"),
        "a.aiff": encoded(samples, RATE, "AIFF"),
        "a.svx": encoded(samples, RATE, "SVX"),
        "a.sph": encoded(samples, RATE, "NIST"),
        "24.sph": encoded(np.stack([samples] * 2, axis=1), RATE, "NIST", "PCM_24"),
        "a.avr": encoded(np.stack([samples] * 2, axis=1), RATE, "AVR"),
        "8.avr": encoded(samples, RATE, "AVR", "PCM_S8"),
        "a.voc": encoded(samples, RATE, "VOC"),
        "a.mp4": b"\0\0\0\x20ftypisom" + bytes(200),
        "a.webm": b"\x1a\x45\xdf\xa3" + bytes(200),
        "a.avi": b"RIFF\x00\x01\0\0AVI " + bytes(200),
        "a.wma": b"0&\xb2u" + bytes(200),
        "a.flv": b"FLV\x01" + bytes(200),
        "bw64.wav": b"BW64" + wav()[4:],
    }
    sphere = kinds["a.sph"]
    kinds["embedded.sph"] = sphere.replace(b"sample_coding -s3 pcm", b"sample_coding -s3 pcm,embedded-x")
    kinds["huge.sph"] = sphere.replace(b"sample_count -i 9600", b"sample_count -i 99999999999999999999999")
    kinds["no_count.sph"] = sphere.replace(b"sample_count", b"sample_total")
    kinds["odd_size.sph"] = sphere[:8] + b"  x1024\n" + sphere[16:]
    kinds["no_size.caf"] = caf(samples.tobytes(), -1)
    kinds["no_size.au"] = au(samples.tobytes(), 0xFFFF_FFFF)
    kinds["far.au"] = b".snd" + b"\xff" * 8 + bytes(50)
    found = dict(kinds)
    for name, content in kinds.items():
        found[f"short_{name}"] = content[: len(content) * 2 // 3]
        found[f"stub_{name}"] = content[:20]
        found[f"{name}.wav"] = content
        found[f"{name}.short.wav"] = content[: len(content) * 2 // 3]
        found[f"tag_{name}"] = ID3 + content
    return found


def shown(value: float | None) -> float | str | None:
    """JSON has no NaN and no infinity."""
    return value if value is None or math.isfinite(value) else str(value)


class Writer:
    """The cases, and the files of their samples."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: list[dict[str, Any]] = []
        self.written: dict[bytes, str] = {}

    def add(self, case: dict[str, Any], load: Callable[[], np.ndarray], name: str) -> None:
        try:
            samples = load()
        except AudioError as error:
            case["error"] = "AudioError"
            case["message"] = str(error).removeprefix(f"{name}: ")
        else:
            case["samples"] = self._write(samples)
            if case["start"] is None and case["end"] is None:
                case["normalized"] = self._write(normalize(samples))
        self.cases.append(case)

    def _write(self, samples: np.ndarray) -> str:
        content = np.ascontiguousarray(samples, dtype=np.float32).tobytes()
        # A clip in memory gives what the file gives: one copy is enough.
        name = self.written.setdefault(content, f"expected/{len(self.written)}.f32")
        (self.folder / name).write_bytes(content)
        return name

    def clip(
        self, file: Path, start: float | None = None, end: float | None = None, most: float = MOST
    ) -> None:
        case = {"start": shown(start), "end": shown(end), "most": shown(most)}
        path = self.folder / "clips" / file
        # Relative to the folder, which may be moved; one of a corpus has a whole path.
        case["file"] = str(file if file.is_absolute() else Path("clips") / file)
        self.add({"as": "path", **case}, lambda: load_audio(path, start, end, most), str(path))
        content = path.read_bytes()
        load = lambda: load_audio(content, start, end, most)  # noqa: E731
        self.add({"as": "bytes", **case}, load, "audio bytes")

    def array(
        self,
        values: np.ndarray,
        rate: float,
        start: float | None = None,
        end: float | None = None,
        most: float = MOST,
    ) -> None:
        name = f"arrays/{len(self.cases)}.raw"
        np.ascontiguousarray(values).tofile(self.folder / name)
        case = {
            "raw": name,
            "type": str(values.dtype),
            "frames": values.shape[0],
            "channels": 1 if values.ndim == 1 else values.shape[1],
            "rate": shown(rate),
        }
        case |= {"start": shown(start), "end": shown(end), "most": shown(most)}

        def load() -> np.ndarray:
            part = cut(values, rate, start, end)
            require_at_most(len(part) / rate, most)
            return to_mono_16k(part, rate)

        self.add(case, load, "")


def write_arrays(writer: Writer) -> None:
    floats = wave(0.3)[:, 0]
    for dtype, scale in (("float32", 1), ("float64", 1), ("int16", 2**14), ("int32", 2**30)):
        for rate in (16_000, 16_000.5, 8_000, 44_100):
            writer.array((floats * scale).astype(dtype), rate)
        for channels in (1, 2, 5, 8, 16, 19, 64):
            writer.array((wave(0.05, channels=channels) * scale / 2).astype(dtype), 22_050.0)
        writer.array((floats * scale).astype(dtype), 16_000, 0.1, 0.2)
        writer.array((floats * scale).astype(dtype), 16_000, 0.1, None, 0.1)
        writer.array(np.zeros((0, 1), dtype), 16_000)
        writer.array(np.zeros((100, 0), dtype), 16_000)
        writer.array(np.zeros((100, 65), dtype), 16_000)
        writer.array(np.zeros((0, 65), dtype), 16_000)
        writer.array(np.zeros(100, dtype), 16_000, 0.000001, 0.000002)
    for rate in (math.nan, math.inf, -math.inf, 0.0, -1.0, 999.999, 1_000_000.5, 123_456_789.0):
        writer.array(floats.astype("float32"), rate)
    for start, end in (*SPANS, *ODD_SPANS):
        writer.array(floats.astype("float32"), 16_000, start, end)
    for bad in (math.nan, -math.nan, math.inf, -math.inf, 1e300, 3e9, 2.0**31):
        for dtype in ("float32", "float64"):
            for channels in (1, 2):
                values = wave(0.1, channels=channels)
                values[700] = bad
                with np.errstate(over="ignore"):
                    writer.array(values.astype(dtype), 22_050)
    values = wave(0.1, channels=2)
    values[700] = (3e9, -3e9)
    writer.array(values.astype("float32"), 22_050)
    for values in (
        np.arange(-9_000, 9_000), np.arange(0, 2**23, 1_001), np.arange(0, 2**23 + 1_001, 1_001),
        np.arange(-128, 128) << 8, np.array([-(2**31), 2**31 - 1, 0]), np.array([-(2**23), 0]),
        np.array([1 - 2**23, 0]), np.zeros(9),
    ):  # fmt: skip
        writer.array(values.astype("int32"), 16_000)


def hashed(count: int) -> np.ndarray:
    """Whole numbers of 16 bits that look random, as audio_test.cpp makes them too."""
    values = np.arange(count, dtype=np.uint64) * np.uint64(2_654_435_761) & np.uint64(0xFFFF_FFFF)
    return (values >> np.uint64(16)).astype(np.int64) - 32_768


def write_long(folder: Path) -> list[dict[str, Any]]:
    """Every thousandth sample of ten minutes, normalised."""
    cases = []
    for scale, offset in ((2.0**-15, 0.0), (2.0**-20, 0.75), (1.0, 0.0), (1.0, 20_000.0), (2.0**15, 0.0)):
        samples = hashed(9_600_007).astype(np.float32) * np.float32(scale) + np.float32(offset)
        name = f"expected/long_{len(cases)}.f32"
        normalize(samples)[::1_009].tofile(folder / name)
        cases.append(
            {"count": len(samples), "scale": scale, "offset": offset, "step": 1_009, "samples": name}
        )
    return cases


def corpora(data: Path) -> list[Path]:
    found: list[Path] = []
    for corpus, count in (("emodb", 7), ("ravdess", 6), ("nemo", 7)):
        files = sorted((data / corpus / "audio").rglob("*.*"))
        found += files[:: max(1, len(files) // count)][:count]
    return found


def main(out: Path) -> None:
    # What Python would hand to FFmpeg.
    for module in (mtab.audio, mtab.audio.soundfiles):
        vars(module)["read_container"] = refuse_container
    folder = (out / "audio").resolve()
    for name in ("clips", "expected", "arrays"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for old in (folder / name).iterdir():
            old.unlink()
    writer = Writer(folder)
    for name, content in clips().items():
        (folder / "clips" / name).write_bytes(content)
        writer.clip(Path(name))
    for name in ("PCM_16.wav", "44100.wav", "24.flac", "44100_2.flac", "44100_2.ogg", "opus.ogg", "10_hz.wav",
                 "plain_44100.mp3", "vbr_16000.mp3", "no_xing_44100.mp3", "2_channels.wav",
                 "100_channels.wav", "nan_FLOAT.wav"):  # fmt: skip
        spans = (*SPANS, *ODD_SPANS) if name in ("PCM_16.wav", "no_xing_44100.mp3", "8000_1.ogg") else SPANS
        for start, end in spans:
            writer.clip(Path(name), start, end)
        for start, end, most in LIMITED:
            writer.clip(Path(name), start, end, most)
    writer.clip(Path("12s.flac"), None, None, 5.0)
    writer.clip(Path("fantasy.flac"), 0.1, 0.2)
    writer.clip(Path("piped.flac"), 0.1, 0.2)
    if data := os.environ.get("MTAB_TEST_DATA"):
        for file in corpora(Path(data)):
            writer.clip(file)
            writer.clip(file, 0.3, 0.9)
    write_arrays(writer)
    index = {"cases": writer.cases, "long": write_long(folder)}
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{len(writer.cases)} cases, {size / 1e6:.1f} MB in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
