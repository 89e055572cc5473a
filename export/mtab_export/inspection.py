"""``mtab-export inspect``: what a graph is made of, what it costs, and where its nodes run."""

import json
import math
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
import numpy as np

from mtab.bundle import Bundle, GraphEntry, open_bundle
from mtab.config import to_dict
from mtab.console import Command, table
from mtab.errors import BundleError, EngineError
from mtab.graphs import CME, GRAPHS, TAB_HEAD, split_of
from mtab.options import bundle_argument, json_option
from mtab.types import Precision

if TYPE_CHECKING:
    import onnx_ir

MODEL = "(model)"
"""Stands for the module of a node that lies in none."""

_ROWS = 12
"""How many operators and islands are printed; `--json` has all."""

_FLOAT_PRODUCTS = ("MatMul", "Gemm", "Conv")
_LAYER = re.compile(r"(?<=\.)\d+(?=\.|$)")


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


@dataclass(frozen=True, slots=True)
class _Event:
    """One node that ran; weights that ONNX Runtime has packed are not among ``inputs``, which are shapes."""

    node: str
    operator: str
    provider: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    microseconds: int


def inspect_graph(path: Path, inputs: Mapping[str, np.ndarray], device: str = "cpu") -> GraphFacts:
    """Read an ONNX file, and run it on ``device`` with those of ``inputs`` that it takes.

    A graph that the device has no arithmetic for, or one of whose inputs is not there, is described without
    a run. Raises `EngineError` for a device that cannot be used here.
    """
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
        flops = _flops(nodes, _profile(path, feed, provider, optimised=False))
        providers = _providers(_profile(path, feed, provider, optimised=True))
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


def _profile(
    path: Path,
    inputs: Mapping[str, np.ndarray],
    provider: tuple[str, dict[str, str]],
    optimised: bool,
) -> list[_Event]:
    """What ONNX Runtime says of the second of two runs. Raises `EngineError` if it cannot run the graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        # The nodes are those of the file then.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        try:
            session = onnxruntime.InferenceSession(path, options, providers=[provider], enable_fallback=0)
            for _ in range(2):
                session.run(None, inputs)
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise EngineError(f"ONNX Runtime cannot run it ({' '.join(str(error).split())})") from None
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    begun = max(event["ts"] for event in events if event["name"] == "model_run")
    return [_event(event) for event in events if event["cat"] == "Node" and event["ts"] >= begun]


def _event(event: Mapping[str, Any]) -> _Event:
    values = event["args"]

    def shapes(key: str) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(shape) for each in values[key] for shape in each.values())

    return _Event(
        node=event["name"].removesuffix("_kernel_time"),
        operator=values["op_name"],
        provider=values["provider"],
        inputs=shapes("input_type_shape"),
        outputs=shapes("output_type_shape"),
        microseconds=event["dur"],
    )


def _flops(nodes: Iterable["onnx_ir.Node"], events: Iterable[_Event]) -> Counter[str]:
    """Floating-point operations by the name of the node."""
    by_name = {node.name: node for node in nodes}
    flops: Counter[str] = Counter()
    for event in events:
        # ONNX Runtime adds nodes of its own, such as casts around operators that it has no fp16 for.
        if node := by_name.get(event.node):
            flops[event.node] += 2 * math.prod(event.outputs[0]) * _summands(node, event)
    return flops


def _summands(node: "onnx_ir.Node", event: _Event) -> int:
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


def _providers(events: Iterable[_Event]) -> dict[str, dict[str, Use]]:
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


def format_facts(facts: GraphFacts) -> str:
    """The facts to read: the widest operators, the modules, islands with layers taken together, providers."""
    nodes = sum(share.nodes for share in facts.operators.values())
    weights = ", ".join(f"{dtype} {size / 1e6:.2f} MB" for dtype, size in facts.weights.items())
    lines = [f"opset {facts.opset}, {nodes} nodes, {facts.parameters:,} parameters; {weights}"]
    if facts.flops is not None:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in facts.inputs.items())
        lines.append(f"{facts.flops / 1e9:.4g} GFLOP, element-wise operators not counted, for {shapes}")
    if facts.not_run is not None:
        lines.append(f"not run, so without FLOPs and providers: {facts.not_run}")
    parts = [
        "\n".join(lines),
        _share_table("operator", facts.operators, facts.flops),
        _share_table("module", facts.modules, facts.flops),
    ]
    if facts.islands:
        parts.append(_island_table(facts.islands))
    if facts.providers is not None:
        parts.append(_provider_table(facts.providers))
    return "\n\n".join(parts)


def _share_table(what: str, shares: Mapping[str, Share], total: int | None) -> str:
    """``total`` is the graph's FLOPs."""
    shown, rest = list(shares.items())[:_ROWS], list(shares.values())[_ROWS:]
    if rest:
        flops = None if total is None else sum(share.flops or 0 for share in rest)
        shown.append((f"{len(rest)} more", Share(sum(share.nodes for share in rest), flops)))
    if total is None:
        return table([(name, share.nodes) for name, share in shown], (what, "nodes"))
    rows = [
        (name, share.nodes, f"{(share.flops or 0) / 1e6:,.2f}", f"{(share.flops or 0) / max(total, 1):.1%}")
        for name, share in shown
    ]
    return table(rows, (what, "nodes", "MFLOP", "share"))


def _island_table(islands: Mapping[str, Mapping[str, int]]) -> str:
    layers: dict[str, Counter[str]] = defaultdict(Counter)
    for module, operators in islands.items():
        layers[_LAYER.sub("*", module)].update(operators)
    order = sorted(layers, key=lambda module: -layers[module].total())
    rows = [
        (module, layers[module].total(), _counted(layers[module].most_common())) for module in order[:_ROWS]
    ]
    if rest := order[_ROWS:]:
        rows.append((f"{len(rest)} more", sum(layers[module].total() for module in rest), ""))
    return table(rows, ("float32 in", "nodes", "operators"))


def _provider_table(providers: Mapping[str, Mapping[str, Use]]) -> str:
    rows = []
    for provider, operators in providers.items():
        uses = operators.values()
        longest = [(operator, use.nodes) for operator, use in operators.items()]
        milliseconds = sum(use.milliseconds for use in uses)
        rows.append((provider, sum(use.nodes for use in uses), f"{milliseconds:.2f}", _counted(longest)))
    return table(rows, ("provider", "nodes", "ms", "operators, slowest first"))


def _counted(operators: Sequence[tuple[str, int]], most: int = 6) -> str:
    counted = [f"{operator} {count}" for operator, count in operators[:most]]
    return ", ".join(counted + ["..."] * (len(operators) > most))


@click.command(cls=Command)
@bundle_argument
@click.option(
    "--part",
    "parts",
    type=click.Choice(list(GRAPHS)),
    multiple=True,
    help="Part to show; may be given again.  [default: all]",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(get_args(Precision)),
    multiple=True,
    help="Precision to show; may be given again.  [default: all]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=4.5,
    show_default=True,
    help="Seconds of speech that FLOPs are counted for.",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="Number of tokens that FLOPs are counted for, special ones included.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Device to run on: cpu, cuda or cuda:N; a device that is not there is an error.",
)
@json_option
def inspect(
    bundle: Path,
    parts: tuple[str, ...],
    precisions: tuple[str, ...],
    seconds: float,
    tokens: int,
    device: str,
    as_json: bool,
) -> None:
    """List what each graph of BUNDLE holds: operators, parameters, bytes, FLOPs, float32 islands, providers.

    \b
    Examples:
      mtab-export inspect bundle
      mtab-export inspect bundle --part fused --precision fp16 --seconds 10 --json
    """
    opened = open_bundle(bundle)
    graphs = [
        graph
        for graph in opened.manifest.graphs
        if graph.part in (parts or GRAPHS) and graph.precision in (precisions or get_args(Precision))
    ]
    if not graphs:
        found = ", ".join(f"{graph.part} {graph.precision}" for graph in opened.manifest.graphs) or "none"
        expected = " ".join((*(parts or ("any part",)), *precisions))
        raise BundleError(f"{bundle}: graphs are {found}, expected {expected}")
    inputs = _inputs(opened, graphs, seconds, tokens, device)
    inspected = [(graph, inspect_graph(opened.path(graph.file), inputs, device)) for graph in graphs]
    if as_json:
        described = [{"part": g.part, "precision": g.precision, **to_dict(facts)} for g, facts in inspected]
        click.echo(json.dumps(described, indent=2, ensure_ascii=False))
        return
    texts = (f"{g.part} {g.precision}: {facts.file}\n{format_facts(facts)}" for g, facts in inspected)
    click.echo("\n\n\n".join(texts))


def _inputs(
    bundle: Bundle, graphs: Sequence[GraphEntry], seconds: float, tokens: int, device: str
) -> dict[str, np.ndarray]:
    """One utterance of noise; if later parts are among ``graphs``, also what the earlier ones make of it."""
    from mtab.engines.onnxruntime import OnnxRuntimeEngine
    from mtab.engines.opening import AUTO
    from mtab.preprocess import Features, Preprocessor

    preprocess = Preprocessor.from_folder(bundle.folder)
    config = preprocess.config
    samples = round(seconds * config.sampling_rate)
    if samples < config.min_samples:
        raise click.UsageError(
            f"--seconds {seconds}: the audio encoder takes {config.min_samples} samples or more"
        )
    if tokens > config.max_tokens:
        raise click.UsageError(f"--tokens {tokens}: the text encoder takes {config.max_tokens} or fewer")
    noise = np.random.default_rng(0).standard_normal(samples, dtype=np.float32)
    values = preprocess.collate([Features(noise, np.zeros(tokens, np.int64), seconds, False)])
    if any(graph.part in (CME.name, TAB_HEAD.name) for graph in graphs):
        for spec in split_of(bundle.config.modalities)[:-1]:
            entries = (bundle.manifest.graph(spec.name, precision) for precision in AUTO)
            graph = next((entry for entry in entries if entry is not None), None)
            needed = spec.of(bundle.config.modalities, {}).inputs
            if graph is not None and all(tensor.name in values for tensor in needed):
                values |= OnnxRuntimeEngine(bundle.path(graph.file), device).run(values)
    return values
