"""``mtab serve`` as a process of its own, and what to ask it."""

import base64
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.request import urlopen

import numpy as np
import soundfile

from mtab.audio import SAMPLE_RATE
from mtab.bundle import Bundle
from mtab.data import Utterance
from mtab.errors import DataError, EngineError
from mtab.synthetic_inputs import speech, transcript

_START_SECONDS = 300.0
_READY = re.compile(r"^Serving .* at (http://\S+), ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Asked:
    """An utterance as a request's body and as the runtime takes it."""

    body: bytes
    audio: bytes | None
    text: str | None


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server under way, at ``url``; ``pid`` is its supervisor's."""

    url: str
    pid: int

    def metric(self, name: str) -> float:
        """The sum of a figure over all labels."""
        with urlopen(f"{self.url}/metrics") as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[{{ ]", line))

    def workers(self) -> list[int]:
        """The processes that answer."""
        found = []
        for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with suppress(OSError):  # it may have ended by now
                # Python's multiprocessing has a process of its own for what they share.
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found


@contextmanager
def served(bundle: Path, *options: str, program: str = "mtab.cli") -> Iterator[ServerProcess]:
    """``mtab serve`` at a free port. Raises `EngineError`, with what it says, if it does not begin.

    ``program`` is the module that has that command.
    """
    command = [sys.executable, "-m", program, "serve", str(bundle), "--port", "0", *options]
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            yield ServerProcess(_address(process, said), process.pid)
        finally:
            process.terminate()
            process.wait()


def _address(process: "subprocess.Popen[bytes]", said: IO[str]) -> str:
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        said.seek(0)
        if found := _READY.search(said.read()):
            return found[1]
        time.sleep(0.05)
    said.seek(0)
    raise EngineError(f"mtab serve: {' '.join(said.read().split()) or 'said nothing'}, expected a server")


def utterances(bundle: Bundle, count: int, seed: int = 0) -> list[Asked]:
    """Synthetic ones of 1 to 4 s, as a recorder would send them: 16-bit WAV in JSON."""
    random = np.random.default_rng(seed)
    return [
        _asked(bundle, random, random.uniform(1, 4), transcript(random, int(random.integers(2, 16))))
        for _ in range(count)
    ]


def like_those(bundle: Bundle, corpus: Sequence[Utterance], count: int, seed: int = 0) -> list[Asked]:
    """Some of a ``corpus``, drawn at random: their durations and transcripts, with noise for sound.

    Raises `DataError` for one whose annotations do not tell its times.
    """
    random = np.random.default_rng(seed)
    drawn = random.permutation(len(corpus))[:count]
    return [_asked(bundle, random, duration_of(corpus[i]), corpus[i].text or "") for i in drawn]


def duration_of(utterance: Utterance) -> float:
    """Seconds, as annotated. Raises `DataError` where they are not."""
    if utterance.start is None or utterance.end is None:
        raise DataError(f"{utterance.id}: has no times, expected annotations that tell durations")
    return utterance.end - utterance.start


def _asked(bundle: Bundle, random: np.random.Generator, seconds: float, text: str) -> Asked:
    modalities = bundle.config.modalities
    audio = _wav(speech(random, seconds)) if "audio" in modalities else None
    said = text if "text" in modalities else None
    encoded = None if audio is None else base64.b64encode(audio).decode()
    return Asked(json.dumps({"audio": encoded, "text": said}).encode(), audio, said)


def _wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
