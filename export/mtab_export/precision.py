"""FP16 and BF16 graphs: every tensor typed, with islands of float32 where half precision cannot do."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir

from mtab.errors import ConfigError
from mtab.graphs import MEASURED
from mtab_export.blocks import load_model, save_model

Half = Literal["fp16", "bf16"]
LOW: dict[Half, ir.DataType] = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
"""The ONNX type of each precision."""

FLOAT32 = ir.DataType.FLOAT

FLOAT32_OPERATORS = (
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LogSoftmax",
    "LpNormalization",
    "Reduce*",
    "Softmax",
)
"""Operators that sum over many numbers, by pattern: their sums and squares leave fp16's range first."""

FLOAT32_NODES = ("*masked_group_norm/*", "*masked_mean/*", "*interpolation/*", "head.*", *MEASURED)
"""What sums over time or counts positions, and the head, whose few logits would be rounded last of all and at
their largest; by pattern of node names."""

MOVES = frozenset(
    {
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    }
)
"""Operators that pass numbers on: what went in rounded comes out rounded."""

EXACT = MOVES | {"Abs", "Max", "Min", "Neg", "Relu"}
"""Operators whose output is one of their inputs, but for its sign, or zero."""

READS_ANY = frozenset({"IsInf", "IsNaN", "Shape", "Size"})
"""Operators that answer the same for every type of float."""

_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
_SUFFIXES = {FLOAT32: "fp32"} | {dtype: precision for precision, dtype in LOW.items()}


def convert(source: Path, target: Path, precision: Half, fp32_nodes: Sequence[str] = ()) -> None:
    """Write the float32 graph ``source`` in ``precision``, typed, weights beside it in ``<target>.data``.

    In float32 stay `FLOAT32_OPERATORS`, `FLOAT32_NODES`, mask arithmetic (whose fills are past the range of
    half precision) up to its softmax, arithmetic on lengths and positions alone, the graph's inputs and
    outputs, and nodes whose names match a pattern of ``fp32_nodes`` (as in `fnmatch`). A number is cast only
    where it crosses from one to the other, once; a weight is stored in the one precision that it is used in.
    The metadata of ``source`` is kept, with ``precision`` added.

    Raises `ConfigError` for a pattern that matches no node, and where the graph's opset does not define one
    of its operators in ``precision``, as a convolution in bf16 before opset 22.
    """
    model = load_model(source)
    dtype = LOW[precision]
    floats = [node for node in model.graph if _reads(node, FLOAT32) or _writes(node, FLOAT32)]
    kept = _float32_nodes(floats, dtype) | matching(model.graph, fp32_nodes, source)
    caster = _Caster(model.graph, dtype)
    for node in floats:
        if reads_any(node):
            continue
        kind = FLOAT32 if node in kept else dtype
        if kind == dtype:
            _require(node, model.opset_imports[""], dtype, source)
        for i, value in enumerate(node.inputs):
            if value is not None and value.dtype in (FLOAT32, dtype) and value.dtype != kind:
                node.replace_input_with(i, caster.convert(value))
        if kind == dtype:
            _write_as(node, FLOAT32, dtype)
    for i, output in enumerate(model.graph.outputs):
        if output.dtype == dtype:
            cast = caster.cast(output)
            cast.name, output.name = output.name, cast.name
            cast.shape = output.shape
            model.graph.outputs[i] = cast
    model.metadata_props["precision"] = precision
    save_model(model, target)


def emulate(source: Path, target: Path) -> None:
    """Write the typed graph ``source`` so that it is computed in float32, rounded as half precision would be.

    Every tensor of half precision, weights and what crosses from an island among them, is rounded to it where
    it is made, past its range to infinity, and goes on in float32. A provider that has no half-precision
    operators of its own, as ONNX Runtime's on CPUs, thus answers as a GPU that adds in float32 and stores in
    half precision; by itself it would compute an fp16 operator, and whatever it fuses with it, in float32,
    where nothing overflows. ONNX Runtime keeps the pairs of casts at every level of optimisation.
    """
    model = load_model(source)
    for dtype in LOW.values():
        caster = _Caster(model.graph, dtype)
        for value in [v for v in model.graph.initializers.values() if v.dtype == dtype]:
            for user, i in list(value.uses()):
                user.replace_input_with(i, caster.cast(value))
        for node in [node for node in model.graph if _writes(node, dtype)]:
            outputs = [value for value in node.outputs if value.dtype == dtype]
            users = {value: list(value.uses()) for value in outputs}
            # A cast from an island rounds as it is; a cast of truth values, 0 or 1, is as exact as a move.
            made_of = node.inputs[0].dtype if node.op_type == "Cast" and node.inputs[0] is not None else None
            if made_of != FLOAT32:
                _write_as(node, dtype, FLOAT32)
                if node.op_type in EXACT or made_of == ir.DataType.BOOL:
                    continue
            for value in outputs:
                low = caster.cast(value) if value.dtype == FLOAT32 else value
                for user, i in users[value]:
                    user.replace_input_with(i, caster.cast(low))
    save_model(model, target)


def islands(nodes: Iterable[ir.Node]) -> list[ir.Node]:
    """Those of a typed graph's ``nodes`` that compute in float32; a cast between precisions is none."""
    return [
        node
        for node in nodes
        if node.op_type != "Cast"
        and not reads_any(node)
        and (_reads(node, FLOAT32) or _writes(node, FLOAT32))
    ]


def matching(nodes: Iterable[ir.Node], patterns: Sequence[str], source: Path) -> set[ir.Node]:
    """The nodes whose names match one of ``patterns``; `ConfigError` for a pattern that matches none."""
    found: set[ir.Node] = set()
    nodes = list(nodes)
    for pattern in patterns:
        matches = {node for node in nodes if fnmatchcase(node.name or "", pattern)}
        if not matches:
            raise ConfigError(f"{source}: no node is called {pattern!r}, expected a pattern of node names")
        found |= matches
    return found


def _float32_nodes(nodes: Sequence[ir.Node], dtype: ir.DataType) -> set[ir.Node]:
    """The nodes, of those that read or write floats, that no graph should compute in ``dtype``."""
    kept: set[ir.Node] = set()
    masks: set[ir.Value] = set()
    positions: set[ir.Value] = set()
    carried: set[ir.Node] = set()
    for node in nodes:
        floats = [value for value in node.inputs if value is not None and value.dtype == FLOAT32]
        computed = [value for value in floats if value.const_value is None]
        cast_from = node.inputs[0].dtype if node.op_type == "Cast" and node.inputs[0] is not None else None
        if any(value in masks or _is_fill(value, dtype) for value in floats):
            kept.add(node)
            if node.op_type != "Softmax":
                masks.update(node.outputs)
        # fp16 counts to 2048 and bf16 to 256; a truth value it holds.
        if cast_from in _INTEGERS or (computed and positions.issuperset(computed)):
            kept.add(node)
            positions.update(node.outputs)
        if (not floats and node.op_type != "Cast") or _is_guard(node) or _matches_any(node):
            kept.add(node)
        if node.op_type in MOVES and all(
            value.const_value.size == 1
            if value.const_value is not None
            else value.producer() in kept | carried
            for value in floats
        ):
            carried.add(node)
    # What only moves numbers from island to island is part of them.
    for node in reversed(nodes):
        if node in carried and kept.issuperset(user for value in node.outputs for user in value.consumers()):
            kept.add(node)
    return kept


def _is_fill(value: ir.Value, dtype: ir.DataType) -> bool:
    """Whether it is a single number past the range of ``dtype``, as masks are filled with."""
    if value.const_value is None or value.const_value.size != 1:
        return False
    return bool(np.isinf(cast_array(value.const_value.numpy(), dtype)).all())


def _is_guard(node: ir.Node) -> bool:
    """Whether it puts a number where a softmax over nothing gave none."""
    if node.op_type != "Where" or node.inputs[0] is None:
        return False
    condition = node.inputs[0].producer()
    return condition is not None and condition.op_type == "IsNaN"


def _matches_any(node: ir.Node) -> bool:
    return any(fnmatchcase(node.op_type, pattern) for pattern in FLOAT32_OPERATORS) or any(
        fnmatchcase(node.name or "", pattern) for pattern in FLOAT32_NODES
    )


def _require(node: ir.Node, opset: int, dtype: ir.DataType, source: Path) -> None:
    kind = f"tensor({dtype.name.lower()})"
    schema = onnx.defs.get_schema(node.op_type, opset)
    if not any(kind in constraint.allowed_type_strs for constraint in schema.type_constraints):
        raise ConfigError(
            f"{source}: opset {opset} has no {node.op_type} of {dtype.name.lower()}, expected a later one"
        )


def reads_any(node: ir.Node) -> bool:
    """Whether it answers the same for every type of float that it reads, and writes none."""
    return node.op_type in READS_ANY or (node.op_type == "Cast" and not _writes(node, FLOAT32))


def _reads(node: ir.Node, dtype: ir.DataType) -> bool:
    return any(value is not None and value.dtype == dtype for value in node.inputs)


def _writes(node: ir.Node, dtype: ir.DataType) -> bool:
    return any(value.dtype == dtype for value in node.outputs)


def _write_as(node: ir.Node, old: ir.DataType, new: ir.DataType) -> None:
    """Turn the outputs of type ``old`` to ``new``."""
    for value in node.outputs:
        if value.dtype == old:
            value.dtype = new
            if node.op_type == "Cast":
                node.attributes["to"] = ir.AttrInt64("to", new)


def cast_array(array: np.ndarray, dtype: ir.DataType) -> np.ndarray:
    """``array`` in another precision, rounded to the nearest, past the range of ``dtype`` to infinity."""
    with np.errstate(over="ignore"):
        return array.astype(dtype.numpy())


class _Caster:
    """Gives values of float32 and of ``dtype`` in the other of the two, one cast each."""

    def __init__(self, graph: ir.Graph, dtype: ir.DataType) -> None:
        self._graph = graph
        self._dtype = dtype
        self._casts: dict[ir.Value, ir.Value] = {}

    def convert(self, value: ir.Value) -> ir.Value:
        """A constant as another constant, anything else by a node."""
        if value.const_value is None or value in self._casts:
            return self.cast(value)
        converted, dtype = self._other(value)
        array = cast_array(value.const_value.numpy(), dtype)
        converted.const_value = ir.tensor(array, dtype, converted.name)
        self._graph.register_initializer(converted)
        return converted

    def cast(self, value: ir.Value) -> ir.Value:
        """By a node, right after the one that makes ``value``."""
        if value in self._casts:
            return self._casts[value]
        cast, dtype = self._other(value)
        producer = value.producer()
        module = "" if producer is None else (producer.name or "").rpartition("/")[0]
        node = ir.node("Cast", [value], {"to": dtype}, outputs=[cast], name=f"{module}/Cast_{cast.name}")
        if producer is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(producer, node)
        return cast

    def _other(self, value: ir.Value) -> tuple[ir.Value, ir.DataType]:
        dtype = FLOAT32 if value.dtype == self._dtype else self._dtype
        name = f"{value.name}_{_SUFFIXES[dtype]}"
        self._casts[value] = ir.Value(name=name, type=ir.TensorType(dtype), shape=value.shape)
        return self._casts[value], dtype
