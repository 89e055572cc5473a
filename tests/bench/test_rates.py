"""What the machine does at best, beside numpy's own products, and shares worked out by hand."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import mtab_bench.rates
from mtab.machine import instruction_sets
from mtab_bench.rates import BYTES, MachineRates, MatrixRate, _products, measure_rates
from mtab_bench.sections.samples import Quantity

RATES = MachineRates(
    2,
    {"fp32": MatrixRate("GFLOP/s", 200.0, "PyTorch"), "int8": MatrixRate("GFLOP/s", 800.0, "PyTorch")},
    Quantity("GB/s", 20.0),
)


def test_rates_are_of_the_precisions_that_the_processor_has() -> None:
    rates = measure_rates(1)
    sets = instruction_sets() or []
    expected = {"fp32", "int8"} | ({"bf16"} if {"bf16", "amx"} & set(sets) else set())
    assert rates.threads == 1
    assert set(rates.matrix) == expected
    assert all(each.value > 0.1 for each in rates.matrix.values())
    assert rates.memory.value > 0.1


def test_the_float32_rate_is_of_the_order_of_numpys() -> None:
    size = 1024
    a = np.ones((size, size), np.float32)
    a @ a
    begun = time.perf_counter()
    a @ a
    rate = 2e-9 * size**3 / (time.perf_counter() - begun)
    assert rate / 20 < measure_rates(1).matrix["fp32"].value < 20 * rate


def test_a_library_that_is_far_slower_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def products(precision: str, size: int, threads: int) -> Iterator[tuple[str, Callable[[], object]]]:
        def slow() -> None:
            sizes.append(size)
            time.sleep(0.1)

        yield "slow", slow
        yield "fast", lambda: time.sleep(0.001)

    monkeypatch.setattr(mtab_bench.rates, "_products", products)
    assert {each.library for each in measure_rates(1).matrix.values()} == {"fast"}
    assert set(sizes) == {256}


@pytest.mark.parametrize("precision", BYTES)
def test_every_library_multiplies(precision: str) -> None:
    libraries = dict(_products(precision, 8, 1))
    assert "PyTorch" in libraries
    for multiply in libraries.values():
        # Rows and columns of eight ones.
        assert [[float(each) for each in row] for row in multiply()] == [[8.0] * 8] * 8


def test_shares_are_of_the_rate_of_what_is_multiplied() -> None:
    assert RATES.matrix_share("fp32", 100.0, 1.0) == 0.5
    assert RATES.matrix_share("int8", 100.0, 1.0) == 0.125
    assert RATES.matrix_share("int8-static", 100.0, 0.5) == 0.25
    # This machine has no bfloat16, and no engine of ours multiplies float16 on a CPU.
    assert RATES.matrix_share("bf16", 100.0, 1.0) == RATES.matrix_share("fp16", 100.0, 1.0) == 0.5
    # 2 GB in float32 take a tenth of a second to read.
    assert RATES.memory_share("fp32", 500_000_000, 1.0) == pytest.approx(0.1)
    assert RATES.memory_share("int8", 500_000_000, 1.0) == pytest.approx(0.025)


def test_the_better_of_two_measurements_counts() -> None:
    other = MachineRates(
        2,
        {
            "fp32": MatrixRate("GFLOP/s", 210.0, "ONNX Runtime"),
            "int8": MatrixRate("GFLOP/s", 700.0, "PyTorch"),
        },
        Quantity("GB/s", 19.0),
    )
    best = RATES.better(other)
    assert (best.matrix["fp32"], best.matrix["int8"]) == (other.matrix["fp32"], RATES.matrix["int8"])
    assert best.memory.value == 20.0
    assert RATES.better(None) == RATES
