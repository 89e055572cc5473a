"""What a figure was measured on: processor, instruction set, system, versions."""

import hashlib
import math
import os
import platform
import re
import time
from collections.abc import Sequence
from contextlib import suppress
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
        described["cores"]["physical"] = _physical_cores(cpuinfo)
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


def usable_cores(process: Path = Path("/proc/self")) -> int:
    """How many logical cores this process may keep busy, by its affinity and its container's CPU quota."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    quota = cpu_quota(process)
    return cores if quota is None else min(cores, quota)


def cpu_quota(process: Path = Path("/proc/self")) -> int | None:
    """The cores that a control group's quota of CPU time is worth, rounded up; None without a quota.

    The smallest one counts, of the group and of all that it lies in. ``process`` is the kernel's folder of a
    process, whose ``cgroup`` and ``mountinfo`` say where its groups are.
    """
    try:
        groups = (process / "cgroup").read_text().splitlines()
        mounts = (process / "mountinfo").read_text().splitlines()
    except (OSError, ValueError):
        return None
    # Version 2 has one group, without a controller's name.
    path_of = {
        name: path
        for _, names, path in (line.split(":", 2) for line in groups if line.count(":") >= 2)
        for name in names.split(",")
    }
    found = []
    for mount in mounts:
        fields, _, kind = mount.partition(" - ")
        _, _, _, root, point, *_ = [*fields.split(), *[""] * 5]
        form, _, options = [*kind.split(" ", 2), "", "", ""][:3]
        name = "" if form == "cgroup2" else "cpu"
        if name not in path_of or (form == "cgroup" and "cpu" not in options.split(",")):
            continue
        if form not in ("cgroup", "cgroup2"):
            continue
        top = Path(_unescaped(point))
        # A container may see its own group as the root.
        inner = os.path.relpath(path_of[name], root)
        group = top if inner.startswith("..") else top / inner
        while True:
            if (cores := _quota(group)) is not None:
                found.append(cores)
            if group == top:
                break
            group = group.parent
    return max(1, math.ceil(min(found))) if found else None


def limited_cores(process: Path = Path("/proc/self"), cpuinfo: Path = CPUINFO) -> int | None:
    """`usable_cores` where these are fewer than the machine has, None where it may use them all.

    So many threads an engine can keep busy; without a limit it knows by itself.
    """
    cores = usable_cores(process)
    return cores if cores < (_physical_cores(cpuinfo) or os.cpu_count() or 1) else None


def _quota(group: Path) -> float | None:
    """The cores that one control group may use, None if it has no quota."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else None
    return None


def _unescaped(path: str) -> str:
    """A path as the kernel lists it, with its blanks."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


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


def _physical_cores(cpuinfo: Path) -> int | None:
    """The machine's cores without their second threads, None where the system does not tell."""
    if not cpuinfo.is_file():
        return None
    blocks = _blocks(cpuinfo.read_text(encoding="utf-8", errors="replace"))
    return len({(each.get("physical id"), each["core id"]) for each in blocks if "core id" in each}) or None


def _versions() -> dict[str, str]:
    from mtab.packages import installed_version

    return {package: found for package in PACKAGES if (found := installed_version(package)) is not None}


class OtherLoad:
    """How busy others keep this process's cores inside a ``with`` block; noise in whatever is timed there.

    ``cores`` is the mean number of those cores that other processes used, None where the system has no
    ``stat``; ``seconds`` is how long the block took.
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
        """Seconds that the cores of this process have computed for others since boot."""
        if not self._stat.is_file():
            return None
        lines = (line.split(maxsplit=8) for line in self._stat.read_text().splitlines())
        times = {name: counts[:7] for name, *counts in lines}
        own = [f"cpu{core}" for core in os.sched_getaffinity(0)] if hasattr(os, "sched_getaffinity") else []
        # What others do on cores that it may not use disturbs it hardly.
        ticks = 0
        for core in own if own and times.keys() >= set(own) else ["cpu"]:
            user, nice, system, _idle, _iowait, irq, softirq = map(int, times[core])
            ticks += user + nice + system + irq + softirq
        return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


def load_warning(cores: float | None) -> str | None:
    """What to say of times beside which other processes used so many cores; None below `NOISE`."""
    if cores is None or cores < NOISE:
        return None
    return f"Other processes kept {cores:.1f} cores busy meanwhile: the times are disturbed."
