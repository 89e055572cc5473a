"""What a graph is made of, what it costs, and where its nodes run."""

import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtab.errors import EngineError
from mtab_export.profile import Event, profile

if TYPE_CHECKING:
    import onnx_ir

MODEL = "(model)"
"""Stands for the module of a node that lies in none."""

_FLOAT_PRODUCTS = ("MatMul", "Gemm", "Conv")


@dataclass(frozen=True, slots=True)
class Share:
    """Some of a graph's nodes, and their floating-point operations (None: not run)."""

    nodes: int
    flops: int | None


@dataclass(frozen=True, slots=True)
class Use:
    """Nodes that a provider computed, and how many milliseconds of one warm run went into them."""

    nodes: int
    milliseconds: float


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """One ONNX file; what takes a run is None where there was none, and ``not_run`` says why.

    ``parameters`` are the numbers in its initializers of floating-point and 8-bit types (a batch norm's
    statistics and a quantiser's scales among them), ``weights`` the bytes of all of them by dtype.

    ``flops`` are exact for the shapes in ``inputs``: 2·M·N·K for MatMul, Gemm, Conv and their integer forms;
    element-wise and other operators count nothing. ``operators`` and ``modules`` (the model's top-level ones)
    have their shares, largest first.

    ``islands`` count the nodes that are float32 in a graph of lower precision, by module path and operator:
    in fp16 and bf16 all but casts, in int8 the matrix products and convolutions.

    ``providers`` are those of ONNX Runtime that the nodes ran on after its own optimisation, by operator.
    """

    file: str
    opset: int
    parameters: int
    weights: dict[str, int]
    operators: dict[str, Share]
    modules: dict[str, Share]
    islands: dict[str, dict[str, int]]
    inputs: dict[str, tuple[int, ...]]
    flops: int | None
    providers: dict[str, dict[str, Use]] | None
    not_run: str | None


def inspect_graph(path: Path, inputs: Mapping[str, np.ndarray], device: str = "cpu") -> GraphFacts:
    """Read an ONNX file, and run it on ``device`` with those of ``inputs`` that it takes.

    A graph in blocks is described, and run, with each region of time whole. A graph that the device has no
    arithmetic for, or one of whose inputs is not there, is described without a run.

    Raises `EngineError` for a device that cannot be used here.
    """
    from mtab_export.blocks import has_blocks, load_model, save_whole

    if not has_blocks(path):
        return _inspect(path, inputs, device)
    with tempfile.TemporaryDirectory() as scratch:
        save_whole(load_model(path), Path(scratch) / path.name)
        return _inspect(Path(scratch) / path.name, inputs, device)


def _inspect(path: Path, inputs: Mapping[str, np.ndarray], device: str) -> GraphFacts:
    import onnx
    import onnx_ir

    from mtab.engines.onnxruntime import builtin_provider

    provider = builtin_provider(device)
    proto = onnx.load(path, load_external_data=False)
    # A file need not give these types, and a converter may have left those from before.
    del proto.graph.value_info[:]
    graph = onnx_ir.from_proto(onnx.shape_inference.infer_shapes(proto)).graph
    nodes = list(graph.all_nodes())
    feed = {str(value.name): inputs[str(value.name)] for value in graph.inputs if value.name in inputs}
    flops, providers, not_run = None, None, None
    try:
        if missing := [str(value.name) for value in graph.inputs if value.name not in feed]:
            raise EngineError(f"there is no {missing[0]} to run it with")
        flops = flops_by_node(nodes, profile(path, feed, provider, optimised=False))
        providers = _providers(profile(path, feed, provider, optimised=True))
    except EngineError as error:
        not_run = str(error)
    tensors = [value.const_value for value in graph.initializers.values() if value.const_value is not None]
    weights: Counter[str] = Counter()
    for tensor in tensors:
        weights[tensor.dtype.numpy().name] += tensor.nbytes
    number = (onnx_ir.DataType.INT8, onnx_ir.DataType.UINT8)
    return GraphFacts(
        file=path.name,
        opset=graph.opset_imports[""],
        parameters=sum(t.size for t in tensors if t.dtype.is_floating_point() or t.dtype in number),
        weights=dict(weights.most_common()),
        operators=_shares(nodes, [node.op_type for node in nodes], flops),
        modules=_shares(nodes, [_module(node).partition(".")[0] for node in nodes], flops),
        islands=_islands(nodes),
        inputs={name: array.shape for name, array in feed.items()},
        flops=None if flops is None else flops.total(),
        providers=providers,
        not_run=not_run,
    )


def flops_by_node(nodes: Iterable["onnx_ir.Node"], events: Iterable[Event]) -> Counter[str]:
    """Floating-point operations by the name of the node."""
    by_name = {node.name: node for node in nodes}
    flops: Counter[str] = Counter()
    for event in events:
        # ONNX Runtime adds nodes of its own, such as casts around operators that it has no fp16 for.
        if node := by_name.get(event.node):
            flops[event.node] += 2 * math.prod(event.outputs[0]) * _summands(node, event)
    return flops


def _summands(node: "onnx_ir.Node", event: Event) -> int:
    """How many products make one number of a node's output."""
    if node.op_type in ("MatMul", "MatMulInteger"):
        return event.inputs[0][-1]
    if node.op_type == "Gemm":
        transposed = "transA" in node.attributes and node.attributes["transA"].as_int()
        return event.inputs[0][0 if transposed else 1]
    if node.op_type in ("Conv", "ConvInteger"):
        weight = node.inputs[1]
        assert weight is not None
        assert weight.shape is not None
        return math.prod(weight.shape.numpy()[1:])
    return 0


def _providers(events: Iterable[Event]) -> dict[str, dict[str, Use]]:
    durations: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        durations[event.provider][event.operator].append(event.microseconds)
    return {
        provider: {
            operator: Use(len(each), sum(each) / 1000)
            for operator, each in sorted(operators.items(), key=lambda item: -sum(item[1]))
        }
        for provider, operators in durations.items()
    }


def _shares(
    nodes: Sequence["onnx_ir.Node"], groups: Sequence[str], flops: Mapping[str, int] | None
) -> dict[str, Share]:
    """Nodes and FLOPs of each group, where ``groups`` has one for each node."""
    counts, sums = Counter(groups), Counter()
    if flops is not None:
        for node, group in zip(nodes, groups, strict=True):
            sums[group] += flops.get(node.name or "", 0)
    order = sorted(counts, key=lambda group: (-sums[group], -counts[group], group))
    return {group: Share(counts[group], None if flops is None else sums[group]) for group in order}


def _islands(nodes: Collection["onnx_ir.Node"]) -> dict[str, dict[str, int]]:
    """See `GraphFacts`."""
    from onnx_ir import DataType

    from mtab_export import precision

    dtypes = {value.dtype for node in nodes for value in node.outputs}
    if dtypes & {DataType.FLOAT16, DataType.BFLOAT16}:
        found = precision.islands(nodes)
    elif dtypes & {DataType.INT8, DataType.UINT8}:
        found = [node for node in nodes if node.op_type in _FLOAT_PRODUCTS and not _is_quantised(node)]
    else:
        found = []
    islands: dict[str, Counter[str]] = defaultdict(Counter)
    for node in found:
        islands[_module(node)][node.op_type] += 1
    return {module: dict(operators.most_common()) for module, operators in islands.items()}


def _is_quantised(node: "onnx_ir.Node") -> bool:
    """Whether a product in float32 stands for one in int8, as an engine that fuses Q/DQ sees it."""
    producers = [value.producer() for value in node.inputs[:2] if value is not None]
    return all(producer is not None and producer.op_type == "DequantizeLinear" for producer in producers)


def _module(node: "onnx_ir.Node") -> str:
    """The path of the module that a node comes from; see `mtab_export.onnx_graph.export_graph`."""
    return (node.name or "").rpartition("/")[0] or MODEL
