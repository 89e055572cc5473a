"""A float32 graph with its products in int8: a range per token for CPUs, fixed ranges for TensorRT.

Not by `onnxruntime.quantization`: its dynamic quantiser takes one range per tensor, so that utterances of a
batch change each other's answers; its static one takes a weight that the graph splits for an activation, and
names what it adds apart from the modules that they come from.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx_ir.tape import Tape

from mtab.engines.openvino_int8 import LEAST_CHANNELS
from mtab.errors import ConfigError, DataError
from mtab.graphs import MEASURED
from mtab.progress import track
from mtab_export.blocks import WINDOW, load_model, save_model
from mtab_export.magnitudes import largest_magnitudes

ZERO_POINT = 128
"""What stands for 0 in an unsigned activation: x86 multiplies unsigned activations by signed weights."""

FULL_RANGE = 127
REDUCED_RANGE = 64
"""The largest weight of which two products with an activation, 2 · 255 · 64, fit the int16 of x86's sums."""

LEAST_MAGNITUDE = np.float32(1e-30)
"""Where all numbers are smaller they count as zeros, so that nothing is divided by zero."""

LEAST_COLUMNS = 8
"""Fewer fill no vector register: such a classifier is as fast in float32, and closest to the answer."""

_TO_THE_END = np.iinfo(np.int64).max


def quantize(source: Path, target: Path, reduce_range: bool, fp32_nodes: Sequence[str] = ()) -> None:
    """Write ``source`` with int8 weights, and activations quantised as they come, for CPUs.

    Every MatMul and Gemm with a constant matrix is computed in whole numbers: weights in int8 with a scale
    per output channel, activations in uint8 around 128 with a scale per row, which is a token. A convolution
    of 256 channels or more is such a product too, of the windows that it looks at, each a row. No row's
    answer depends on another row. Smaller and grouped convolutions, embeddings, products of two activations
    and classifiers of fewer than 8 classes stay float32. The file has standard operators alone and the
    metadata of ``source``; its weights lie beside it in ``<target>.data``.

    ``reduce_range`` holds weights to ±64, for processors that `mtab.machine.saturates_int8` is true of.
    Nodes that match a pattern of ``fp32_nodes`` (as in `fnmatch`) are left as they are; raises `ConfigError`
    for a pattern that matches no node of the graph.
    """
    model = load_model(source)
    graph = model.graph
    numbers = itertools.count(len(graph))
    _unfold_convolutions(graph, numbers, fp32_nodes)
    last_axis = _constant(graph, "last_axis", np.array([-1]))
    least_magnitude = _constant(graph, "least_magnitude", np.array(LEAST_MAGNITUDE))
    full_range = _constant(graph, "full_range", np.array(np.float32(FULL_RANGE)))
    one = _constant(graph, "one", np.array(np.float32(1)))
    zero_point = _constant(graph, "zero_point", np.array(np.uint8(ZERO_POINT)))
    # A tensor that several products take, as queries, keys and values do, is quantised once.
    activations: dict[ir.Value | None, tuple[ir.Value, ir.Value]] = {}
    weights: dict[tuple[ir.Value | None, bool], tuple[ir.Value, ir.Value]] = {}
    for node, matrix in _products(graph, fp32_nodes):
        add = _Recorder(node, numbers)
        activation, weight, *bias = node.inputs
        if activation not in activations:
            magnitude = add("ReduceMax", add("Abs", activation), last_axis)
            scale = add("Div", add("Max", magnitude, least_magnitude), full_range)
            whole = add("QuantizeLinear", add("Div", activation, scale), one, zero_point)
            activations[activation] = whole, scale
        key = weight, _is_transposed(node)
        if key not in weights:
            columns, scales = quantize_columns(matrix, REDUCED_RANGE if reduce_range else FULL_RANGE)
            weights[key] = (
                _constant(graph, f"{node.name}.weight", columns),
                _constant(graph, f"{node.name}.scale", scales),
            )
        (rows, row_scales), (columns, column_scales) = activations[activation], weights[key]
        product = add("Cast", add("MatMulInteger", rows, columns, zero_point), to=ir.DataType.FLOAT)
        # One after the other: ONNX Runtime fuses a product of both scales with the bias that follows, and
        # then scales the bias by row too.
        product = add("Mul", add("Mul", product, column_scales), row_scales)
        if bias:
            product = add("Add", product, *bias)
        ir.convenience.replace_nodes_and_values(graph, node, [node], add.nodes, node.outputs, [product])
    model.metadata_props["precision"] = "int8"
    save_model(model, target)


def quantize_static(
    source: Path,
    target: Path,
    batches: Iterable[Mapping[str, np.ndarray]],
    fp32_nodes: Sequence[str] = (),
) -> None:
    """Write ``source`` with pairs of QuantizeLinear and DequantizeLinear around products, for TensorRT.

    The products are those of `quantize` but for convolutions, and the file is as there. Both sides are
    symmetric int8: weights with a scale per output channel, activations with one per tensor, the largest
    magnitude that it has over ``batches`` of the graph's inputs. The ranges are fixed, so an answer never
    depends on other utterances; padding in ``batches`` would count, so each of them had better be one
    utterance.

    Raises `ConfigError` for a pattern of ``fp32_nodes`` that matches no node, `DataError` without a batch.
    """
    model = load_model(source)
    graph = model.graph
    numbers = itertools.count(len(graph))
    products = list(_products(graph, fp32_nodes))
    activations = sorted({_name(node.inputs[0]) for node, _ in products})
    magnitudes: dict[str, np.float32] = {}
    # A part may have none: the temporal-aware block is convolutions and a classifier.
    if activations:
        shown = track(batches, "calibrating", "utterances")
        found = largest_magnitudes(source, activations, shown)
        if not len(found):
            raise DataError(f"{source}: no utterance to take the ranges of int8 from, expected at least one")
        magnitudes = dict(zip(activations, found.max(axis=0), strict=True))
    zero_point = _constant(graph, "zero_point", np.array(np.int8(0)))
    dequantized: dict[Any, ir.Value] = {}
    for node, matrix in products:
        add = _Recorder(node, numbers)
        activation, weight, *_ = node.inputs
        if activation not in dequantized:
            name = _name(activation)
            magnitude = np.maximum(magnitudes[name], LEAST_MAGNITUDE)
            scale = _constant(graph, f"{name}.scale", np.array(magnitude / np.float32(FULL_RANGE)))
            whole = add("QuantizeLinear", activation, scale, zero_point)
            dequantized[activation] = add("DequantizeLinear", whole, scale, zero_point)
        key = weight, _is_transposed(node)
        if key not in dequantized:
            columns, scales = quantize_columns(matrix, FULL_RANGE)
            dequantized[key] = add(
                "DequantizeLinear",
                _constant(graph, f"{node.name}.weight", columns.T if _is_transposed(node) else columns),
                _constant(graph, f"{node.name}.scale", scales),
                # As the standard lets one leave out; ONNX Runtime with "session.x64quantprecision" does not.
                _constant(graph, f"{node.name}.zero_point", np.zeros(len(scales), np.int8)),
                axis=0 if _is_transposed(node) else 1,
            )
        graph.insert_before(node, add.nodes)
        node.replace_input_with(0, dequantized[activation])
        node.replace_input_with(1, dequantized[key])
    model.metadata_props["precision"] = "int8-static"
    save_model(model, target)


def quantize_columns(matrix: np.ndarray, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """A float32 matrix (K, N) as int8 in ±``largest``, and what to multiply each column by (N,)."""
    scales = np.maximum(np.abs(matrix).max(axis=0), LEAST_MAGNITUDE) / np.float32(largest)
    return np.rint(matrix / scales).astype(np.int8), scales


def _unfold_convolutions(graph: ir.Graph, numbers: Iterator[int], fp32_nodes: Sequence[str]) -> None:
    """Make wide convolutions over time products of the windows that they look at."""
    for node in tuple(graph):
        if node.op_type != "Conv" or _is_left(node, fp32_nodes) or node.attributes.get_int("group", 1) > 1:
            continue
        kernel = _evaluate(node.inputs[1])
        if kernel is None or kernel.ndim != 3:
            continue
        if kernel.shape[0] >= LEAST_COLUMNS and kernel.shape[1] >= LEAST_CHANNELS:
            _unfold(graph, node, kernel, _Recorder(node, numbers))


def _unfold(graph: ir.Graph, node: ir.Node, kernel: np.ndarray, add: "_Recorder") -> None:
    """(B, C, T) convolved with (O, C, K), as windows (B, T', K * C) times (K * C, O)."""
    _, channels, size = kernel.shape
    stride, dilation = (node.attributes.get_ints(name, [1])[0] for name in ("strides", "dilations"))
    before, after = node.attributes.get_ints("pads", [0, 0])

    def constant(name: str, *values: int) -> ir.Value:
        return _constant(graph, f"{node.name}.{name}", np.array(values))

    rows, _, *bias = node.inputs
    if before or after:
        rows = add("Pad", rows, constant("pads", 0, 0, before, 0, 0, after))
    rows = add("Transpose", rows, perm=[0, 2, 1])
    axis, step = constant("axis", 1), constant("stride", stride)
    # Tap k of every window begins k dilations on, and ends as many before the end as there are after it.
    starts = [k * dilation for k in range(size)]
    ends = [start - starts[-1] or _TO_THE_END for start in starts]
    taps = [
        add("Slice", rows, constant(f"start_{k}", start), constant(f"end_{k}", end), axis, step)
        for k, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    windows = add("Concat", *taps, axis=-1)
    add.nodes[-1].metadata_props[WINDOW] = f"{starts[-1] + 1} {stride}"
    matrix = np.ascontiguousarray(kernel.transpose(2, 1, 0)).reshape(size * channels, -1)
    product = add("MatMul", windows, _constant(graph, f"{node.name}.matrix", matrix))
    if bias:
        product = add("Add", product, *bias)
    turned = add("Transpose", product, perm=[0, 2, 1])
    ir.convenience.replace_nodes_and_values(graph, node, [node], add.nodes, node.outputs, [turned])


def _products(graph: ir.Graph, fp32_nodes: Sequence[str]) -> Iterator[tuple[ir.Node, np.ndarray]]:
    """The nodes to quantise with their constant matrices (K, N)."""
    _require_matches(graph, fp32_nodes)
    for node in tuple(graph):
        if not _is_product(node) or _is_left(node, fp32_nodes):
            continue
        weight = _evaluate(node.inputs[1])
        if weight is None or weight.ndim != 2:
            continue
        matrix = weight.T if _is_transposed(node) else weight
        if matrix.shape[1] >= LEAST_COLUMNS:
            yield node, matrix


def _require_matches(graph: ir.Graph, patterns: Sequence[str]) -> None:
    names = [node.name or "" for node in graph]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"{pattern!r}: matches no node of the graph, expected a pattern of node names")


def _is_left(node: ir.Node, fp32_nodes: Sequence[str]) -> bool:
    """Whether a node stays float32: it was chosen to, or measures a waveform."""
    return any(fnmatchcase(node.name or "", pattern) for pattern in (*fp32_nodes, *MEASURED))


def _is_product(node: ir.Node) -> bool:
    """Whether a node multiplies its inputs as they are."""
    if node.op_type == "Gemm":
        attributes = node.attributes
        factors = attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0)
        return factors == (1, 1) and not attributes.get_int("transA", 0)
    return node.op_type == "MatMul"


def _is_transposed(node: ir.Node) -> bool:
    return bool(node.attributes.get_int("transB", 0))


def _evaluate(value: ir.Value | None) -> np.ndarray | None:
    """A constant, or what the graph makes of one before it uses it, such as a third of a packed weight."""
    if value is None:
        return None
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None or node.op_type not in ("Split", "Transpose"):
        return None
    inputs: dict[str, Any] = {str(each.name): _evaluate(each) for each in node.inputs if each is not None}
    if any(array is None for array in inputs.values()):
        return None
    outputs = cast(list[np.ndarray], ReferenceEvaluator(ir.to_proto(node)).run(None, inputs))
    return outputs[cast(int, value.index())]


class _Recorder:
    """Collects new nodes that do the work of ``node``, named after the module that it comes from."""

    def __init__(self, node: ir.Node, numbers: Iterator[int]) -> None:
        self._module = (node.name or "").rpartition("/")[0]
        self._numbers = numbers
        self._tape = Tape()

    def __call__(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        name = f"{self._module}/{op_type}_{next(self._numbers)}"
        return self._tape.op(op_type, inputs, attributes, name=name)

    @property
    def nodes(self) -> Sequence[ir.Node]:
        return self._tape.nodes


def _constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """A new initializer; the ending keeps its name apart from those in the graph."""
    return Tape(graph).initializer(ir.tensor(array, name=f"{name}:int8"))


def _name(value: ir.Value | None) -> str:
    assert value is not None
    assert value.name is not None
    return value.name
