"""OpenVINO's int8: what a graph multiplies by constants, as products with matrices of whole numbers."""

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from mtab.graphs import MEASURED
from mtab.types import OperatorKind

VERSION = 1
"""Of what is made of a graph; a change of it is another number, so that nothing compiled outlives it."""

GROUP = 768
"""Neighbours in a row of activations that share a scale: a divisor of every width of `base`."""

_LEAST_OUTPUTS = 8
"""Fewer fill no vector register: such a classifier is as fast as it was, and closest to the answer."""
LEAST_CHANNELS = 256
"""A convolution of fewer takes no longer as it is than its windows do, and is exact."""
_TURN = [0, 2, 1]
_TO_THE_END = np.iinfo(np.int64).max


def compress_weights(model: Any, unquantized: Collection[OperatorKind] = ()) -> int:
    """Turn the matrices of a model's products and convolutions into int8, and return their number.

    The largest weight of each output becomes ±127. This is the form in which OpenVINO multiplies whole
    numbers where it is told to quantise activations, and else restores the weights as it goes. It has none
    for convolutions: each becomes the product of the windows that it looks at, one in time for each answer,
    with its kernel. The sums are the same, and a window's scale is its own.

    What is measured of a waveform, grouped and small convolutions and classifiers stay as they are, and
    operators of kinds that are to stay ``unquantized``.
    """
    number = 0
    for node in _nodes(model):
        if any(fnmatchcase(node.get_friendly_name(), pattern) for pattern in MEASURED):
            continue
        if node.get_type_name() not in ("MatMul", "Convolution"):
            continue
        constant = node.input_value(1).get_node()
        if constant.get_type_name() != "Constant" or _kind_of(node) in unquantized:
            continue
        if node.get_type_name() == "MatMul" and len(constant.shape) == 2:
            number += _compress_product(node, constant)
        elif node.get_type_name() == "Convolution" and len(constant.shape) == 3:
            number += _compress_convolution(node, constant)
    return number


def _kind_of(node: Any) -> OperatorKind:
    if node.get_type_name() == "Convolution":
        return "convolutions"
    # "self_attention" is also what a part of the model is called.
    _, *modules = node.get_friendly_name().partition("/")[0].split(".")
    attends = any("attention" in name or "attn" in name for name in modules)
    return "attention" if attends else "feed_forward"


def _nodes(model: Any) -> Iterator[Any]:
    """All nodes, those of loops over stretches of time too."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Loop":
            yield from _nodes(node.get_function())
        yield node


def _compress_product(node: Any, constant: Any) -> bool:
    """``x @ weights``, where the weights are of enough outputs."""
    transposed = node.get_attributes()["transpose_b"]
    weights = _float32(constant)
    if weights.shape[0 if transposed else 1] < _LEAST_OUTPUTS:
        return False
    node.input(1).replace_source_output(_restored(weights, 1 if transposed else 0, constant))
    return True


def _compress_convolution(node: Any, constant: Any) -> bool:
    """(B, C, T) convolved with (O, C, K), as windows (B, T', K · C) times (O, K · C) transposed."""
    from openvino import opset13

    weights = _float32(constant)
    outputs, channels, kernel = weights.shape
    if channels < LEAST_CHANNELS or outputs < _LEAST_OUTPUTS:
        return False
    values = node.get_attributes()
    (stride,), (dilation,) = values["strides"], values["dilations"]
    before, after = (values[f"pads_{end}"][0] for end in ("begin", "end"))
    rows = _by_time(node.input_value(0))
    if before or after:
        zero = opset13.convert_like(opset13.constant(np.float32(0)), rows)
        rows = opset13.pad(rows, [0, before, 0], [0, after, 0], "constant", zero)
    # Tap k of every window begins k dilations on, and ends as many before the end as there are after it.
    taps = [
        opset13.slice(
            rows,
            np.array([k * dilation]),
            np.array([-(kernel - 1 - k) * dilation or _TO_THE_END]),
            np.array([stride]),
            np.array([1]),
        )
        for k in range(kernel)
    ]
    windows = opset13.concat(taps, 2) if kernel > 1 else taps[0]
    matrix = np.ascontiguousarray(weights.transpose(0, 2, 1)).reshape(outputs, kernel * channels)
    product = opset13.matmul(windows, _restored(matrix, 1, constant), False, True)
    product.set_friendly_name(node.get_friendly_name())
    answer = opset13.transpose(product, _TURN)
    node.output(0).replace(answer.output(0))
    return True


def _by_time(value: Any) -> Any:
    """(B, C, T) as (B, T, C), as it was before the convolution in front turned its answer."""
    from openvino import opset13

    node = value.get_node()
    if node.get_type_name() == "Gelu" and _is_turned(before := node.input_value(0).get_node()):
        return opset13.gelu(before.input_value(0), node.get_attributes()["approximation_mode"])
    return opset13.transpose(value, _TURN)


def _is_turned(node: Any) -> bool:
    if node.get_type_name() != "Transpose":
        return False
    order = node.input_value(1).get_node()
    return order.get_type_name() == "Constant" and list(order.data) == _TURN


def _restored(weights: np.ndarray, axis: int, constant: Any) -> Any:
    """Float32 ``weights`` as int8, a scale for each sum over ``axis``, restored to the constant's type."""
    from openvino import Type, opset13

    kind = constant.get_element_type()
    scales = np.abs(weights).max(axis=axis, keepdims=True) / np.float32(127)
    scales[scales == 0] = 1
    if kind == Type.bf16:
        # Rounded up to what the type holds, so that the whole numbers are of the scale that they get.
        scales = ((scales.view(np.uint32) + 0xFFFF) & 0xFFFF0000).view(np.float32)
    whole = opset13.constant(np.rint(weights / scales).astype(np.int8))
    restored = opset13.multiply(opset13.convert(whole, kind), opset13.convert(opset13.constant(scales), kind))
    return restored.output(0)


def _float32(constant: Any) -> np.ndarray:
    return np.array(constant.get_data(dtype=np.float32))
