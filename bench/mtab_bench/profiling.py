"""Where the time of an engine goes: its own counters, by part of the model and kind of operator."""

import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mtab.bundle import Bundle
from mtab.errors import BundleError
from mtab.types import Precision
from mtab_bench.backends import Backend, Inputs, graph_of
from mtab_export.inspection import MODEL, flops_by_node

if TYPE_CHECKING:
    import onnx_ir

RUNS = 5
"""Runs that are counted, after one that is not."""

PRODUCTS, CONVOLUTIONS, ATTENTION = "matrix products", "convolutions", "attention products"
KINDS = {
    PRODUCTS: "MatMul Gemm FusedMatMul FusedGemm FullyConnected FullyConnectedCompressed MatMulInteger "
    "MatMulIntegerToFloat DynamicQuantizeMatMul QLinearMatMul MatMulNBits",
    CONVOLUTIONS: "Conv FusedConv ConvInteger QLinearConv Convolution GroupConvolution",
    ATTENTION: "Attention MultiHeadAttention QAttention ScaledDotProductAttention",
    "normalisation": "LayerNormalization SkipLayerNormalization SimplifiedLayerNormalization MVN "
    "BatchNormalization BatchNormInference GroupNormalization InstanceNormalization RMS",
    "activation": "Gelu BiasGelu FastGelu QuickGelu Erf Relu Sigmoid Tanh Softmax LogSoftmax",
    "conversion": "Cast Convert DynamicQuantizeLinear QuantizeLinear DequantizeLinear FakeQuantize Reorder "
    "ReorderInput ReorderOutput",
    "movement": "Transpose Reshape Concat Slice Split Pad Gather GatherND GatherElements Expand Squeeze "
    "Unsqueeze Identity StridedSlice VariadicSplit Broadcast Tile Flatten Where Select ShapeOf Shape Range",
    "sums over time": "ReduceSum ReduceMean ReduceMax ReduceMin ReduceL2 Reduce",
    "element-wise": "Add Sub Mul Div Neg Sqrt Exp Log Pow Reciprocal Clip Min Max Abs Less Greater Equal And "
    "Or Not Mod Sign Sum Floor Ceil Cos Sin Eltwise Math Subgraph Multiply MulAdd Divide PowerStatic Clamp "
    "Maximum Minimum FloorMod LogicalAnd LogicalNot LogicalOr",
}
"""Types of operators, those of ONNX Runtime and of OpenVINO, by kind; what is in none is ``other``."""
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}


@dataclass(frozen=True, slots=True)
class Row:
    """Operators of a part and a kind in one run: how many, what they take and how much they compute.

    ``gflop`` counts matrix products and convolutions, ``bytes`` are read and written (None where an engine
    does not tell).
    """

    part: str
    kind: str
    operators: float
    milliseconds: float
    gflop: float
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Profile:
    """A backend's rows, the slowest first; ``milliseconds`` are a whole run's, counted as it was."""

    backend: str
    precision: Precision
    threads: int
    milliseconds: float
    rows: tuple[Row, ...]

    @property
    def counted(self) -> float:
        """Milliseconds of the operators together; what is missing to the whole passes between them."""
        return sum(row.milliseconds for row in self.rows)

    @property
    def gflop(self) -> float:
        """Operations of a run."""
        return sum(row.gflop for row in self.rows)


class _Operator(NamedTuple):
    """What an engine says of one operator: its name in the graph, its type, and of one run time and bytes."""

    name: str
    type: str
    runs: float
    milliseconds: float
    bytes: float | None


def profile_backend(bundle: Bundle, backend: Backend, inputs: Inputs) -> Profile:
    """Run a bundle's backend on the CPU on one batch, each region of time whole, and read its counters.

    Raises `EngineError` if it cannot be had here, `BundleError` if the bundle lacks its graph.
    """
    from mtab_export.blocks import load_model, save_whole

    entry = graph_of(backend, bundle)
    if entry is None:
        raise BundleError(f"{bundle.folder}: holds no whole model for {backend.title}, expected one")
    with tempfile.TemporaryDirectory() as scratch:
        # What runs in a loop over stretches of time an engine counts as one operator, if at all.
        path = Path(scratch) / entry.file
        model = load_model(bundle.path(entry.file))
        save_whole(model, path)
        nodes = list(model.graph.all_nodes())
        measure = _in_openvino if backend.engine == "openvino" else _in_onnxruntime
        milliseconds, operators = measure(path, backend, inputs)
        rows = _rows(nodes, operators, _operations(path, nodes, inputs, entry.precision))
    return Profile(backend.title, backend.precision, backend.threads or 0, milliseconds, rows)


def _in_onnxruntime(path: Path, backend: Backend, inputs: Inputs) -> tuple[float, list[_Operator]]:
    from mtab.engines.onnxruntime import OnnxRuntimeEngine, builtin_provider
    from mtab_export.profile import profile

    engine = OnnxRuntimeEngine(path, "cpu", backend.threads, backend.precision)
    milliseconds = _milliseconds(lambda: engine.run(inputs))
    events = profile(path, inputs, builtin_provider("cpu"), True, backend.threads or 0, RUNS)
    operators = [
        _Operator(each.node, each.operator, 1 / RUNS, each.microseconds / 1000 / RUNS, each.size / RUNS)
        for each in events
    ]
    return milliseconds, operators


def _in_openvino(path: Path, backend: Backend, inputs: Inputs) -> tuple[float, list[_Operator]]:
    from mtab.engines.openvino import OpenVinoEngine, compile_graph

    engine = OpenVinoEngine(path, "cpu", backend.threads, backend.precision)
    milliseconds = _milliseconds(lambda: engine.run(inputs))
    compiled, _ = compile_graph(path, "cpu", backend.threads, backend.precision, counters=True)
    request = compiled.create_infer_request()
    operators = []
    for run in range(1 + RUNS):
        request.infer(dict(inputs))
        operators += [
            _Operator(
                each.node_name, each.node_type, 1 / RUNS, 1000 * each.real_time.total_seconds() / RUNS, None
            )
            for each in request.get_profiling_info()
            if run and "NOT_RUN" not in str(each.status)
        ]
    return milliseconds, operators


def _milliseconds(run: Callable[[], object]) -> float:
    """Of a run, the median of `RUNS` after one that is not counted."""
    times = []
    for _ in range(1 + RUNS):
        begun = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times[1:])


def _operations(
    path: Path, nodes: Sequence["onnx_ir.Node"], inputs: Inputs, precision: Precision
) -> Mapping[str, int]:
    """Floating-point operations by the name of the node, exact for the shapes of the inputs."""
    from mtab.engines.onnxruntime import builtin_provider
    from mtab_export.blocks import load_model, save_whole
    from mtab_export.precision import emulate
    from mtab_export.profile import profile

    if precision == "bf16":
        # ONNX Runtime has no bfloat16 on a CPU; the shapes are the same without.
        emulated = path.with_name("emulated.onnx")
        emulate(path, emulated)
        path = path.with_name("whole.onnx")
        save_whole(load_model(emulated), path)
    return flops_by_node(nodes, profile(path, inputs, builtin_provider("cpu"), optimised=False))


def _rows(
    nodes: Iterable["onnx_ir.Node"], operators: Iterable[_Operator], operations: Mapping[str, int]
) -> tuple[Row, ...]:
    """Operators and operations by part of the model and kind."""
    by_name = {node.name or "": node for node in nodes}
    made_by = {value.name: node.name or "" for node in by_name.values() for value in node.outputs}
    found: dict[tuple[str, str], list[_Operator]] = defaultdict(list)
    part = MODEL
    for each in operators:
        kind = _KIND_OF.get(each.type, "other")
        # What was fused from many may have a name that says nothing: it comes after what it belongs to.
        if (origin := _origin(each.name, by_name, made_by)) is not None:
            part = _part(origin)
            computed = _kind_of_node(by_name[origin])
            # Some convolutions are multiplied as matrices, and some attention is fused with what follows.
            if kind == PRODUCTS and computed in (ATTENTION, CONVOLUTIONS):
                kind = computed
            elif each.type == "Subgraph" and computed == ATTENTION:
                kind = ATTENTION
        found[part, kind].append(each)
    gflop: Counter[tuple[str, str]] = Counter()
    for name, count in operations.items():
        if count:
            gflop[_part(name), _kind_of_node(by_name[name]) or "other"] += count
    rows = [
        Row(
            part,
            kind,
            round(sum(each.runs for each in found[part, kind]), 1),
            sum(each.milliseconds for each in found[part, kind]),
            1e-9 * gflop[part, kind],
            _bytes(found[part, kind]),
        )
        for part, kind in found.keys() | gflop.keys()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.milliseconds, row.part, row.kind)))


def _origin(name: str, nodes: Mapping[str, object], made_by: Mapping[str | None, str]) -> str | None:
    """The node of the graph that an engine's operator stands for: engines fuse, and rename what they made."""
    while name:
        if name in nodes:
            return name
        if name in made_by:
            return made_by[name]
        name = name.rpartition("/")[0]
    return None


def _kind_of_node(node: "onnx_ir.Node") -> str | None:
    """Whether a node multiplies by weights, or one thing that was computed by another; None for neither."""
    kind = _KIND_OF.get(node.op_type)
    if kind != PRODUCTS:
        return kind
    computed = [value for value in node.inputs[:2] if value is not None and value.const_value is None]
    return ATTENTION if node.op_type == "MatMul" and len(computed) == 2 else PRODUCTS


def _part(name: str) -> str:
    """The top-level module that a node's name begins with."""
    path = name.rpartition("/")[0]
    return path.partition(".")[0].partition("/")[0] or MODEL


def _bytes(operators: Sequence[_Operator]) -> int | None:
    sizes = [each.bytes for each in operators if each.bytes is not None]
    return round(sum(sizes)) if sizes or not operators else None
