"""What a figure was measured on: processor, instruction set, system, versions."""

import os
import platform
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
PACKAGES = ("mtab", "numpy", "onnxruntime", "onnxruntime-gpu", "torch", "transformers")


def describe_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """The machine and the software as plain JSON values.

    ``cores.usable`` are the logical ones that this process may run on, ``cores.physical`` those of the
    machine; ``instruction_sets`` and ``cores.physical`` are None, and ``cpu`` is what Python's `platform`
    says, where the system has no ``cpuinfo``. A package that is not installed has the version None.
    """
    described = {
        "cpu": platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "instruction_sets": None,
        "cores": {"usable": usable_cores(), "logical": os.cpu_count(), "physical": None},
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
