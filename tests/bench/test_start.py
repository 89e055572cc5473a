"""New processes: what they import, how long they take to the first answer, what memory they tell of."""

import io
import os
import weakref
from pathlib import Path

import numpy as np
import pytest

from mtab.bundle import open_bundle
from mtab.errors import EngineError
from mtab.loading import open_preprocessor
from mtab_bench.backends import Backend, bundle_backends, pytorch_backends
from mtab_bench.cases import make_cases
from mtab_bench.memory import process_memory
from mtab_bench.sections import start
from mtab_bench.sections.start import measure_starts, start_once


@pytest.fixture(scope="module")
def inputs(tone_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inputs") / "inputs.npz"
    [case] = make_cases(open_preprocessor(open_bundle(tone_bundle)), [1], [0.2])
    np.savez(path, **case.inputs)  # pyright: ignore[reportArgumentType]
    return path


def ways(tone_bundle: Path) -> dict[str, Backend]:
    found = [*bundle_backends(open_bundle(tone_bundle), 1), *pytorch_backends(tone_bundle.parent, 1)]
    return {way.key: way for way in found}


@pytest.mark.parametrize(("key", "torch"), [("onnxruntime-fp32", False), ("pytorch", True)])
def test_a_process_has_what_its_engine_needs(tone_bundle: Path, inputs: Path, key: str, torch: bool) -> None:
    told = start_once(ways(tone_bundle)[key], inputs)
    assert told["torch"] is torch
    assert 0.05 < told["seconds"] < 120
    assert told["max_ram"] >= told["ram"] >= told["private"] > 10e6
    assert told["max_vram"] is None


def test_memory_is_read_while_the_engine_is_there(
    tone_bundle: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []

    class Engine:
        def __call__(self, batch: object) -> None:
            pass

    def opened(way: Backend) -> Engine:
        engine = Engine()
        alive.append(weakref.ref(engine))
        return engine

    def read() -> dict[str, int | None]:
        kept.append(alive[0]() is not None)
        return {}

    alive: list[weakref.ref[Engine]] = []
    monkeypatch.setattr(start, "open_backend", opened)
    monkeypatch.setattr(start, "process_memory", read)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    start.answer(ways(tone_bundle)["onnxruntime-fp32"], inputs, io.StringIO())
    assert kept == [True]


def test_starts_begin_with_empty_caches_and_leave_the_users_alone(tone_bundle: Path, inputs: Path) -> None:
    before = sorted(Path(os.environ["MTAB_CACHE"]).rglob("*"))
    with np.load(inputs) as arrays:
        nowhere = Backend("x", "The engine", "onnx", str(tone_bundle / "no.onnx"), "cpu", "fp32", 1)
        tried = [ways(tone_bundle)["onnxruntime-fp32"], nowhere]
        found, failures = measure_starts(tried, dict(arrays), starts=2)
    assert list(failures) == ["x"]
    [(key, measured)] = found.items()
    assert key == "onnxruntime-fp32"
    start, memory = measured
    assert len(start.values) == 2
    assert start.p50 == pytest.approx(sum(start.values) / 2)
    assert start.first_ever > 0
    assert memory.max_ram is not None
    assert memory.ram is not None
    assert memory.private is not None
    assert memory.written is not None
    assert 10 < memory.written <= memory.private <= memory.ram <= memory.max_ram < 2000  # MB
    assert sorted(Path(os.environ["MTAB_CACHE"]).rglob("*")) == before


def test_a_process_that_cannot_answer_says_why(tone_bundle: Path, inputs: Path) -> None:
    nowhere = Backend("x", "The engine", "bundle", str(tone_bundle / "no"), "cpu", "fp32", 1, "onnxruntime")
    with pytest.raises(EngineError, match=r"^.*/no: not found, expected a bundle"):
        start_once(nowhere, inputs)


def test_memory_is_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t    3000 kB\nVmRSS:\t    2000 kB\nThreads:\t4\n")
    (tmp_path / "smaps_rollup").write_text(
        "00-ff ---p 0 00:00 0 [rollup]\nRss: 2000 kB\nPrivate_Clean: 5 kB\nPrivate_Dirty: 700 kB\n"
    )
    expected = {"max_ram": 3000 * 1024, "ram": 2000 * 1024, "private": 705 * 1024, "written": 700 * 1024}
    assert process_memory(tmp_path) == expected
    ballast = np.ones(20_000_000, np.uint8)
    assert process_memory()["private"] > len(ballast)  # pyright: ignore[reportOptionalOperand]


def test_what_lies_in_a_file_is_no_further_process_to_pay_for(tmp_path: Path) -> None:
    size = 50_000_000
    with (tmp_path / "weights").open("wb") as file:
        file.write(bytes(size))
        # What a disk has not got yet counts as written.
        file.flush()
        os.fsync(file.fileno())
    before = process_memory()["written"]
    weights = np.memmap(tmp_path / "weights", mode="c")
    assert weights.sum() == 0
    read = process_memory()["written"]
    assert before is not None
    assert read is not None
    assert read - before < 0.2 * size
    weights[:] = 1
    after = process_memory()["written"]
    assert after is not None
    assert after - read > 0.8 * size
