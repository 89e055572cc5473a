"""What a figure was measured on: processor, instruction set, system, versions."""

import os
import platform
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# What matters to inference, from the oldest to the newest, and the kernel's names for it (x86, then Arm).
INSTRUCTION_SETS = {
    "avx2": {"avx2"},
    "avx512": {"avx512f"},
    "vnni": {"avx512_vnni", "avx_vnni"},
    "bf16": {"avx512_bf16", "bf16", "svebf16"},
    "amx": {"amx_tile"},
    "neon": {"asimd"},
    "dotprod": {"asimddp"},
    "i8mm": {"i8mm"},
    "sve": {"sve"},
}
PACKAGES = ("mtab", "numpy", "onnxruntime", "onnxruntime-gpu", "onnx", "torch", "transformers")


def describe_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """The machine and the software as plain JSON values.

    ``cores.usable`` are the logical ones that this process may run on, ``cores.physical`` those of the
    machine; ``instruction_sets`` and ``cores.physical`` are None, and ``cpu`` is what Python's `platform`
    says, where the system has no ``cpuinfo``. ``versions`` are those of what is installed.
    """
    described = {
        "cpu": platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "instruction_sets": None,
        "cores": {"usable": usable_cores(), "logical": os.cpu_count(), "physical": None},
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": _versions(),
    }
    if cpuinfo.is_file():
        blocks = _blocks(cpuinfo.read_text(encoding="utf-8", errors="replace"))
        first = blocks[0] if blocks else {}
        flags = set((first.get("flags") or first.get("Features") or "").split())
        described["cpu"] = first.get("model name") or described["cpu"]
        described["instruction_sets"] = [name for name, names in INSTRUCTION_SETS.items() if names & flags]
        cores = {(block["physical id"], block["core id"]) for block in blocks if "core id" in block}
        described["cores"]["physical"] = len(cores) or None
    return described


def usable_cores() -> int:
    """How many logical cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _blocks(text: str) -> list[dict[str, str]]:
    """The fields of each processor that ``/proc/cpuinfo`` lists."""
    return [
        {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        for block in text.split("\n\n")
        if block.strip()
    ]


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


class OtherLoad:
    """How busy other processes keep the machine inside a ``with`` block; noise in whatever is timed there.

    ``cores`` is the mean number of cores that they used, None where the system has no ``stat``.
    """

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self.cores: float | None = None

    def __enter__(self) -> "OtherLoad":
        self._begun = time.perf_counter(), self._others()
        return self

    def __exit__(self, *_: object) -> None:
        begun, before = self._begun
        after = self._others()
        if before is not None and after is not None:
            self.cores = max(0.0, after - before) / (time.perf_counter() - begun)

    def _others(self) -> float | None:
        """Seconds of processor time that all processes but this one have used since boot."""
        if not self._stat.is_file():
            return None
        user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, self._stat.read_text().split()[1:9])
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK") - time.process_time()
