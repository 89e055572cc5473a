"""ONNX Runtime: the CPU, and NVIDIA's GPUs through its CUDA and TensorRT providers."""

import atexit
import contextlib
import hashlib
import importlib
import io
import platform
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime

from mtab.cuda import find_cuda
from mtab.engines import graph_cache
from mtab.engines.base import Engine, Tensor, check_threads, one_line, parse_device
from mtab.engines.stamps import unstamped, write_stamp
from mtab.errors import EngineError
from mtab.files import cache_dir, read_json
from mtab.machine import instruction_sets, limited_cores, saturates_int8, usable_cores
from mtab.types import Precision

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_TENSORRT, _TENSORRT_RTX = "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"

PROVIDERS = {
    "onnxruntime": {"cpu": _CPU, "cuda": _CUDA},
    "onnxruntime-tensorrt": {"cuda": _TENSORRT},
    "onnxruntime-tensorrt-rtx": {"cuda": _TENSORRT_RTX},
}
"""The execution provider of each kind of device, by the engine's name."""

# A provider for a GPU leaves arithmetic on shapes to the CPU, on purpose. These would be a fall-back.
_COMPUTE = re.compile(r"MatMul|Gemm|Conv|Attention|Norm|Softmax|Gelu|Quantize")
_SHAPES = re.compile(r"(nv|trt)_profile_(min|opt|max)_shapes")
_OPTIMISED = "graph.onnx"
_NUMPY_NAMES = {"float": "float32", "double": "float64"}

_registering = threading.Lock()


class OnnxRuntimeEngine(Engine):
    """One ONNX graph in ONNX Runtime, on the device that was asked for and on no other.

    ``left_to_cpu`` counts by type the operators that a GPU's provider leaves to the CPU: those that compute
    shapes, since a graph that leaves any other is refused.
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
        streams: int = 1,
    ) -> None:
        """``device`` is ``cpu``, ``cuda`` or ``cuda:N``; ``threads`` work on an operator (None: one a core).

        On the CPU as many calls at once as ``streams`` share the threads, of which each brings its own.
        ``precision`` is the graph's; ``name`` is one of `PROVIDERS`. ``content`` is a hash of the graph and
        its weights: with it the graph is kept in the user's cache as ONNX Runtime optimised it for this
        processor, and the next session begins from there.

        Raises `EngineError` if the device cannot be used here, and if the graph cannot be read, cannot be
        computed on the device alone, or takes its weights from outside its folder.
        """
        kind, index = parse_device(device, list(PROVIDERS[name]), name)
        check_threads(threads)
        provider = PROVIDERS[name][kind]
        if kind == "cpu":
            self._session = _on_cpu(path, pool_of(threads, streams), content)
        else:
            self._session = _on_gpu(path, threads, provider, device, index, precision)
        if (used := self._session.get_providers()[0]) != provider:
            raise EngineError(f"device {device}: ONNX Runtime chose {used}, expected {provider}")
        self.left_to_cpu = Counter() if kind == "cpu" else operators_on(self._session, _CPU)
        require_no_compute(self.left_to_cpu, path, provider, device)
        super().__init__(
            name,
            path,
            device,
            precision,
            map(_tensor, self._session.get_inputs()),
            map(_tensor, self._session.get_outputs()),
        )
        self.streams = streams

    def _compute(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        return cast(list[np.ndarray], self._session.run(self.outputs, dict(feed)))


def pool_of(threads: int | None, streams: int) -> int | None:
    """The size of a session's pool, in which a caller's thread counts as one.

    Callers and the pool's own threads are ``threads`` together where ``streams`` call at once.

    >>> pool_of(4, 1), pool_of(4, 2), pool_of(4, 4)
    (4, 3, 1)
    """
    if streams == 1:
        return threads
    return max(1, (threads or usable_cores()) - streams + 1)


def builtin_provider(device: str, name: str = "onnxruntime") -> tuple[str, dict[str, str]]:
    """The execution provider of an engine on ``device``, with its options.

    Raises `EngineError` if there is no such device, and if the ONNX Runtime that is installed lacks it.
    """
    kind, index = parse_device(device, list(PROVIDERS[name]), name)
    provider = PROVIDERS[name][kind]
    if provider not in onnxruntime.get_available_providers():
        raise EngineError(
            f"device {device}: this ONNX Runtime has no {provider}, expected one that has; "
            "in a new environment: pip install 'mtab[gpu]'"
        )
    return provider, {} if kind == "cpu" else {"device_id": str(index), **_options_of(provider)}


def engine_on_gpu() -> str | None:
    """The engine that puts ONNX Runtime on a GPU of this machine; None without a GPU or a provider for it."""
    if not find_cuda().gpus:
        return None
    if _CUDA in onnxruntime.get_available_providers():
        return "onnxruntime"
    with contextlib.suppress(EngineError):
        register_plugin("device cuda")
        return "onnxruntime-tensorrt-rtx"
    return None


def operators_on(session: onnxruntime.InferenceSession, provider: str) -> Counter[str]:
    """The operators, by type, that a session gave to a provider; it must have been told to record that."""
    parts = session.get_provider_graph_assignment_info()
    return Counter(node.op_type for part in parts if part.ep_name == provider for node in part.get_nodes())


def require_no_compute(left: Mapping[str, int], path: Path, provider: str, device: str) -> None:
    """Raise `EngineError` if a provider left more than arithmetic on shapes to the CPU."""
    if computed := [f"{count} {kind}" for kind, count in left.items() if _COMPUTE.search(kind)]:
        found = f"{provider} leaves {', '.join(computed)} to the CPU"
        raise EngineError(f"{path}: {found}, expected all on {device}; another precision may be")


def _on_cpu(path: Path, threads: int | None, content: str | None) -> onnxruntime.InferenceSession:
    """A session on the CPU, which begins from the optimised graph or, if ``content`` is known, leaves one."""
    if content is None:
        return _begin(path, path, _session_options(threads), [_CPU])
    folder = optimised_folder(content)
    if (graph := graph_cache.kept(folder, _OPTIMISED)) is not None:
        options = _session_options(threads)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return _begin(path, graph, options, [_CPU])
        except EngineError:
            graph_cache.forget(folder)
    # A cache that is full or read-only keeps no model from being loaded.
    # Weights are kept twice, as they were and as they are multiplied.
    with contextlib.suppress(OSError, EngineError), graph_cache.keeping(folder, path, copies=2) as partial:
        options = _session_options(
            threads,
            {
                "session.optimized_model_external_initializers_file_name": f"{_OPTIMISED}.data",
                "session.save_external_prepacked_constant_initializers": "1",
            },
        )
        options.optimized_model_filepath = str(partial / _OPTIMISED)
        return _begin(path, path, options, [_CPU])
    return _begin(path, path, _session_options(threads), [_CPU])


def optimised_folder(content: str) -> Path:
    """Where the graph of ``content`` is kept as this ONNX Runtime optimises it."""
    return graph_cache.folder_of(content, onnxruntime.__version__, onnxruntime.get_build_info())


def _on_gpu(
    path: Path, threads: int | None, provider: str, device: str, index: int, precision: Precision
) -> onnxruntime.InferenceSession:
    """A session on a GPU, which records what its provider leaves to the CPU."""
    options = _session_options(threads, {"session.record_ep_graph_assignment_info": "1"})
    compiled = _compiled_folder(path, provider)
    chosen = _options_of(provider, precision, compiled) | _shape_options(path, provider)
    if provider == _TENSORRT_RTX:
        register_plugin(f"device {device}")
        # A plugin knows devices, and takes no number of one.
        devices = [each for each in onnxruntime.get_ep_devices() if each.ep_name == provider]
        if index >= len(devices):
            raise EngineError(f"device {device}: {provider} finds {len(devices)} GPUs that it supports")
        options.add_provider_for_devices([devices[index]], chosen)
        with _stamped(compiled):
            return _begin(path, path, options, None)
    name = "onnxruntime" if provider == _CUDA else "onnxruntime-tensorrt"
    providers = [(builtin_provider(device, name)[0], {"device_id": str(index), **chosen})]
    if provider == _TENSORRT:
        # What TensorRT does not take stays on the GPU.
        providers.append(builtin_provider(device))
    # CUDA and cuDNN where they came as packages of Python; it prints what it does not find.
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()
    with _stamped(compiled):
        return _begin(path, path, options, providers)


def _compiled_folder(path: Path, provider: str) -> Path:
    """Where a provider keeps what it compiles of a graph."""
    place = hashlib.sha256(str(path.resolve()).encode(errors="surrogateescape")).hexdigest()[:32]
    return cache_dir() / provider / place


@contextlib.contextmanager
def _stamped(folder: Path) -> Iterator[None]:
    """Let a session begin from what is in ``folder`` as it was made, and from nothing else."""
    with contextlib.suppress(OSError):
        for path in unstamped(folder):
            path.unlink(missing_ok=True)
    yield
    # More is compiled as shapes come: what is there at the end counts the next time.
    _stamp(folder)
    atexit.register(_stamp, folder)


def _stamp(folder: Path) -> None:
    with contextlib.suppress(OSError):
        if folder.is_dir():
            write_stamp(folder)


def _options_of(provider: str, precision: Precision = "fp32", compiled: Path | None = None) -> dict[str, str]:
    """What mtab asks of a provider for GPUs, but for the device; ``compiled`` keeps what it compiles."""
    folder = str(compiled or cache_dir() / provider)
    if provider == _CUDA:
        # TF32, its default, keeps 10 bits of a float32: too few for the parity promised. And its default
        # search tries every algorithm of a convolution again for each new length of audio.
        return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    if provider == _TENSORRT:
        cached = {
            f"trt_{kind}_cache_{key}": value
            for kind in ("engine", "timing")
            for key, value in (("enable", "1"), ("path", folder))
        }
        return cached | ({"trt_fp16_enable": "1"} if precision == "fp16" else {})
    return {"nv_runtime_cache_path": folder}


def _shape_options(graph: Path, provider: str) -> dict[str, str]:
    """The shapes that TensorRT shall be ready for, where the exporter left them beside the graph."""
    path = graph.with_name(f"{graph.stem}_ort_trt.json")
    options = read_json(path).get(provider, {}) if path.is_file() else {}
    # And nothing else: a bundle has no say in where files are written.
    return {key: str(value) for key, value in options.items() if _SHAPES.fullmatch(key)}


def register_plugin(needed_for: str) -> None:
    """Make TensorRT-RTX's plugin known to ONNX Runtime, once in a process.

    Raises `EngineError`, which begins with ``needed_for``, if the plugin is not installed or does not load.
    """
    try:
        plugin: Any = importlib.import_module("onnxruntime_ep_nv_tensorrt_rtx")
    except ModuleNotFoundError:
        raise EngineError(
            f"{needed_for}: TensorRT-RTX's plugin for ONNX Runtime is not installed: "
            "pip install onnxruntime-ep-nv-tensorrt-rtx"
        ) from None
    with _registering:
        if any(each.ep_name == _TENSORRT_RTX for each in onnxruntime.get_ep_devices()):
            return
        try:
            onnxruntime.register_execution_provider_library(_TENSORRT_RTX, plugin.get_library_path())
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise EngineError(f"{needed_for}: {_TENSORRT_RTX} cannot be loaded ({one_line(error)})") from None


def _session_options(
    threads: int | None, entries: Mapping[str, str] | None = None
) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # By itself it takes one a core, whichever of them it may use.
    options.intra_op_num_threads = threads or limited_cores() or 0
    # A plan of memory for every shape, which is never forgotten and gains nothing measurable.
    options.enable_mem_pattern = False
    # What it has to say comes as an exception, in one line of ours.
    options.log_severity_level = 4
    if saturates_int8(platform.machine(), instruction_sets()):
        # Products of fixed-range int8 as exact as elsewhere, for some speed.
        options.add_session_config_entry("session.x64quantprecision", "1")
    for key, value in (entries or {}).items():
        options.add_session_config_entry(key, value)
    return options


def _begin(
    path: Path, graph: Path, options: onnxruntime.SessionOptions, providers: Sequence[Any] | None
) -> onnxruntime.InferenceSession:
    """A session of ``graph``, which is that of ``path`` or stands for it."""
    try:
        # Without its fallback, which would go on on the CPU where a GPU fails.
        return onnxruntime.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    except Exception as error:  # as above
        raise EngineError(f"{path}: ONNX Runtime cannot load it ({one_line(error)})") from None


def _tensor(value: Any) -> Tensor:
    kind = re.sub(r"tensor\((\w+)\)", r"\1", value.type)
    return Tensor(value.name, _NUMPY_NAMES.get(kind, kind), tuple(value.shape))
