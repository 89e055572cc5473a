"""Joules by the system's counters, on a made-up one."""

from pathlib import Path

import pytest

from mtab_bench.energy import GpuCounters, cpu_meter, joules_a_run


def write_package(folder: Path, name: str, microjoules: int, end: int) -> Path:
    (folder / name).mkdir()
    (folder / name / "max_energy_range_uj").write_text(f"{end}\n")
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")
    return folder / name / "energy_uj"


def test_packages_are_added_and_a_counter_may_begin_again(tmp_path: Path) -> None:
    first = write_package(tmp_path, "intel-rapl:0", 1_000_000, 9_999_999)
    second = write_package(tmp_path, "intel-rapl:1", 9_000_000, 9_999_999)
    write_package(tmp_path, "intel-rapl:0:0", 500_000, 9_999_999).write_text("nothing that is read")
    meter = cpu_meter(tmp_path)
    assert meter is not None
    assert meter() == 0
    first.write_text("3000000\n")
    second.write_text("1500000\n")  # 1 J to its end, then 1.5 J
    assert meter() == pytest.approx(2 + 2.5)


def test_energy_of_a_run(tmp_path: Path) -> None:
    counter = write_package(tmp_path, "intel-rapl:0", 0, 10**12)
    meter = cpu_meter(tmp_path)
    assert meter is not None

    def run() -> None:
        counter.write_text(str(int(counter.read_text()) + 250_000))

    assert joules_a_run(run, meter, seconds=0) == pytest.approx(0.25)


def test_where_nothing_counts_there_is_no_meter(tmp_path: Path) -> None:
    assert cpu_meter(tmp_path) is None
    write_package(tmp_path, "intel-rapl:0", 0, 10).unlink()
    assert cpu_meter(tmp_path) is None


def test_without_nvidias_library_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtab_bench.energy._NVML", "no-such-library.so")
    counters = GpuCounters()
    assert counters.meter() is None
    assert counters.memory_used() is None
