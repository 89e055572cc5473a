"""A GPU through NVIDIA's driver: memory, a stream and graphs, and nothing that has to be installed."""

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from mtab.errors import EngineError

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


def gpu_count() -> int:
    """How many GPUs the driver sees; 0 without a driver."""
    try:
        _call("cuInit", 0)
        return _number("cuDeviceGetCount")
    except EngineError:
        return 0


class Gpu:
    """One GPU, and a stream of its own on it. To be used by one thread at a time.

    Addresses are integers. Raises `EngineError`, here and in every method, with what the driver says.
    """

    def __init__(self, index: int) -> None:
        _call("cuInit", 0)
        if index >= (count := _number("cuDeviceGetCount")):
            raise EngineError(f"device cuda:{index}: the driver sees {count} GPUs, expected more")
        self._device = _number("cuDeviceGet", index)
        self._context = ctypes.c_void_p()
        # The context that everything else in the process shares too.
        _call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.use()
        self._stream = ctypes.c_void_p()
        _call("cuStreamCreate", ctypes.byref(self._stream), _NON_BLOCKING)

    @property
    def compute_capability(self) -> str:
        """Such as "89" for 8.9."""
        return "".join(str(_number("cuDeviceGetAttribute", number, self._device)) for number in _CAPABILITY)

    @property
    def stream(self) -> int:
        """The stream's handle, for TensorRT."""
        return self._stream.value or 0

    def use(self) -> None:
        """Make the calling thread work on this GPU."""
        _call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """The address of ``size`` bytes, kept until the process ends or `free`."""
        address = ctypes.c_uint64()
        _call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value

    def free(self, address: int) -> None:
        """Give back what `allocate` gave."""
        _call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, array: np.ndarray, address: int) -> None:
        """Copy a contiguous array to the GPU, in the order of the stream."""
        size = ctypes.c_size_t(array.nbytes)
        _call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), _pointer(array), size, self._stream)

    def download(self, address: int, array: np.ndarray) -> None:
        """Copy from the GPU into a contiguous array; it is there after `synchronize`."""
        size = ctypes.c_size_t(array.nbytes)
        _call("cuMemcpyDtoHAsync_v2", _pointer(array), ctypes.c_uint64(address), size, self._stream)

    def synchronize(self) -> None:
        """Wait for all that the stream has been given."""
        _call("cuStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], Any]) -> int:
        """Record what ``work`` gives the stream, without doing it; the graph's handle, for `launch`."""
        _call("cuStreamBeginCapture_v2", self._stream, _THREAD_LOCAL)
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        try:
            work()
        finally:
            # Also where it fails: the stream must not stay in capture.
            _call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        try:
            _call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        finally:
            _call("cuGraphDestroy", graph)
        return executable.value or 0

    def launch(self, graph: int) -> None:
        """Give the stream what `capture` recorded."""
        _call("cuGraphLaunch", ctypes.c_void_p(graph), self._stream)

    def forget(self, graph: int) -> None:
        """Free what `capture` recorded."""
        _call("cuGraphExecDestroy", ctypes.c_void_p(graph))


@functools.cache
def _driver() -> Any:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise EngineError(
            f"device cuda: NVIDIA's driver cannot be loaded ({error}), expected a GPU with its driver"
        ) from None


def _call(function: str, *arguments: object) -> None:
    driver = _driver()
    if status := getattr(driver, function)(*arguments):
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        raise EngineError(f"device cuda: {function}: {(text.value or b'unknown error').decode()} ({status})")


def _number(function: str, *arguments: object) -> int:
    value = ctypes.c_int()
    _call(function, ctypes.byref(value), *arguments)
    return value.value


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
