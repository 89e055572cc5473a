"""The machine's description, from real and from written-out ``/proc/cpuinfo``."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from mtab_bench.machine import describe_machine

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


def test_this_machine() -> None:
    machine = describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert 1 <= machine["cores"]["usable"] <= machine["cores"]["logical"]
    assert machine["python"] == platform.python_version()
    assert machine["versions"]["numpy"] == version("numpy")
    assert machine["versions"]["mtab"] == version("mtab")
