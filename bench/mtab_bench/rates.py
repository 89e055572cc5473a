"""What this machine does at best: multiply matrices in each precision, and read memory."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtab.machine import instruction_sets
from mtab_bench.backends import open_session
from mtab_bench.sections.samples import Quantity

SIZES = (1024, 2048)
"""Rows and columns of the square matrices that are multiplied."""
BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
"""Of a number, by the precision in which a processor may multiply matrices."""

_TRIED = 256
"""Rows and columns on which a library shows that it is not made for a precision on this processor."""
_FAR = 10
"""Times the fastest library's seconds: some multiply int8 a number at a time where there is no VNNI."""
_READ = 256 * 2**20
"""Bytes that are read to time memory: more than caches hold."""
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class MatrixRate:
    """The best rate at which square matrices of `SIZES` are multiplied, and the ``library`` that does so.

    A product and a sum of two numbers are two operations, whatever the numbers are.
    """

    unit: str
    value: float
    library: str


@dataclass(frozen=True, slots=True)
class MachineRates:
    """Rates on so many ``threads``: ``matrix`` by precision (of `BYTES`, those that the processor has)."""

    threads: int
    matrix: dict[str, MatrixRate]
    memory: Quantity

    def arithmetic(self, precision: str) -> str:
        """What a graph of a precision is multiplied in here: float32, where not in its own numbers."""
        whole = "int8" if precision == "int8-static" else precision
        return whole if whole in self.matrix else "fp32"

    def matrix_share(self, precision: str, gflop: float, seconds: float) -> float:
        """What ``gflop`` in so many seconds are of the rate for graphs of a precision."""
        return gflop / seconds / self.matrix[self.arithmetic(precision)].value

    def memory_share(self, precision: str, numbers: int, seconds: float) -> float:
        """What reading so many numbers once in so many seconds is of the memory's rate."""
        return 1e-9 * numbers * BYTES[self.arithmetic(precision)] / seconds / self.memory.value

    def better(self, other: "MachineRates | None") -> "MachineRates":
        """The best of two measurements on as many threads."""
        if other is None:
            return self
        matrix: dict[str, MatrixRate] = {
            each: max(rate, other.matrix[each], key=lambda r: r.value) for each, rate in self.matrix.items()
        }
        memory = max(self.memory, other.memory, key=lambda rate: rate.value)
        return MachineRates(self.threads, matrix, memory)


def measure_rates(threads: int) -> MachineRates:
    """What the machine does now, on so many threads, with the fastest of the libraries that are here."""
    import torch

    torch.set_num_threads(threads)
    sets = instruction_sets() or ()
    matrix: dict[str, MatrixRate] = {}
    for precision in BYTES:
        # Without it, bfloat16 is made up of float32.
        if precision == "bf16" and not {"bf16", "amx"} & set(sets):
            continue
        libraries = _fit(precision, threads)
        rates = [
            MatrixRate("GFLOP/s", 2e-9 * size**3 / _best_seconds(multiply), library)
            for size in SIZES
            for library, multiply in _products(precision, size, threads)
            if library in libraries
        ]
        matrix[precision] = max(rates, key=lambda rate: rate.value)
    numbers = torch.ones(_READ // 4)
    memory = 1e-9 * _READ / _best_seconds(lambda: numbers.sum())
    return MachineRates(threads, matrix, Quantity("GB/s", memory))


def _fit(precision: str, threads: int) -> set[str]:
    """The libraries that are not far slower than the fastest: these would take minutes."""
    products = _products(precision, _TRIED, threads)
    seconds = {library: _best_seconds(multiply) for library, multiply in products}
    return {library for library, each in seconds.items() if each <= _FAR * min(seconds.values())}


def _products(precision: str, size: int, threads: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The libraries that multiply matrices of a precision, and each one's product of two of ones."""
    import torch

    numbers = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}[precision]
    a = torch.ones(size, size, dtype=numbers)
    # Not a new one each time, whose pages the system would have to clear.
    product = torch.empty(size, size, dtype=torch.int32 if precision == "int8" else numbers)
    int_mm: Any = torch._int_mm  # pyright: ignore[reportPrivateImportUsage]
    multiply = int_mm if precision == "int8" else torch.mm
    yield "PyTorch", lambda: multiply(a, a, out=product)
    if precision != "bf16":
        yield "ONNX Runtime", _onnxruntime_product(precision, size, threads)


def _onnxruntime_product(precision: str, size: int, threads: int) -> Callable[[], Any]:
    """ONNX Runtime's product with a constant matrix, which it lays out once, as a model's weights."""
    from onnx import TensorProto, helper, numpy_helper

    operator, taken, weights, given = (
        ("MatMulInteger", TensorProto.UINT8, np.int8, TensorProto.INT32)
        if precision == "int8"
        else ("MatMul", TensorProto.FLOAT, np.float32, TensorProto.FLOAT)
    )
    graph = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", taken, [size, size])],
        [helper.make_tensor_value_info("c", given, [size, size])],
        [numpy_helper.from_array(np.ones((size, size), weights), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = open_session(model.SerializeToString(), threads)
    a = np.ones((size, size), helper.tensor_dtype_to_np_dtype(taken))
    return lambda: session.run(None, {"a": a})[0]


def _best_seconds(call: Callable[[], object]) -> float:
    """The shortest of some calls, after one that does not count."""
    call()
    times = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)
