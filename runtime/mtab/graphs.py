"""What each ONNX graph takes and answers, declared once for exporter, parity check and runtime."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mtab.types import Modality, Part, Precision

MEASURED = ("audio_encoder.frames/*", "audio_encoder.statistics/*")
"""Nodes that measure a waveform, in float32 alone: powers over ten orders of magnitude, and their logs."""


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

    name: Part
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def of(self, modalities: Sequence[Modality], sizes: Mapping[str, int]) -> "GraphSpec":
        """The graph of one model: the inputs of its ``modalities`` alone, the axes in ``sizes`` fixed.

        A model whose ``sizes`` tell of no ``dimensions`` or no ``statistics`` has no tensor of them.
        """
        sizes = {"dimensions": 0, "statistics": 0, **sizes}

        def fixed(tensors: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
            return tuple(
                dataclasses.replace(tensor, axes=tuple(sizes.get(str(axis), axis) for axis in tensor.axes))
                for tensor in tensors
                if not any(sizes.get(str(axis)) == 0 for axis in tensor.axes)
            )

        present = [tensor for tensor in self.inputs if tensor.modality in (None, *modalities)]
        return GraphSpec(self.name, fixed(present), fixed(self.outputs))


NEAR_TIE = 2e-3
"""The largest change of a probability that can make a near tie of two classes, whatever the budget."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a graph may cost: the largest change of a probability, and the least share of labels kept.

    Where the model has dimensions, also the largest change of one, in standard deviations of its ratings in
    training. Changes hold unbatched, in padded batches, and between the two.

    An utterance is a near tie if the reference's likeliest class leads the second by no more than
    ``near_tie_lead``: the change that the budget allows can overturn it, taking from the one class and giving
    to the other. Labels that change there are exempt from ``min_agreement``, as many as it lets change
    elsewhere, and at least one.
    """

    max_difference: float
    min_agreement: float
    max_dimension_difference: float = 5e-2

    @property
    def near_tie_lead(self) -> float:
        """The widest lead that is a near tie, a difference of two probabilities."""
        return 2 * min(self.max_difference, NEAR_TIE)

    def exempt(self, utterances: int) -> int:
        """How many labels may change at near ties, of so many utterances."""
        return max(1, math.floor((1 - self.min_agreement) * utterances + 1e-9))


PROBABILITIES = Tolerance(atol=1e-5)
HIDDEN = Tolerance(atol=1e-4, rtol=1e-4)
ATTENTION = Tolerance(atol=1e-5, rtol=1e-3)
EXACT = Tolerance(atol=0.5)
"""For whole numbers."""

BUDGETS: dict[Precision, Budget] = {
    "fp32": Budget(PROBABILITIES.atol, 1.0, 1e-4),
    "fp16": Budget(2e-3, 0.995, 1e-2),
    "bf16": Budget(2e-2, 0.99, 5e-2),
    "int8": Budget(2e-2, 0.99, 5e-2),
    "int8-static": Budget(2e-2, 0.99, 5e-2),
}

_INPUT_VALUES = TensorSpec("input_values", "float32", ("batch", "samples"), "audio")
_AUDIO_LENGTHS = TensorSpec("audio_lengths", "int64", ("batch",), "audio")
_INPUT_IDS = TensorSpec("input_ids", "int64", ("batch", "tokens"), "text")
_TEXT_LENGTHS = TensorSpec("text_lengths", "int64", ("batch",), "text")
_AUDIO_STATES = TensorSpec(
    "audio_hidden_states", "float32", ("batch", "frames", "audio_hidden"), "audio", tolerance=HIDDEN
)
_AUDIO_FRAMES = TensorSpec("audio_frames", "int64", ("batch",), "audio", tolerance=EXACT)
_TEXT_STATES = TensorSpec(
    "text_hidden_states", "float32", ("batch", "tokens", "text_hidden"), "text", tolerance=HIDDEN
)
_STATISTICS = TensorSpec("audio_statistics", "float32", ("batch", "statistics"), "audio", tolerance=HIDDEN)
_FUSED_STATES = TensorSpec("fused_states", "float32", ("batch", "steps", "fused"), tolerance=HIDDEN)
_FUSED_LENGTHS = TensorSpec("fused_lengths", "int64", ("batch",), tolerance=EXACT)
_ANSWER = (
    TensorSpec("logits", "float32", ("batch", "classes"), tolerance=HIDDEN),
    TensorSpec("probabilities", "float32", ("batch", "classes"), tolerance=PROBABILITIES),
    TensorSpec("embeddings", "float32", ("batch", "embedding"), tolerance=HIDDEN),
    TensorSpec("dimensions", "float32", ("batch", "dimensions"), tolerance=HIDDEN),
)

FUSED = GraphSpec("fused", (_INPUT_VALUES, _AUDIO_LENGTHS, _INPUT_IDS, _TEXT_LENGTHS), _ANSWER)
"""The whole model, from padded waveforms and token ids with their lengths to the answer; masks are inside."""

AUDIO_ENCODER = GraphSpec(
    "audio_encoder", (_INPUT_VALUES, _AUDIO_LENGTHS), (_AUDIO_STATES, _AUDIO_FRAMES, _STATISTICS)
)
"""Padded waveforms to hidden states; ``audio_frames`` are those of each utterance that are valid.

The light encoder also answers statistics over each utterance, for `TAB_HEAD`.
"""

TEXT_ENCODER = GraphSpec("text_encoder", (_INPUT_IDS, _TEXT_LENGTHS), (_TEXT_STATES,))
"""Padded token ids to hidden states."""

CME = GraphSpec(
    "cme",
    (_AUDIO_STATES, _AUDIO_FRAMES, _TEXT_STATES, _TEXT_LENGTHS),
    (_FUSED_STATES, _FUSED_LENGTHS),
)
"""Self-attention, projection, cross-modal encoder and fusion: both encoders' states to one sequence."""

TAB_HEAD = GraphSpec("tab_head", (_FUSED_STATES, _FUSED_LENGTHS, _STATISTICS), _ANSWER)
"""Temporal-aware block and classifier: the fused sequence to the answer."""

SPLIT = (AUDIO_ENCODER, TEXT_ENCODER, CME, TAB_HEAD)
"""The parts in the order of data flow; run one after another they are `FUSED`."""

REASONS = (
    TensorSpec("tab_attention", "float32", ("batch", "steps"), tolerance=ATTENTION),
    TensorSpec("speech_to_text_attention", "float32", ("batch", "frames", "tokens"), tolerance=ATTENTION),
    TensorSpec("text_to_speech_attention", "float32", ("batch", "tokens", "frames"), tolerance=ATTENTION),
)
"""What the graph of reasons answers, of these what the model has.

The temporal-aware block's attention, mean over features; the cross-modal encoder's in both directions, mean
over heads: the row of a valid query sums to 1 over the valid keys. Padding's rows and steps are not meant.
"""

REASONS_FILE = "reasons.onnx"

GRAPHS = {spec.name: spec for spec in (FUSED, *SPLIT)}


def split_of(modalities: Sequence[Modality]) -> tuple[GraphSpec, ...]:
    """The parts that a model with these modalities has: all of `SPLIT` but the other encoder."""
    return tuple(spec for spec in SPLIT if spec.of(modalities, {}).inputs)


def reasons_of(fused: GraphSpec, outputs: Sequence[str]) -> GraphSpec:
    """The graph of reasons that is cut from a model's ``fused`` one, with these of the outputs `REASONS`."""
    return dataclasses.replace(fused, outputs=tuple(each for each in REASONS if each.name in outputs))


def graph_file(part: str, precision: str) -> str:
    """What a graph's file is called in a bundle: ``model.onnx`` for the fused one in fp32, else its parts."""
    stem = "model" if part == FUSED.name else part
    return f"{stem}.onnx" if precision == "fp32" else f"{stem}_{precision.replace('-', '_')}.onnx"
