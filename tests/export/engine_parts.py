"""What engines are built of, and when they cannot be."""

import importlib.util

import numpy as np
import pytest
from onnx import NodeProto, helper

from mtab.cuda import find_cuda
from mtab_export.shapes import Profile

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="needs TensorRT-RTX: pip install 'mtab[rtx]'",
)
needs_no_gpu = pytest.mark.skipif(bool(find_cuda().gpus), reason="this machine has a GPU")

PROFILE: Profile = {level: {"x": (batch, 64)} for level, batch in (("min", 1), ("opt", 2), ("max", 8))}
WEIGHT = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
SCALE = np.abs(WEIGHT).max(axis=0) / 127
INT8_WEIGHT = np.round(WEIGHT / SCALE).astype(np.int8)


def quantized(zero_point: np.ndarray) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """The product with its input and its weights through QuantizeLinear and DequantizeLinear."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_int8"], name="quantize"),
        helper.make_node("DequantizeLinear", ["x_int8", "x_scale", "x_zero"], ["x_again"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_again"], axis=1),
        helper.make_node("MatMul", ["x_again", "w_again"], ["y"]),
    ]
    return nodes, {
        "x_scale": np.array(0.03, np.float32),
        "x_zero": zero_point,
        "w": INT8_WEIGHT,
        "w_scale": SCALE,
        "w_zero": np.zeros(32, np.int8),
    }
