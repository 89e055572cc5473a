"""An engine and a file behind a gate, and what waits for them."""

import io
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile

from mtab import Result

# Far more than any of this takes, so that what waits for it in vain fails and does not hang.
LONG = 60.0


class Engine:
    """The engine, with the batches that it was given, and a gate that can be shut before it."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.streams = engine.streams
        self.batches: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.batches.append(inputs["audio_lengths"].tolist())
        self.reached.set()
        assert self.open.wait(LONG)
        return self._engine.run(inputs)


class SlowFile(io.BytesIO):
    """A clip as a file that is not read before its gate is opened."""

    def __init__(self, samples: np.ndarray) -> None:
        super().__init__()
        soundfile.write(self, samples, 16_000, format="WAV", subtype="FLOAT")
        self.seek(0)
        self.open = threading.Event()
        self.reached = threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.reached.set()
        assert self.open.wait(LONG)
        return super().read(size)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=samples).astype(np.float32)


def same(found: Result, expected: Result) -> None:
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    for name in ("label", "duration", "modalities", "text_truncated"):
        assert getattr(found, name) == getattr(expected, name)


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)
