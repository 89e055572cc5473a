"""What goes wrong with a clip."""

import io
import math
import sys
import wave
from unittest.mock import patch

import numpy as np
import soundfile

import mtab
from cases import Case, Place
from mtab.errors import AudioError, MtabError


def predict(place: Place, clip: object, *options: object) -> list[object]:
    return ["mtab", "predict", place.bundle, clip, "--text", "it is high", *options]


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(np.zeros(round(seconds * 16_000), np.int16).tobytes())
    return file.getvalue()


def cut(place: Place, kind: str, before: bytes = b"") -> object:
    file = io.BytesIO()
    soundfile.write(file, np.full(16_000, 0.1), 16_000, format=kind, subtype="PCM_16")
    return place.file(f"a.{kind.lower()}", before + file.getvalue()[:-8000])


def film(place: Place) -> None:
    """Without the package that reads it."""
    with patch.dict(sys.modules, {"av": None}):
        call(place, place.file("a.wav", b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm" + bytes(200)))


def among_others(place: Place, bad: object) -> None:
    """An utterance that is skipped: those around it have their answers, and its error is in its place."""
    good = (place.clip, "it is high")
    before, found, after = mtab.load(place.bundle, "cpu", threads=1).stream(
        [good, bad, good],  # pyright: ignore
        on_error="skip",
    )
    assert isinstance(before, mtab.Result)
    assert isinstance(after, mtab.Result)
    assert isinstance(found, mtab.Failure)
    raise found.error


def call(place: Place, audio: object, text: object = "it is high") -> None:
    mtab.load(place.bundle, "cpu", threads=1).predict(audio, text=text)  # pyright: ignore


def stream(place: Place, utterances: object) -> None:
    mtab.load(place.bundle, "cpu", threads=1).stream(utterances)  # pyright: ignore


CASES = (
    Case(
        "The file does not exist",
        lambda place: predict(place, place.folder / "none.wav"),
        AudioError,
        "<FILE>: not found, expected a clip",
    ),
    Case(
        "A file of 0 bytes",
        lambda place: predict(place, place.file("a.wav", b"")),
        AudioError,
        "<FILE>: unreadable (0 bytes), expected a clip",
    ),
    Case(
        "Text under the name of a clip",
        lambda place: predict(place, place.file("a.wav", "hello " * 100)),
        AudioError,
        "<FILE>: unreadable (<REASON>), expected a clip",
    ),
    Case(
        "A file that breaks off before the end that its header promises",
        lambda place: predict(place, place.file("a.wav", wav(1.0)[:-8000])),
        AudioError,
        "<FILE>: truncated: holds <N> bytes of samples, expected <N> by its header",
    ),
    Case(
        "The same of a WAV behind an ID3 tag",
        lambda place: predict(place, cut(place, "WAV", b"ID3\x03\0\0\0\0\0\x1e" + bytes(30))),
        AudioError,
        "<FILE>: truncated: holds <N> bytes of samples, expected <N> by its header",
    ),
    Case(
        "The same of a W64",
        lambda place: predict(place, cut(place, "W64")),
        AudioError,
        "<FILE>: truncated: holds <N> bytes of samples, expected <N> by its header",
    ),
    Case(
        "The same of a CAF",
        lambda place: predict(place, cut(place, "CAF")),
        AudioError,
        "<FILE>: truncated: holds <N> bytes of samples, expected <N> by its header",
    ),
    Case(
        "A film under the name of a clip, where PyAV is not installed",
        film,
        AudioError,
        "<FILE>: decoding it needs av, which is not installed: pip install 'mtab[video]'",
        None,
    ),
    Case(
        "A device in place of a file",
        lambda place: predict(place, "/dev/null"),
        AudioError,
        "/dev/null: is a device, expected a clip",
    ),
    Case(
        "A folder without a clip in it",
        lambda place: predict(place, place.folder),
        AudioError,
        "<FOLDER>: holds no clip, expected files that end in <SUFFIXES>",
    ),
    Case(
        "A clip without a sample",
        lambda place: predict(place, place.file("a.wav", wav(0))),
        AudioError,
        "<FILE>: holds no sample, expected a clip",
    ),
    Case(
        "A clip shorter than one frame of the audio encoder",
        lambda place: predict(place, place.file("a.wav", wav(0.01))),
        AudioError,
        "<FILE>: <N> samples at 16 kHz (<SECONDS> s), expected at least <N> (<SECONDS> s)",
    ),
    Case(
        "A clip longer than `--max-seconds`",
        lambda place: predict(place, place.file("a.wav", wav(3)), "--max-seconds", 2),
        AudioError,
        "<FILE>: 3.00 s long, expected at most 2 s",
    ),
    Case(
        "An array with NaN or infinity",
        lambda place: call(place, np.full(8000, math.nan, np.float32)),
        AudioError,
        "<NAME>: holds a sample of nan, expected finite numbers up to <LIMIT>",
        None,
    ),
    Case(
        "Integers of 64 bits on the scale of 16",
        lambda place: call(place, np.arange(-9000, 9000, dtype=np.int64)),
        AudioError,
        "<NAME>: holds int64 samples from -9000 to 8999, expected int16, floats, or the scale of int64",
        None,
    ),
    Case(
        "An array of another shape than `(samples,)` or `(samples, channels)`",
        lambda place: call(place, np.zeros((2, 3, 4), np.float32)),
        AudioError,
        "<NAME>: has shape (2, 3, 4), expected (samples,) or (samples, channels) with 1 to 64 channels",
        None,
    ),
    Case(
        "A list of clips and a single transcript",
        lambda place: call(place, [place.clip, place.clip]),
        MtabError,
        "audio is list and text is str, expected one of each or a list of each; a clip's samples are a NumPy "
        "array of numbers",
        None,
    ),
    Case(
        "One clip in place of the utterances of `stream`",
        lambda place: stream(place, "clip.wav"),
        MtabError,
        "utterances is str, expected an iterable of clips, of pairs of clip and transcript, or of Input",
        None,
    ),
    *(
        Case(
            f'{name} among the utterances of `stream(…, on_error="skip")`: the others are answered',
            lambda place, bad=bad: among_others(place, bad),
            MtabError,
            f"utterance 1: is {found}, expected a clip, a pair of clip and transcript, or an mtab.Input",
            None,
        )
        for name, bad, found in (
            ("`None`", None, "NoneType"),
            ("NaN", math.nan, "float"),
            ("A dictionary", {"audio": "a.wav"}, "dict"),
            ("A tuple of three", ("a.wav", "a", 1.0), "a tuple of 3"),
        )
    ),
)
