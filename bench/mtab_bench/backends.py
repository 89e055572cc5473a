"""What is timed: a bundle on each engine, and what one would deploy otherwise, opened alike in any process.

Nothing heavy is imported before a backend is opened, so that a new process has what it needs and no more.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mtab.bundle import Bundle, GraphEntry
from mtab.cuda import find_cuda
from mtab.engines.base import one_line
from mtab.engines.opening import openvino_graph
from mtab.engines.openvino import multiplies_bf16
from mtab.errors import EngineError
from mtab.graphs import FUSED
from mtab.parity import Answers
from mtab.types import Precision

if TYPE_CHECKING:
    import onnxruntime

    from mtab_train.model import MulTAB

Inputs = Mapping[str, np.ndarray]
Run = Callable[[Inputs], Answers]
"""A padded batch of B to its logits and probabilities, (B, classes) float32 each."""
OUTPUTS = ["logits", "probabilities"]

REFERENCE = "pytorch"
PLAIN, PLAIN_OPENVINO = "onnxruntime-plain", "openvino-plain"
OPTIMUM, TRTEXEC = "optimum", "trtexec"

ENGINE_TITLES = {
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-tensorrt": "ONNX Runtime with TensorRT",
    "onnxruntime-tensorrt-rtx": "ONNX Runtime with TensorRT-RTX",
    "openvino": "OpenVINO",
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT-RTX",
}
BASELINE_TITLES = {
    REFERENCE: "PyTorch",
    "pytorch-bf16": "PyTorch, bf16 autocast",
    "torch-compile": "torch.compile",
    PLAIN: "ONNX Runtime, plain torch.onnx export",
    PLAIN_OPENVINO: "OpenVINO, plain torch.onnx export",
    OPTIMUM: "encoders exported by optimum",
    TRTEXEC: "TensorRT, trtexec's defaults",
}
ON_GPU = ("onnxruntime", "onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx", "tensorrt", "tensorrt-rtx")
"""The engines that compute on NVIDIA's GPUs."""
OPENVINO_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8")
_WORKING = 200_000_000
"""Bytes that a backend takes beside its weights."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to run the whole model, as plain values that another process can be told.

    ``source`` is a bundle, a run folder or an ONNX file, by ``kind``; ``engine`` is the bundle's. ``threads``
    of the CPU work on an operator; None on a GPU.
    """

    key: str
    title: str
    kind: Literal["bundle", "pytorch", "onnx"]
    source: str
    device: str
    precision: Precision
    threads: int | None
    engine: str = ""


def bundle_backends(bundle: Bundle, threads: int) -> list[Backend]:
    """The bundle on every engine, in every precision that it has; which can be had here, opening tells."""
    whole = [graph for graph in bundle.manifest.graphs if graph.part == FUSED.name]
    precisions: list[Precision] = [graph.precision for graph in whole]
    backends = [_bundle_backend(bundle, "onnxruntime", precision, threads) for precision in precisions]
    backends += [
        _bundle_backend(bundle, "openvino", precision, threads)
        for precision in OPENVINO_PRECISIONS
        if openvino_graph(bundle, FUSED.name, precision)
    ]
    if find_cuda().gpus:
        backends += [
            _bundle_backend(bundle, engine, each, None, "cuda") for engine in ON_GPU for each in precisions
        ]
    return backends


def _bundle_backend(
    bundle: Bundle, engine: str, precision: Precision, threads: int | None, device: str = "cpu"
) -> Backend:
    name, title = engine, ENGINE_TITLES[engine]
    if (engine, device) == ("onnxruntime", "cuda"):
        # It has the CPU's name.
        name, title = f"{name}-cuda", f"{title} on CUDA"
    return Backend(
        f"{name}-{precision}",
        f"{title} {precision}",
        "bundle",
        str(bundle.folder),
        device,
        precision,
        threads,
        engine,
    )


def pytorch_backends(run: Path, threads: int) -> list[Backend]:
    """The checkpoint in PyTorch on the CPU: eager, which is the reference, with autocast, and compiled."""
    keys = REFERENCE, "pytorch-bf16", "torch-compile"
    return [
        Backend(
            key,
            BASELINE_TITLES[key],
            "pytorch",
            str(run),
            "cpu",
            "bf16" if "bf16" in key else "fp32",
            threads,
        )
        for key in keys
    ]


def plain_backends(graph: Path, threads: int) -> list[Backend]:
    """What `export_plain` wrote, in ONNX Runtime and in OpenVINO with their default options.

    By default OpenVINO rounds all of a graph to bfloat16 where the processor multiplies that.
    """
    rounded: Precision = "bf16" if multiplies_bf16() else "fp32"
    kinds: list[tuple[str, str, Precision]] = [
        (PLAIN, "onnxruntime", "fp32"),
        (PLAIN_OPENVINO, "openvino", rounded),
    ]
    return [
        Backend(key, BASELINE_TITLES[key], "onnx", str(graph), "cpu", precision, threads, engine)
        for key, engine, precision in kinds
    ]


def open_backend(backend: Backend, model: "MulTAB | None" = None) -> Run:
    """Open a backend in this process; ``model`` is the run's, where that is loaded already.

    Raises `MtabError` where it cannot be had here; a compiled model may say so only when it is first run.
    """
    if backend.kind == "bundle":
        from mtab.loading import load

        opened = load(
            backend.source,
            backend.device,
            engine=backend.engine,
            precision=backend.precision,
            threads=backend.threads,
        )
        return opened.engine.run
    if backend.kind == "onnx" and backend.engine == "openvino":
        return _in_plain_openvino(backend)
    if backend.kind == "onnx":
        session: Any = open_session(Path(backend.source), backend.threads)

        def in_session(inputs: Inputs) -> Answers:
            try:
                return dict(zip(OUTPUTS, session.run(OUTPUTS, dict(inputs)), strict=True))
            except Exception as error:  # ONNX Runtime's exceptions have no common base
                raise EngineError(f"{backend.title} fails: {one_line(error)[:300]}") from None

        return in_session
    return _in_pytorch(backend, model)


def _in_plain_openvino(backend: Backend) -> Run:
    try:
        import openvino
    except ImportError as error:
        raise EngineError(f"{backend.title}: {one_line(error)}; pip install 'mtab[openvino]'") from None
    threads = {} if backend.threads is None else {"INFERENCE_NUM_THREADS": backend.threads}
    try:
        request = openvino.Core().compile_model(backend.source, "CPU", threads).create_infer_request()
    except Exception as error:  # its exceptions have no common base
        raise EngineError(f"{backend.title} fails: {one_line(error)[:300]}") from None

    def run(inputs: Inputs) -> Answers:
        try:
            answers = request.infer(dict(inputs))
        except Exception as error:  # likewise
            raise EngineError(f"{backend.title} fails: {one_line(error)[:300]}") from None
        return {name: np.array(answers[name]) for name in OUTPUTS}

    return run


def open_session(graph: Path | bytes, threads: int | None) -> "onnxruntime.InferenceSession":
    """ONNX Runtime on the CPU as one begins with it: default options, but for the number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _in_pytorch(backend: Backend, model: "MulTAB | None") -> Run:
    import torch

    from mtab_train.checkpoint import load_model

    torch.set_num_threads(backend.threads or torch.get_num_threads())
    model = model or load_model(backend.source)
    if backend.key == REFERENCE:
        return model.run
    forward: Any = torch.compile(model, dynamic=True) if backend.key == "torch-compile" else model

    def run(inputs: Inputs) -> Answers:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=backend.precision == "bf16"),
        ):
            output = forward(**tensors)
        return {name: getattr(output, name).float().numpy() for name in OUTPUTS}

    def compiled(inputs: Inputs) -> Answers:
        try:
            with quiet():
                return run(inputs)
        except Exception as error:  # whatever a compiler that is missing or fails leads to
            raise EngineError(f"torch.compile fails: {one_line(error)[:300]}") from None

    return compiled if backend.key == "torch-compile" else run


def export_plain(model: "MulTAB", path: Path, inputs: Inputs) -> None:
    """Write the model with a call of `torch.onnx.export` and nothing of mtab's, every axis dynamic.

    ``inputs`` are a batch of two or more to trace. Raises `EngineError` if the exporter fails.
    """
    import torch
    from torch.export import Dim

    from mtab_export.onnx_graph import graph_sizes

    spec = FUSED.of(model.config.modalities, graph_sizes(model))
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    dynamic = {name: dict.fromkeys(range(tensor.ndim), Dim.DYNAMIC) for name, tensor in tensors.items()}
    try:
        with quiet():
            torch.onnx.export(
                model,
                kwargs=tensors,
                f=path,
                input_names=list(tensors),
                output_names=[tensor.name for tensor in spec.outputs],
                dynamic_shapes=dynamic,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter's exceptions have no common base
        raise EngineError(f"torch.onnx.export fails: {one_line(error)[:300]}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what PyTorch's compilers tell their own developers from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def graph_of(backend: Backend, bundle: Bundle) -> GraphEntry | None:
    """The whole model's graph that a bundle's backend computes from; None if the bundle has none."""
    if backend.engine == "openvino":
        return openvino_graph(bundle, FUSED.name, backend.precision)
    return bundle.manifest.graph(FUSED.name, backend.precision)


def bytes_of(backend: Backend, bundle: Bundle, parameters: int) -> int:
    """About how much memory a backend takes while it works, by what it reads: a model, or a graph's files."""
    weights = 4 * parameters
    if backend.kind == "bundle" and (graph := graph_of(backend, bundle)) is not None:
        weights = bundle.size(graph.file)
    return 3 * weights + _WORKING
