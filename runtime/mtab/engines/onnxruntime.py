"""ONNX Runtime: the CPU, and NVIDIA's GPUs through its CUDA and TensorRT providers."""

import contextlib
import importlib
import io
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime

from mtab.bundle import Precision
from mtab.engines import optimised
from mtab.engines.base import Engine, Tensor, check_threads, one_line, parse_device
from mtab.engines.cuda import gpu_count
from mtab.errors import EngineError
from mtab.files import cache_dir

PROVIDERS = {
    "onnxruntime": {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"},
    "onnxruntime-tensorrt": {"cuda": "TensorrtExecutionProvider"},
    "onnxruntime-tensorrt-rtx": {"cuda": "NvTensorRTRTXExecutionProvider"},
}
"""The execution provider of each kind of device, by the engine's name."""

_CPU = "CPUExecutionProvider"
_RTX_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
_registering = threading.Lock()

# A provider for a GPU leaves the arithmetic on shapes to the CPU, on purpose. These would be a fall-back.
_COMPUTE = re.compile(r"MatMul|Gemm|Conv|Attention|Norm|Softmax|Gelu|Quantize")

_NUMPY_NAMES = {"float": "float32", "double": "float64"}


class OnnxRuntimeEngine(Engine):
    """One ONNX graph in ONNX Runtime, on the device that was asked for and on no other.

    ``left_to_cpu`` counts the operators, by type, that a GPU's provider leaves to the CPU; arithmetic on
    shapes, since a graph with anything else is refused.
    """

    title = "ONNX Runtime"

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        threads: int | None = None,
        precision: Precision = "fp32",
        name: str = "onnxruntime",
        content: str | None = None,
    ) -> None:
        """``device`` is ``cpu``, ``cuda`` or ``cuda:N``; ``threads`` work on an operator (None: one a core).

        ``precision`` is that of the graph, ``name`` one of `PROVIDERS`. ``content`` is a hash of the graph and
        its weights: with it a CPU's session is kept as ONNX Runtime optimised it (`mtab.engines.optimised`),
        and begins from there the next time.

        Raises `EngineError` if the device cannot be used here, if the graph cannot be read, or not be
        computed on the device alone; also if the graph takes its weights from outside its folder.
        """
        kind, index = parse_device(device, list(PROVIDERS[name]), name)
        check_threads(threads)
        provider = PROVIDERS[name][kind]
        if kind == "cpu":
            self._session = _on_cpu(path, threads, content)
        else:
            self._session = _on_gpu(path, threads, provider, index, device, precision)
        if (used := self._session.get_providers()[0]) != provider:
            raise EngineError(f"device {device}: ONNX Runtime chose {used}, expected {provider}")
        self.left_to_cpu: Counter[str] = Counter() if kind == "cpu" else operators_on(self._session, _CPU)
        if computed := {op: count for op, count in self.left_to_cpu.items() if _COMPUTE.search(op)}:
            found = ", ".join(f"{count} {op}" for op, count in computed.items())
            raise EngineError(f"{path}: {provider} leaves {found} to the CPU, expected all on {device}")
        super().__init__(
            name,
            path,
            device,
            precision,
            map(_tensor, self._session.get_inputs()),
            map(_tensor, self._session.get_outputs()),
        )

    def _compute(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        return cast(list[np.ndarray], self._session.run(self.outputs, dict(feed)))


def operators_on(session: onnxruntime.InferenceSession, provider: str) -> Counter[str]:
    """The types of the operators that a session left to a provider; it must have been told to record them."""
    parts = session.get_provider_graph_assignment_info()
    return Counter(node.op_type for part in parts if part.ep_name == provider for node in part.get_nodes())


def engine_on_gpu() -> str | None:
    """The engine that puts ONNX Runtime on a GPU of this machine, None if there is no GPU, or no provider."""
    if not gpu_count():
        return None
    if PROVIDERS["onnxruntime"]["cuda"] in onnxruntime.get_available_providers():
        return "onnxruntime"
    try:
        _register_plugin("cuda")
    except EngineError:
        return None
    return "onnxruntime-tensorrt-rtx"


def _on_cpu(path: Path, threads: int | None, content: str | None) -> onnxruntime.InferenceSession:
    """A session on the CPU, from the optimised graph if ``content`` was kept; else it is kept if it can be."""
    providers = [_CPU]
    if content is None:
        return _begin(path, path, _options(threads), providers)
    folder = optimised.folder_of(content)
    if (graph := optimised.kept(folder)) is not None:
        options = _options(threads)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return _begin(path, graph, options, providers)
        except EngineError:
            optimised.forget(folder)
    # No cache, and no lack of one, keeps a model from being loaded.
    with contextlib.suppress(OSError, EngineError), optimised.keeping(folder, path) as target:
        options = _options(threads)
        options.optimized_model_filepath = str(target)
        for key, value in {
            "session.optimized_model_external_initializers_file_name": f"{target.name}.data",
            "session.save_external_prepacked_constant_initializers": "1",
        }.items():
            options.add_session_config_entry(key, value)
        return _begin(path, path, options, providers)
    return _begin(path, path, _options(threads), providers)


def _on_gpu(
    path: Path, threads: int | None, provider: str, index: int, device: str, precision: Precision
) -> onnxruntime.InferenceSession:
    """A session on a GPU that records which operators the provider does not take."""
    options = _options(threads)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    chosen = _provider_options(provider, index, precision)
    if provider == PROVIDERS["onnxruntime-tensorrt-rtx"]["cuda"]:
        _register_plugin(device)
    if devices := [each for each in onnxruntime.get_ep_devices() if each.ep_name == provider]:
        # A provider that is a plugin knows its devices, and takes no number of one.
        if index >= len(devices):
            raise EngineError(f"device {device}: {provider} finds {len(devices)} GPUs, expected more")
        options.add_provider_for_devices([devices[index]], chosen)
        return _begin(path, path, options, None)
    require_provider(provider, device)
    # CUDA and cuDNN as packages of Python; where they are not, the system's are found without.
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()
    others = [("CUDAExecutionProvider", _cuda_options(index))] if provider == _TENSORRT else []
    return _begin(path, path, options, [(provider, {"device_id": str(index), **chosen}), *others])


def require_provider(provider: str, device: str) -> None:
    """Raise `EngineError` unless the ONNX Runtime that is installed has the provider built in."""
    if provider not in onnxruntime.get_available_providers():
        raise EngineError(
            f"device {device}: this ONNX Runtime has no {provider}, expected one that has; "
            "in a new environment: pip install 'mtab[gpu]'"
        )


def _options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # What it has to say comes as an exception, in one line of ours.
    options.log_severity_level = 4
    return options


def _begin(
    path: Path, graph: Path, options: onnxruntime.SessionOptions, providers: Sequence[Any] | None
) -> onnxruntime.InferenceSession:
    """A session of ``graph``, which stands for ``path``."""
    try:
        # Without its fallback, which would go on on the CPU where a GPU fails.
        return onnxruntime.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise EngineError(f"{path}: ONNX Runtime cannot load it ({one_line(error)})") from None
