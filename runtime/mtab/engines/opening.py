"""`open_engine`: the whole model of a bundle on one engine, or why that cannot be."""

import platform
from collections.abc import Collection
from types import ModuleType
from typing import Literal

from mtab.bundle import Bundle, GraphEntry, ReasonsEntry
from mtab.config import load_config
from mtab.engines import ENGINES
from mtab.engines.base import Engine, parse_device
from mtab.engines.grid import Grid
from mtab.errors import BundleError, EngineError
from mtab.graphs import FUSED, reasons_of
from mtab.machine import instruction_sets, saturates_int8
from mtab.memory import assumed_need
from mtab.preprocess import CONFIG_FILE, PreprocessorConfig
from mtab.types import OperatorKind, Part, Precision

AUTO: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int8-static", "bf16")
"""What the precision ``auto`` takes, the first that there is; ONNX Runtime computes no bf16 on a CPU."""


def open_engine(
    bundle: Bundle,
    engine: str,
    device: str,
    precision: Precision | Literal["auto"] = "auto",
    threads: int | None = None,
    streams: int = 1,
    unquantized: Collection[OperatorKind] = (),
) -> tuple[GraphEntry, Engine]:
    """The whole model on an engine of `ENGINES`, and the graph that it computes.

    ``device``, ``precision`` and ``threads`` are as in `mtab.load`, and the device is one by name; on the CPU
    as many batches as there are ``streams`` are to be computed at once, and share the threads. Every
    precision is that of a graph, and so was judged when it was exported, but for OpenVINO's int8, which it
    makes of the bf16 graph or the float32 one: it is to be asked for by name, and leaves there what kinds of
    operators are to stay ``unquantized``.

    Raises `BundleError` if the bundle lacks what is needed, `EngineError` if it cannot be had here.
    """
    if engine not in ENGINES:
        raise EngineError(f"engine {engine!r}, expected auto, {', '.join(ENGINES)}")
    if engine.startswith("onnxruntime"):
        graph = _fused(bundle, precision)
        opened = _onnxruntime_engine(bundle, graph, engine, device, threads, streams)
    elif engine == "openvino":
        from mtab.engines.openvino import OpenVinoEngine, sources_of

        computed = "fp32" if precision == "auto" else precision
        graph = openvino_graph(bundle, FUSED.name, computed) or _fused(bundle, sources_of(computed)[-1])
        content = _content(bundle, graph)
        path = bundle.path(graph.file)
        opened = OpenVinoEngine(path, device, threads, computed, content, streams, unquantized)
    else:
        graph, opened = _tensorrt_engine(bundle, engine, device, precision)
    opened.memory = graph.memory or assumed_need(max(bundle.config.hidden_sizes.values()))
    opened.require(FUSED.of(bundle.config.modalities, bundle.config.sizes))
    preprocessing = load_config(PreprocessorConfig, bundle.path(CONFIG_FILE))
    # A text encoder has no positions beyond.
    opened.use_grid(Grid({"tokens": preprocessing.max_tokens}))
    return graph, opened


def openvino_graph(bundle: Bundle, part: Part, precision: Precision) -> GraphEntry | None:
    """The graph that OpenVINO computes a part in a precision from; None if the bundle has none."""
    from mtab.engines.openvino import sources_of

    found = (bundle.manifest.graph(part, source) for source in sources_of(precision))
    return next((graph for graph in found if graph is not None), None)


def open_reasons(bundle: Bundle, entry: ReasonsEntry) -> Engine:
    """The graph of reasons on the CPU. Raises `EngineError` if it cannot be read."""
    opened = onnxruntime_module().OnnxRuntimeEngine(bundle.path(entry.file))
    opened.memory = entry.memory
    opened.require(reasons_of(FUSED.of(bundle.config.modalities, bundle.config.sizes), entry.outputs))
    return opened


def onnxruntime_module() -> ModuleType:
    """`mtab.engines.onnxruntime`. Raises `EngineError`, with what to install, if ONNX Runtime is not here."""
    try:
        import mtab.engines.onnxruntime as module
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise EngineError("mtab needs onnxruntime, which is not installed: pip install 'mtab[cpu]'") from None
    return module


def _onnxruntime_engine(
    bundle: Bundle, graph: GraphEntry, engine: str, device: str, threads: int | None, streams: int
) -> Engine:
    path = bundle.path(graph.file)
    full_range = graph.reduce_range is False and device == "cpu"
    if full_range and saturates_int8(platform.machine(), instruction_sets()):
        raise EngineError(
            f"{path}: sums of its int8 products saturate on a processor without VNNI, expected a graph "
            "exported with --reduce-range"
        )
    opened = onnxruntime_module().OnnxRuntimeEngine
    content = _content(bundle, graph)
    return opened(path, device, threads, graph.precision, engine, content, streams)


def _content(bundle: Bundle, graph: GraphEntry) -> str | None:
    """A hash of a graph and its weights, if they were verified; else they may be another the next time."""
    return f"{bundle.content} {graph.file}" if bundle.verified else None


def _tensorrt_engine(
    bundle: Bundle, name: str, device: str, precision: Precision | Literal["auto"]
) -> tuple[GraphEntry, Engine]:
    from mtab.cuda import find_gpu
    from mtab.engines.tensorrt import FLAVORS, TensorRTEngine, tensorrt_module

    _, index = parse_device(device, ("cuda",), name)
    of_flavor = [entry for entry in bundle.manifest.engines if entry.flavor == FLAVORS[name]]
    graphs = _graphs(bundle, precision)
    built = [(graph, entry) for graph in graphs for entry in of_flavor if entry.graph == graph.file]
    if not built:
        found = ", ".join(entry.file for entry in bundle.manifest.engines) or "none"
        expected = f"one of {name} from {_described(precision)}"
        raise BundleError(f"{bundle.folder}: engines are {found}, expected {expected}, built by mtab-export")
    module, _ = tensorrt_module(FLAVORS[name])
    capability = find_gpu(index).compute_capability
    for graph, entry in built:
        if (entry.version, entry.compute_capability) == (module.__version__, capability):
            weights = bundle.path(graph.file)
            return graph, TensorRTEngine(bundle.path(entry.file), device, graph.precision, name, weights)
    found = ", ".join(f"{e.version} for compute capability {e.compute_capability}" for _, e in built)
    expected = f"{module.__version__} for {capability}, which are here; mtab-export builds it"
    raise EngineError(f"{bundle.folder}: engines are of {name} {found}, expected {expected}")


def _fused(bundle: Bundle, precision: Precision | Literal["auto"]) -> GraphEntry:
    """The whole model's graph in a precision."""
    if graphs := _graphs(bundle, precision):
        return graphs[0]
    whole = [graph for graph in bundle.manifest.graphs if graph.part == FUSED.name]
    found = ", ".join(f"{graph.part} {graph.precision}" for graph in whole) or "none"
    raise BundleError(f"{bundle.folder}: graphs are {found}, expected {_described(precision)}")


def _graphs(bundle: Bundle, precision: Precision | Literal["auto"]) -> list[GraphEntry]:
    """The whole model's graphs in a precision, or in all of `AUTO`."""
    wanted = AUTO if precision == "auto" else (precision,)
    return [graph for each in wanted if (graph := bundle.manifest.graph(FUSED.name, each))]


def _described(precision: str) -> str:
    return FUSED.name if precision == "auto" else f"{FUSED.name} {precision}"
