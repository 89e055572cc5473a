"""What the tests of OpenVINO share."""

import os

import numpy as np
import pytest

from mtab.engines.openvino import OpenVinoEngine
from mtab.errors import EngineError

LIMITED = (os.environ.get("ONEDNN_MAX_CPU_ISA") or "").upper() == "SSE41"
"""Whether OpenVINO may not use enough of the processor to compute anything."""


def batch(samples: int, tokens: int = 6, rows: int = 2) -> dict[str, np.ndarray]:
    """Noise of full and of half length."""
    random = np.random.default_rng(samples)
    return {
        "input_values": random.normal(size=(rows, samples)).astype(np.float32),
        "audio_lengths": np.array([samples // (1 + i % 2) for i in range(rows)]),
        "input_ids": random.integers(5, 200, (rows, tokens)),
        "text_lengths": np.array([max(1, tokens // (1 + i % 2)) for i in range(rows)]),
    }


BATCHES = [
    batch(samples, tokens, rows) for samples, tokens, rows in ((400, 1, 1), (8000, 6, 2), (20_000, 9, 3))
]


def refusal(*arguments: object, **options: object) -> str:
    with pytest.raises(EngineError) as caught:
        OpenVinoEngine(*arguments, **options)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)
    return str(caught.value)
