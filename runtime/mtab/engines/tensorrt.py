"""TensorRT and TensorRT-RTX: engines that were built ahead of time, on one of NVIDIA's GPUs."""

import functools
import hashlib
import importlib
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mtab.cuda import Stream
from mtab.engines.base import Engine, Tensor, one_line, parse_device
from mtab.errors import EngineError
from mtab.files import atomic_file, cache_dir
from mtab.types import Precision

Flavor = Literal["rtx", "trt"]

FLAVORS: dict[str, Flavor] = {"tensorrt": "trt", "tensorrt-rtx": "rtx"}
"""What a manifest calls the TensorRT of an engine's name."""

_INSTALL: dict[Flavor, str] = {
    "rtx": "pip install 'mtab[rtx]'",
    "trt": "install TensorRT from NVIDIA, with its Python package",
}
_OWN_SOURCES = re.compile(r"\.? *In \w+ at /\S+:\d+")
_MAX_GRAPHS = 8
"""Shapes of which a CUDA graph is kept at a time."""

Shapes = tuple[tuple[int, ...], ...]


class TensorRTEngine(Engine):
    """One engine on one GPU. It takes what its profile allows, from the smallest to the largest batch.

    Inputs and outputs have their memory on the GPU from the beginning, for the largest batch. Where the same
    shapes come again the work is launched as one CUDA graph: TensorRT-RTX keeps these itself, for plain
    TensorRT they are kept here. Threads take turns.
    """

    title = "TensorRT"

    def __init__(
        self,
        path: Path,
        device: str = "cuda",
        precision: Precision = "fp32",
        name: str = "tensorrt-rtx",
        weights: Path | None = None,
    ) -> None:
        """``device`` is ``cuda`` or ``cuda:N``, ``precision`` what the engine was built in.

        ``name`` is one of `FLAVORS`; ``weights`` is the graph from which an engine that was built without its
        weights gets them.

        Raises `EngineError` if TensorRT is not installed, if there is no such GPU, and if the engine was not
        made for it or for this TensorRT.
        """
        _, index = parse_device(device, ("cuda",), name)
        module, self._log = tensorrt_module(FLAVORS[name])
        self.path = path
        self._lock = threading.Lock()
        self._stream = Stream(index)
        self._log.error = ""
        self._runtime = module.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise self._failed(f"cannot be used on {device} by {module.__name__} {module.__version__}")
        if self._engine.get_engine_stat(module.EngineStat.STRIPPED_WEIGHTS_SIZE) > 0:
            self._refit(module, weights)
        self._cache = _KernelCache(self._engine, path) if name == "tensorrt-rtx" else None
        self._strategy = module.ExecutionContextAllocationStrategy.USER_MANAGED
        # Contexts take turns, so that one piece of memory does for all.
        self._scratch_size = max(self._engine.device_memory_size_v2, 1)
        self._scratch = self._stream.allocate(self._scratch_size)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        is_input = {n: self._engine.get_tensor_mode(n) == module.TensorIOMode.INPUT for n in names}
        tensors = {n: _tensor(module, self._engine, n) for n in names}
        super().__init__(
            name,
            path,
            device,
            precision,
            [tensors[n] for n in names if is_input[n]],
            [tensors[n] for n in names if not is_input[n]],
        )
        self._memory: dict[str, int] = {}
        self._context = self._new_context()
        largest = {n: tuple(self._engine.get_tensor_profile_shape(n, 0)[2]) for n in self.inputs}
        self._set_shapes(self._context, largest)
        for n, tensor in tensors.items():
            values = int(np.prod(self._context.get_tensor_shape(n)))
            self._memory[n] = self._stream.allocate(values * np.dtype(tensor.dtype).itemsize)
        self._bind(self._context)
        self._seen: OrderedDict[Shapes, None] = OrderedDict()
        self._graphs: OrderedDict[Shapes, tuple[Any, int]] = OrderedDict()

    def _compute(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        with self._lock:
            self._log.error = ""
            self._stream.use()
            shapes = {name: array.shape for name, array in feed.items()}
            self._set_shapes(self._context, shapes)
            for name, array in feed.items():
                self._stream.upload(np.ascontiguousarray(array), self._memory[name])
            if self._cache is not None:
                self._enqueue(self._context)
            else:
                self._launch(tuple(shapes.values()), shapes)
            answers = []
            for tensor in self._outputs:
                shape = tuple(self._context.get_tensor_shape(tensor.name))
                answers.append(np.empty(shape, tensor.dtype))
                self._stream.download(self._memory[tensor.name], answers[-1])
            self._stream.synchronize()
            if self._cache is not None:
                self._cache.save()
            return answers

    def _launch(self, key: Shapes, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Run plain TensorRT: from the second time on that shapes come, as a graph."""
        if key not in self._graphs and key in self._seen:
            self._graphs[key] = self._capture(shapes)
            if len(self._graphs) > _MAX_GRAPHS:
                _, (_context, oldest) = self._graphs.popitem(last=False)
                self._stream.forget(oldest)
        if key in self._graphs:
            self._graphs.move_to_end(key)
            self._stream.launch(self._graphs[key][1])
            return
        self._seen[key] = None
        if len(self._seen) > 8 * _MAX_GRAPHS:
            self._seen.popitem(last=False)
        self._enqueue(self._context)

    def _capture(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Any, int]:
        """A graph for some shapes, with the context that it needs: one whose shapes never change again."""
        context = self._new_context()
        self._set_shapes(context, shapes)
        self._bind(context)
        # The first time in a context does what a graph cannot hold.
        self._enqueue(context)
        return context, self._stream.capture(lambda: self._enqueue(context))

    def _enqueue(self, context: Any) -> None:
        if not context.execute_async_v3(self._stream.handle):
            raise self._failed(f"fails on {self.device}")

    def _new_context(self) -> Any:
        context = (
            self._engine.create_execution_context(self._strategy)
            if self._cache is None
            else self._engine.create_execution_context(self._cache.config(self._strategy))
        )
        if context is None:
            raise self._failed(f"cannot be run on {self.device}")
        context.set_device_memory(self._scratch, self._scratch_size)
        return context

    def _bind(self, context: Any) -> None:
        for name, address in self._memory.items():
            context.set_tensor_address(name, address)

    def _set_shapes(self, context: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            smallest, _, largest = map(list, self._engine.get_tensor_profile_shape(name, 0))
            fits = len(shape) == len(largest) and all(
                low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)
            )
            if not fits:
                raise EngineError(f"{self.path}: {name} is {list(shape)}, expected {smallest} to {largest}")
            if not context.set_input_shape(name, shape):
                raise self._failed(f"does not take {name} {list(shape)}")

    def _refit(self, module: Any, weights: Path | None) -> None:
        if weights is None:
            raise EngineError(f"{self.path}: holds no weights, expected the graph that has them")
        refitter = module.Refitter(self._engine, self._log)
        parsed = module.OnnxParserRefitter(refitter, self._log).refit_from_file(str(weights))
        if not (parsed and refitter.refit_cuda_engine()):
            raise self._failed(f"does not take the weights of {weights}")

    def _failed(self, how: str) -> EngineError:
        return EngineError(f"{self.path}: {how} ({self._log.error or 'TensorRT gives no reason'})")


class _KernelCache:
    """The kernels that TensorRT-RTX compiles for a GPU as it goes, kept in the user's cache."""

    def __init__(self, engine: Any, path: Path) -> None:
        self._config = engine.create_runtime_config()
        self._cache = self._config.create_runtime_cache()
        place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
        self._path = cache_dir() / "tensorrt-rtx" / f"{place}.kernels"
        self._size = 0
        if (kept := read_kernels(self._path)) is not None:
            # It refuses what another GPU, driver or version compiled.
            self._cache.deserialize(kept)
            self._size = len(kept)

    def config(self, strategy: Any) -> Any:
        module, _ = tensorrt_module("rtx")
        self._config.set_runtime_cache(self._cache)
        self._config.set_execution_context_allocation_strategy(strategy)
        self._config.cuda_graph_strategy = module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return self._config

    def save(self) -> None:
        """Write what was compiled since the last time, if anything was."""
        kernels = self._cache.serialize()
        if kernels is None or kernels.nbytes == self._size:
            return
        self._size = kernels.nbytes
        with suppress(OSError):
            write_kernels(self._path, bytes(kernels))


def write_kernels(path: Path, kernels: bytes) -> None:
    """Keep kernels behind their SHA-256. Raises `OSError`."""
    with atomic_file(path) as partial:
        partial.write_bytes(hashlib.sha256(kernels).digest() + kernels)


def read_kernels(path: Path) -> bytes | None:
    """The kernels that `write_kernels` kept; None if there are none, or others by now."""
    with suppress(OSError):
        kept = path.read_bytes()
        digest, kernels = kept[:32], kept[32:]
        if hashlib.sha256(kernels).digest() == digest:
            return kernels
    return None


@functools.cache
def tensorrt_module(flavor: Flavor) -> tuple[Any, Any]:
    """The module of a flavor, and the log that TensorRT takes in a process; ``log.error`` is its last error.

    Raises `EngineError`, with what to install, if it is not here.
    """
    name = "tensorrt_rtx" if flavor == "rtx" else "tensorrt"
    try:
        if flavor == "rtx":
            module: Any = importlib.import_module("tensorrt_rtx")
        else:
            module = importlib.import_module("tensorrt")
    except ModuleNotFoundError:
        raise EngineError(f"{name} is not installed: {_INSTALL[flavor]}") from None
    except (ImportError, OSError) as error:
        raise EngineError(f"{name} cannot be loaded ({one_line(error)})") from None
    # The package index has an empty one of that name.
    if not hasattr(module, "Runtime"):
        raise EngineError(f"{name} cannot be loaded (it has no Runtime): {_INSTALL[flavor]}")

    class Log(module.ILogger):
        """Keeps the last error, and the terminal clear."""

        def __init__(self) -> None:
            super().__init__()
            self.error = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.Severity.ERROR, module.ILogger.Severity.INTERNAL_ERROR):
                self.error = _OWN_SOURCES.sub("", message)

    return module, Log()


def _tensor(module: Any, engine: Any, name: str) -> Tensor:
    axes = tuple(None if size < 0 else size for size in engine.get_tensor_shape(name))
    return Tensor(name, np.dtype(module.nptype(engine.get_tensor_dtype(name))).name, axes)
