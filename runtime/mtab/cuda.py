"""NVIDIA's GPUs through their driver: which there are, and a stream on one; nothing has to be installed."""

import ctypes
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtab.errors import EngineError

if TYPE_CHECKING:
    import numpy as np

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_SUBJECT = "device cuda: "
_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: ``memory`` in bytes, and a ``compute_capability`` such as "89", as in a bundle's engines."""

    index: int
    name: str
    memory: int
    compute_capability: str


@dataclass(frozen=True, slots=True)
class Cuda:
    """The driver: the newest CUDA that it supports (None without a driver), its GPUs, and what it lacks."""

    version: str | None
    gpus: tuple[Gpu, ...] = ()
    problem: str | None = None


def find_cuda() -> Cuda:
    """The driver of this machine and its GPUs; without a driver no GPU, and the reason."""
    try:
        return query_cuda(_load())
    except OSError as error:
        missing = "cannot open shared object file" in str(error)
        return Cuda(None, problem=f"{_LIBRARY} is missing" if missing else str(error))


def query_cuda(library: Any) -> Cuda:
    """The driver behind ``library``, the loaded libcuda."""
    driver = Driver(library)
    newest, gpus = None, []
    try:
        number = driver.number("cuDriverGetVersion")
        newest = f"{number // 1000}.{number % 1000 // 10}"
        driver.call("cuInit", 0)
        for index in range(driver.number("cuDeviceGetCount")):
            device = driver.number("cuDeviceGet", index)
            name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
            driver.call("cuDeviceGetName", name, len(name), device)
            driver.call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
            capability = (str(driver.number("cuDeviceGetAttribute", each, device)) for each in _CAPABILITY)
            gpus.append(Gpu(index, name.value.decode(errors="replace"), memory.value, "".join(capability)))
    except EngineError as error:
        return Cuda(newest, tuple(gpus), str(error).removeprefix(_SUBJECT))
    return Cuda(newest, tuple(gpus))


def find_gpu(index: int) -> Gpu:
    """The GPU that is ``cuda:index``. Raises `EngineError` if the driver or the GPU is not there."""
    cuda = query_cuda(_driver().library)
    if index < len(cuda.gpus):
        return cuda.gpus[index]
    if cuda.problem is not None:
        raise EngineError(f"{_SUBJECT}{cuda.problem}")
    raise EngineError(f"device cuda:{index}: the driver sees {len(cuda.gpus)} GPUs, expected more")


def has_nvidia_device(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether the PCI bus shows a device of NVIDIA's; it does in a container too, driver or not."""
    return any(path.read_text().strip() == "0x10de" for path in devices.glob("*/vendor"))


class Driver:
    """The C functions of ``library``, the loaded libcuda. Raises `EngineError` with what the driver says."""

    def __init__(self, library: Any) -> None:
        self.library = library

    def call(self, function: str, *arguments: object) -> None:
        """Call a function that returns a status."""
        if status := getattr(self.library, function)(*arguments):
            text = ctypes.c_char_p()
            self.library.cuGetErrorString(status, ctypes.byref(text))
            reason = (text.value or b"unknown error").decode()
            raise EngineError(f"{_SUBJECT}{function}: {reason} ({status})")

    def number(self, function: str, *arguments: object) -> int:
        """The integer that a function writes where its first argument points."""
        value = ctypes.c_int()
        self.call(function, ctypes.byref(value), *arguments)
        return value.value


class Stream:
    """A stream on one GPU, with memory and graphs there. To be used by one thread at a time.

    Addresses are integers. Raises `EngineError`, here and in every method, with what the driver says.
    """

    def __init__(self, index: int) -> None:
        find_gpu(index)
        self._driver = _driver()
        device = self._driver.number("cuDeviceGet", index)
        self._context = ctypes.c_void_p()
        # The context that everything else in the process shares too.
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self.use()
        self._stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(self._stream), _NON_BLOCKING)

    @property
    def handle(self) -> int:
        """The stream's handle, for TensorRT."""
        return self._stream.value or 0

    def use(self) -> None:
        """Make the calling thread work on this GPU."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """The address of ``size`` bytes, kept until the process ends or `free`."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value

    def free(self, address: int) -> None:
        """Give back what `allocate` gave."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, array: "np.ndarray", address: int) -> None:
        """Copy a contiguous array to the GPU, in the order of the stream."""
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), _pointer(array), size, self._stream)

    def download(self, address: int, array: "np.ndarray") -> None:
        """Copy from the GPU into a contiguous array; it is there after `synchronize`."""
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyDtoHAsync_v2", _pointer(array), ctypes.c_uint64(address), size, self._stream)

    def synchronize(self) -> None:
        """Wait for all that the stream has been given."""
        self._call("cuStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], Any]) -> int:
        """Record what ``work`` gives the stream, without doing it; the graph's handle, for `launch`."""
        self._call("cuStreamBeginCapture_v2", self._stream, _THREAD_LOCAL)
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        try:
            work()
        finally:
            # Also where it fails: the stream must not stay in capture.
            self._call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        finally:
            self._call("cuGraphDestroy", graph)
        return executable.value or 0

    def launch(self, graph: int) -> None:
        """Give the stream what `capture` recorded."""
        self._call("cuGraphLaunch", ctypes.c_void_p(graph), self._stream)

    def forget(self, graph: int) -> None:
        """Free what `capture` recorded."""
        self._call("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def _call(self, function: str, *arguments: object) -> None:
        self._driver.call(function, *arguments)


@functools.cache
def _load() -> Any:
    return ctypes.CDLL(_LIBRARY)


def _driver() -> Driver:
    try:
        return Driver(_load())
    except OSError as error:
        raise EngineError(
            f"{_SUBJECT}NVIDIA's driver cannot be loaded ({error}), expected a GPU with its driver"
        ) from None


def _pointer(array: "np.ndarray") -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
