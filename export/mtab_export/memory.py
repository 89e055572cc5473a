"""What a graph needs of memory, by the sizes of the model and by the blocks that the graph is computed in."""

import math
from pathlib import Path

import onnx_ir as ir

from mtab.memory import FRAME_SAMPLES, MemoryNeed
from mtab_export.blocks import (
    ATTENTION_SCORES,
    CONVOLVED_FRAMES,
    WINDOW,
    is_attention,
    is_convolution,
)
from mtab_train.config import ACOUSTIC_HOP, ModelConfig

_MEASURED = 2_000
"""Numbers that the widest of what is measured takes for a frame of 10 ms: two transforms and their powers."""


def memory_need(config: ModelConfig, path: Path) -> MemoryNeed:
    """What the graph in ``path``, the whole of a model or a part of it, needs beside its weights."""
    model = ir.load(path)
    nodes = list(model.graph)
    audio = config.audio_config or {}
    hidden = int(audio.get("hidden_size", config.hidden_size))
    widest = max(int(audio.get("intermediate_size", 0)), config.intermediate_size)
    heads = max(int(audio.get("num_attention_heads", 0)), config.num_attention_heads)
    scores_at_once = None if any(is_attention(node) for node in nodes) else ATTENTION_SCORES
    if config.measures:
        shorter = FRAME_SAMPLES / config.samples_per_frame
        return MemoryNeed(
            per_sample=4,
            per_frame=math.ceil(shorter * (3 * widest + 6 * config.fused_size + 6 * hidden)),
            per_score=math.ceil(heads * shorter**2),
            per_convolved=_MEASURED * FRAME_SAMPLES // ACOUSTIC_HOP // 3,
            scores_at_once=scores_at_once,
        )
    kernel, stride = (
        int(audio.get(name, [first])[0]) for name, first in (("conv_kernel", 10), ("conv_stride", 5))
    )
    channels = int(audio.get("conv_dim", [512])[0])
    convolved = channels * FRAME_SAMPLES // stride
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if WINDOW in node.metadata_props:
            # The second convolution's windows: there are no longer ones, and of no other are there as many.
            length, later = map(int, node.metadata_props[WINDOW].split())
            convolved = max(convolved, length * convolved // later)
            break
    return MemoryNeed(
        # The waveform, as it is and padded; the moments of the first convolution.
        per_sample=4 + 4 * kernel // stride,
        # A layer's wide inner tensor beside those that go from layer to layer; and the fused sequence's, for
        # which an engine takes more where what the encoder left free does not fit.
        per_frame=3 * widest + 6 * config.fused_size + 6 * hidden,
        per_score=heads,
        per_convolved=convolved,
        scores_at_once=scores_at_once,
        frames_at_once=None if any(is_convolution(node) for node in nodes) else CONVOLVED_FRAMES,
    )
