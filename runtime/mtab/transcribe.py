"""Transcripts where none is given: by a command, a Python function, or an installed recogniser."""

import importlib
import math
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile

from mtab.audio import SAMPLE_RATE
from mtab.errors import MtabError, TextError
from mtab.timeline.transcript import Word
from mtab.words import joined

Recognise = Callable[[np.ndarray], str | Sequence[Word]]
"""From samples, float32 (n,) at 16 kHz, to what is said: a text, or words timed from their start."""

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Transcriber:
    """A speech recogniser. ``name`` is what results call it."""

    name: str
    recognise: Recognise

    def __call__(self, samples: np.ndarray) -> str | Sequence[Word]:
        """What is said in ``samples``. Raises `TextError` if the recogniser fails or gives no text."""
        try:
            # A copy: it is no recogniser's to change.
            found = self.recognise(samples.copy())
        except MtabError:
            raise
        except Exception as error:  # whatever another's recogniser raises
            reason = " ".join(str(error).split()) or type(error).__name__
            raise TextError(f"{self.name}: fails ({reason}), expected a transcript") from None
        if isinstance(found, str):
            return found.strip()
        if isinstance(found, Sequence) and all(map(_is_word, found)):
            return sorted(found, key=lambda word: word.start)
        raise TextError(
            f"{self.name}: answers with {type(found).__name__}, expected a text or words with times"
        )

    def text_of(self, samples: np.ndarray) -> str:
        """What is said in ``samples``, without times; "" for nothing. Raises as a call."""
        found = self(samples)
        return found if isinstance(found, str) else joined(word.text for word in found)


def as_transcriber(value: str | Recognise | Transcriber) -> Transcriber:
    """A recogniser by what ``--transcribe`` takes, or of a function.

    ``faster-whisper``, ``whisper.cpp`` and ``sherpa-onnx``, with ``:MODEL`` after it, are those packages;
    ``module:function`` is a function as `Recognise`; all else is a command, which gets a wav file (16 kHz,
    mono, 16 bits) in the place of ``{}``, or at its end, and prints a text in UTF-8. Raises `MtabError` for
    a recogniser, a module or a command that is not there.
    """
    if isinstance(value, Transcriber):
        return value
    if not isinstance(value, str):
        if not callable(value):
            raise MtabError(f"transcribe is {type(value).__name__}, expected a function or a command")
        return Transcriber(getattr(value, "__name__", type(value).__name__), value)
    engine, _, model = value.partition(":")
    if engine in _RECOGNISERS:
        try:
            return Transcriber(value, _RECOGNISERS[engine](model))
        except MtabError:
            raise
        except Exception as error:  # whatever the package raises for a model that is not there
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MtabError(f"transcribe {value!r}: {reason}, expected a model that can be loaded") from None
    if _FUNCTION.fullmatch(value):
        return Transcriber(value, _function(value))
    words = _words(value)
    return Transcriber(words[0], _command(words))


def _is_word(word: object) -> bool:
    """Whether it has a text and times, in their order."""
    if not isinstance(word, Word) or not isinstance(word.text, str):
        return False
    return math.isfinite(word.start) and math.isfinite(word.end) and 0 <= word.start <= word.end


def _function(place: str) -> Recognise:
    module, _, name = place.partition(":")
    found: Any
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # also what the module itself raises
        raise MtabError(f"transcribe {place!r}: {error}, expected module:function") from None
    if not callable(found):
        raise MtabError(f"transcribe {place!r}: is {type(found).__name__}, expected a function")
    return cast(Recognise, found)


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise MtabError(f"transcribe {line!r}: {error}, expected a command") from None
    if not words:
        raise MtabError("transcribe is empty, expected a command")
    return words if any("{}" in word for word in words) else [*words, "{}"]


def _command(words: Sequence[str]) -> Recognise:
    def recognise(samples: np.ndarray) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            soundfile.write(path, np.clip(samples, -1, 1), SAMPLE_RATE, subtype="PCM_16")
            command = [word.replace("{}", str(path)) for word in words]
            try:
                done = subprocess.run(command, capture_output=True, check=False)
            except OSError as error:
                raise MtabError(
                    f"{words[0]}: {error.strerror}, expected a command that transcribes"
                ) from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            reason = f": {said[-1]}" if said else ""
            raise TextError(f"{words[0]}: exit code {done.returncode}{reason}, expected a transcript")
        try:
            return done.stdout.decode()
        except UnicodeDecodeError as error:
            raise TextError(
                f"{words[0]}: prints what is not UTF-8 ({error.reason}), expected a text"
            ) from None

    return recognise


def _module(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise MtabError(
            f"transcribe needs {package}, which is not installed: pip install {package}"
        ) from None


def _faster_whisper(model: str) -> Recognise:
    recogniser = _module("faster_whisper", "faster-whisper").WhisperModel(model or "small")

    def recognise(samples: np.ndarray) -> list[Word]:
        segments, _ = recogniser.transcribe(samples, word_timestamps=True)
        return [
            Word(float(word.start), float(word.end), word.word.strip())
            for segment in segments
            for word in segment.words or ()
        ]

    return recognise


def _whisper_cpp(model: str) -> Recognise:
    recogniser = _module("pywhispercpp.model", "pywhispercpp").Model(
        model or "small", print_progress=False, print_realtime=False
    )

    def recognise(samples: np.ndarray) -> list[Word]:
        # Its times are whole hundredths of a second.
        return [
            Word(segment.t0 / 100, segment.t1 / 100, segment.text.strip())
            for segment in recogniser.transcribe(samples)
            if segment.text.strip()
        ]

    return recognise


def _sherpa_onnx(model: str) -> Recognise:
    sherpa_onnx = _module("sherpa_onnx", "sherpa-onnx")
    folder = Path(model)
    if not model or not folder.is_dir():
        raise MtabError(
            f"transcribe 'sherpa-onnx:{model}': no folder, expected sherpa-onnx:FOLDER of a model"
        )

    def file(*patterns: str) -> str | None:
        found = sorted(path for pattern in patterns for path in folder.glob(pattern))
        return str(found[0]) if found else None

    tokens = file("*tokens.txt")
    encoder, decoder, joiner = (file(f"*{part}*.onnx") for part in ("encoder", "decoder", "joiner"))
    kinds = sherpa_onnx.OfflineRecognizer
    if tokens and encoder and decoder and joiner:
        recogniser = kinds.from_transducer(encoder=encoder, decoder=decoder, joiner=joiner, tokens=tokens)
    elif tokens and encoder and decoder:
        recogniser = kinds.from_whisper(encoder=encoder, decoder=decoder, tokens=tokens)
    elif tokens and (whole := file("model*.onnx")):
        recogniser = kinds.from_sense_voice(model=whole, tokens=tokens, use_itn=True)
    else:
        expected = "tokens.txt with encoder, decoder and joiner, encoder and decoder, or model"
        raise MtabError(f"{folder}: no model that sherpa-onnx reads, expected {expected}.onnx")

    def recognise(samples: np.ndarray) -> str:
        stream = recogniser.create_stream()
        stream.accept_waveform(SAMPLE_RATE, samples)
        recogniser.decode_stream(stream)
        return stream.result.text

    return recognise


_RECOGNISERS = {"faster-whisper": _faster_whisper, "whisper.cpp": _whisper_cpp, "sherpa-onnx": _sherpa_onnx}
