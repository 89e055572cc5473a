"""What a figure was measured on: processor, instruction set, system, versions."""

import hashlib
import os
import platform
import time
from collections.abc import Sequence
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
PACKAGES = (
    *("mtab", "numpy", "onnxruntime", "onnxruntime-gpu", "onnx", "onnxscript", "torch", "transformers"),
    *("openvino", "tensorrt", "tensorrt-rtx", "soundfile", "soxr", "av", "tokenizers"),
)
CPUINFO = Path("/proc/cpuinfo")
NOISE = 0.2
"""Cores that other processes may use before what is timed beside them is disturbed."""


def describe_machine(
    cpuinfo: Path = CPUINFO, memory_limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> dict[str, Any]:
    """The machine and the software as plain JSON values.

    ``cores.usable`` are the logical ones that this process may run on, ``cores.physical`` those of the
    machine; ``instruction_sets`` and ``cores.physical`` are None, and ``cpu`` is what Python's `platform`
    says, where the system has no ``cpuinfo``. ``memory`` is in bytes: ``total`` of the machine, ``limit`` of
    the container, None where there is none or the system does not tell. ``versions`` are those of what is
    installed.
    """
    described = {
        "cpu": platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "instruction_sets": None,
        "cores": {"usable": usable_cores(), "logical": os.cpu_count(), "physical": None},
        "memory": {"total": _total_memory(), "limit": None},
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": _versions(),
    }
    if cpuinfo.is_file():
        blocks = _blocks(cpuinfo.read_text(encoding="utf-8", errors="replace"))
        first = blocks[0] if blocks else {}
        described["cpu"] = first.get("model name") or described["cpu"]
        described["instruction_sets"] = instruction_sets(cpuinfo)
        cores = {(block["physical id"], block["core id"]) for block in blocks if "core id" in block}
        described["cores"]["physical"] = len(cores) or None
    if memory_limit.is_file():
        limit = memory_limit.read_text().strip()
        described["memory"]["limit"] = None if limit == "max" else int(limit)
    return described


def instruction_sets(cpuinfo: Path = CPUINFO) -> list[str] | None:
    """Which of `INSTRUCTION_SETS` the processor has, None where the system has no ``cpuinfo``."""
    if not cpuinfo.is_file():
        return None
    flags = _flags(_first_block(cpuinfo))
    return [name for name, names in INSTRUCTION_SETS.items() if names & flags]


def saturates_int8(architecture: str, sets: Sequence[str] | None) -> bool:
    """Whether sums of products of uint8 and int8 saturate, as they do on an x86 processor without VNNI.

    ``architecture`` and ``sets`` are as in `describe_machine`; where these are not known (None), they do.
    """
    return architecture.lower() in ("x86_64", "amd64", "i386", "i686", "x86") and "vnni" not in (sets or ())


def processor_key(cpuinfo: Path = CPUINFO) -> str:
    """A hash of the processor's model and of all that it can do: what is compiled for one is for no other."""
    # Some kernels name no model; and two processors of one model may differ in what a machine lets them do.
    first = _first_block(cpuinfo)
    model = first.get("model name") or platform.processor()
    parts = [platform.machine(), model, *sorted(_flags(first))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def usable_cores() -> int:
    """How many logical cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _total_memory() -> int | None:
    """Bytes of the machine's memory."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _flags(processor: dict[str, str]) -> set[str]:
    """The kernel's names for what a processor can do."""
    return set((processor.get("flags") or processor.get("Features") or "").split())


def _first_block(cpuinfo: Path) -> dict[str, str]:
    """What the system says of its first processor; nothing where it has no ``cpuinfo``."""
    if not cpuinfo.is_file():
        return {}
    return next(iter(_blocks(cpuinfo.read_text(encoding="utf-8", errors="replace"))), {})


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

    ``cores`` is the mean number of cores that they used, None where the system has no ``stat``; ``seconds``
    is how long the block took.
    """

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self.cores: float | None = None
        self.seconds = 0.0

    @property
    def warning(self) -> str | None:
        """A sentence where they used `NOISE` cores or more, else None."""
        return load_warning(self.cores)

    def __enter__(self) -> "OtherLoad":
        self._begun = time.perf_counter(), self._others()
        return self

    def __exit__(self, *_: object) -> None:
        begun, before = self._begun
        after = self._others()
        self.seconds = time.perf_counter() - begun
        if before is not None and after is not None:
            self.cores = max(0.0, after - before) / self.seconds

    def _others(self) -> float | None:
        """Seconds of processor time that all processes but this one have used since boot."""
        if not self._stat.is_file():
            return None
        user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, self._stat.read_text().split()[1:9])
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK") - time.process_time()


def load_warning(cores: float | None) -> str | None:
    """What to say of times beside which other processes used so many cores; None below `NOISE`."""
    if cores is None or cores < NOISE:
        return None
    return f"Other processes kept {cores:.1f} cores busy meanwhile: the times are disturbed."
