"""The machine's description, from real and from written-out ``/proc/cpuinfo``."""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from mtab.machine import OtherLoad, describe_machine

X86 = """processor\t: {0}
model name\t: Intel(R) Xeon(R) Platinum 8481C
physical id\t: 0
core id\t\t: {1}
flags\t\t: fpu sse2 avx avx2 fma avx512f avx512_vnni avx512_bf16 amx_tile amx_int8
bugs\t\t: spectre_v1
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd asimddp i8mm bf16 sve
CPU implementer\t: 0x41
"""


def test_x86(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    # Four threads of two cores.
    cpuinfo.write_text("\n".join(X86.format(i, i % 2) for i in range(4)))
    machine = describe_machine(cpuinfo)
    assert machine["cpu"] == "Intel(R) Xeon(R) Platinum 8481C"
    assert machine["instruction_sets"] == ["avx2", "avx512", "vnni", "bf16", "amx"]
    assert machine["cores"]["physical"] == 2


def test_arm_names_no_model_and_no_core(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(ARM)
    machine = describe_machine(cpuinfo)
    assert machine["instruction_sets"] == ["bf16", "neon", "dotprod", "i8mm", "sve"]
    assert machine["cores"]["physical"] is None
    assert machine["cpu"] == (platform.processor() or platform.machine())


@pytest.mark.parametrize("content", [None, ""])
def test_without_cpuinfo(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    machine = describe_machine(tmp_path / "cpuinfo")
    assert machine["instruction_sets"] in (None, [])
    assert machine["cores"]["physical"] is None


@pytest.mark.parametrize(("content", "limit"), [("max\n", None), ("2147483648\n", 2**31), (None, None)])
def test_the_memory_of_a_container(tmp_path: Path, content: str | None, limit: int | None) -> None:
    if content is not None:
        (tmp_path / "memory.max").write_text(content)
    assert describe_machine(memory_limit=tmp_path / "memory.max")["memory"]["limit"] == limit


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="this system has no /proc/meminfo")
def test_the_memory_is_the_kernels() -> None:
    kibibytes = int(Path("/proc/meminfo").read_text().partition("MemTotal:")[2].split()[0])
    assert describe_machine()["memory"]["total"] == 1024 * kibibytes


def test_this_machine() -> None:
    machine = describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert 1 <= machine["cores"]["usable"] <= machine["cores"]["logical"]
    assert machine["python"] == platform.python_version()
    assert machine["versions"]["numpy"] == version("numpy")
    assert machine["versions"]["mtab"] == version("mtab")


def test_what_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtab.machine.PACKAGES", ("numpy", "mtab-of-another-world"))
    assert describe_machine()["versions"] == {"numpy": version("numpy")}


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="this system has no /proc/stat")
def test_other_load_counts_other_processes() -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    with OtherLoad() as load:
        subprocess.run([sys.executable, "-c", burn], check=True)
        time.sleep(0.5)
    assert load.cores is not None
    assert load.cores > 0.1


def test_other_load_leaves_its_own_process_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    ticks = os.sysconf("SC_CLK_TCK")
    clock = iter([10.0, 14.0])  # four seconds on the wall
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    own = iter([1.0, 3.0])  # two of our own
    monkeypatch.setattr("time.process_time", lambda: next(own))
    stat.write_text(f"cpu {100 * ticks} 0 0 999 9 0 0 0 0 0\ncpu0 1 2 3\n")
    with OtherLoad(stat) as load:
        stat.write_text(
            f"cpu {102 * ticks} {1 * ticks} {1 * ticks} 99999 9 {1 * ticks} {1 * ticks} 0 0 0\ncpu0 1\n"
        )
    # Six seconds of all processes less two of our own, in four: one core.
    assert load.cores == pytest.approx(1.0)


def test_other_load_is_unknown_without_stat(tmp_path: Path) -> None:
    with OtherLoad(tmp_path / "none") as load:
        pass
    assert load.cores is None
