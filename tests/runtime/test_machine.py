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

from mtab.machine import OtherLoad, cpu_quota, describe_machine, limited_cores, usable_cores

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
    stat.write_text(f"cpu {100 * ticks} 0 0 999 9 0 0 0 0 0\nintr 1 2 3\n")
    with OtherLoad(stat) as load:
        stat.write_text(
            f"cpu {102 * ticks} {1 * ticks} {1 * ticks} 99999 9 {1 * ticks} {1 * ticks} 0 0 0\nintr 1\n"
        )
    # Six seconds of all processes less two of our own, in four: one core.
    assert load.cores == pytest.approx(1.0)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_other_load_on_cores_that_it_may_not_use_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 2})
    monkeypatch.setattr("time.perf_counter", iter([0.0, 1.0]).__next__)
    monkeypatch.setattr("time.process_time", lambda: 0.0)
    busy = os.sysconf("SC_CLK_TCK")

    def write(*cores: int) -> None:
        lines = [f"cpu{number} {ticks} 0 0 7 0 0 0 0 0 0" for number, ticks in enumerate(cores)]
        stat.write_text("\n".join([f"cpu  {sum(cores)} 0 0 7 0 0 0 0 0 0", *lines]) + "\n")

    write(5, 5, 5, 5)
    with OtherLoad(stat) as load:
        write(5 + busy, 5 + busy // 2, 5, 5 + busy)
    assert load.cores == pytest.approx(0.5)


def test_other_load_is_unknown_without_stat(tmp_path: Path) -> None:
    with OtherLoad(tmp_path / "none") as load:
        pass
    assert load.cores is None


def process(folder: Path, cgroup: str, root: str, kind: str) -> Path:
    """The kernel's folder of a process whose control groups are mounted at ``folder/mount``."""
    (folder / "mount" / "a" / "b").mkdir(parents=True)
    (folder / "cgroup").write_text(cgroup)
    point = str(folder / "mount").replace(" ", r"\040")
    (folder / "mountinfo").write_text(
        f"22 1 0:20 / /proc rw - proc proc rw\n30 22 0:26 {root} {point} rw,nosuid shared:9 - {kind}\n"
    )
    return folder


V2 = ("0::/a/b\n", "/", "cgroup2 cgroup2 rw")
V1 = ("5:memory:/x\n4:cpu,cpuacct:/a/b\n", "/", "cgroup cgroup rw,cpu,cpuacct")


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({}, None),
        ({"a/b": "max 100000"}, None),
        ({"a/b": "100000 100000"}, 1),
        ({"a/b": "150000 100000"}, 2),
        ({"a/b": "5000 100000"}, 1),
        ({"a/b": "max 100000", "a": "250000 100000"}, 3),
        ({"a/b": "800000 100000", "a": "200000 50000", ".": "700000 100000"}, 4),
        ({".": "200000 100000"}, 2),
        ({"a/b": "nonsense"}, None),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_quota_of_cpu_time(tmp_path: Path, version: int, quotas: dict[str, str], cores: int | None) -> None:
    folder = process(tmp_path / "of one", *(V2 if version == 2 else V1))
    for group, content in quotas.items():
        if version == 2:
            (folder / "mount" / group / "cpu.max").write_text(content + "\n")
        else:
            quota, _, period = content.replace("max", "-1").partition(" ")
            (folder / "mount" / group / "cpu.cfs_quota_us").write_text(quota + "\n")
            (folder / "mount" / group / "cpu.cfs_period_us").write_text(period + "\n")
    assert cpu_quota(folder) == cores
    assert usable_cores(folder) == min(usable_cores(tmp_path / "nothing"), cores or 10**6)


@pytest.mark.parametrize(
    ("cgroup", "root"), [("0::/\n", "/"), ("0::/docker/1\n", "/docker/1"), ("0::/c\n", "/d")]
)
def test_a_quota_as_a_container_sees_it(tmp_path: Path, cgroup: str, root: str) -> None:
    folder = process(tmp_path, cgroup, root, "cgroup2 cgroup rw,nsdelegate")
    (folder / "mount" / "cpu.max").write_text("300000 100000\n")
    assert cpu_quota(folder) == 3


@pytest.mark.parametrize(
    ("machine", "quota", "cores"), [(4, 1, 1), (1, 1, None), (999, None, usable_cores())]
)
def test_fewer_cores_than_the_machine_has(
    tmp_path: Path, machine: int, quota: int | None, cores: int | None
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("\n".join(f"physical id : {core}\ncore id : 0\n" for core in range(machine)))
    process = tmp_path / "process"
    process.mkdir()
    if quota is not None:
        (process / "cgroup").write_text("0::/\n")
        (process / "mountinfo").write_text(f"1 2 0:1 / {tmp_path} rw - cgroup2 cgroup rw\n")
        (tmp_path / "cpu.max").write_text(f"{quota}00000 100000\n")
    assert limited_cores(process, cpuinfo) == cores


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    for content in ("", "nonsense", "a:b:c", "1 2 - cgroup"):
        (tmp_path / "cgroup").write_text(content)
        (tmp_path / "mountinfo").write_text(content)
        assert cpu_quota(tmp_path) is None
