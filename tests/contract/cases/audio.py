"""What goes wrong with a clip."""

import io
import math
import wave

import numpy as np

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


def call(place: Place, audio: object, text: object = "it is high") -> None:
    mtab.load(place.bundle, "cpu", threads=1).predict(audio, text=text)  # pyright: ignore


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
        "one of audio and text is a list, expected both or neither",
        None,
    ),
)
