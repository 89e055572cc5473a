"""What each ONNX graph takes and answers, declared once for exporter, parity check and runtime."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mtab.bundle import Modality


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a float32 value may be from PyTorch's: ``atol + rtol * |expected|``."""

    atol: float
    rtol: float = 0.0

    def used(self, found: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """The share of the tolerance that each value takes up, float64; more than 1 is outside it."""
        expected = expected.astype(np.float64)
        return np.abs(found - expected) / (self.atol + self.rtol * np.abs(expected))


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output: a numpy dtype, and for each axis its name, or its size where that is fixed.

    ``modality`` says which of the model's modalities an input belongs to; ``tolerance`` is an output's.
    """

    name: str
    dtype: Literal["float32", "int64"]
    axes: tuple[str | int, ...]
    modality: Modality | None = None
    tolerance: Tolerance | None = None


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """One graph: its inputs and outputs in order."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def of(self, modalities: Sequence[Modality], sizes: Mapping[str, int]) -> "GraphSpec":
        """The graph of one model: the inputs of its ``modalities`` alone, the axes in ``sizes`` fixed."""

        def fixed(tensors: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
            return tuple(
                dataclasses.replace(tensor, axes=tuple(sizes.get(str(axis), axis) for axis in tensor.axes))
                for tensor in tensors
            )

        present = [tensor for tensor in self.inputs if tensor.modality in (None, *modalities)]
        return GraphSpec(self.name, fixed(present), fixed(self.outputs))


PROBABILITIES = Tolerance(atol=1e-5)
HIDDEN = Tolerance(atol=1e-4, rtol=1e-4)

FUSED = GraphSpec(
    "fused",
    inputs=(
        TensorSpec("input_values", "float32", ("batch", "samples"), "audio"),
        TensorSpec("audio_lengths", "int64", ("batch",), "audio"),
        TensorSpec("input_ids", "int64", ("batch", "tokens"), "text"),
        TensorSpec("text_lengths", "int64", ("batch",), "text"),
    ),
    outputs=(
        TensorSpec("logits", "float32", ("batch", "classes"), tolerance=HIDDEN),
        TensorSpec("probabilities", "float32", ("batch", "classes"), tolerance=PROBABILITIES),
        TensorSpec("embeddings", "float32", ("batch", "embedding"), tolerance=HIDDEN),
    ),
)
"""The whole model, from padded waveforms and token ids with their lengths to the answer; masks are inside."""
