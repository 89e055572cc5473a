"""What a processor's and a GPU's own counters say: joules, and the memory in use on a GPU."""

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_NVML = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"

Meter = Callable[[], float]
"""Joules since some time in the past."""


def cpu_meter(folder: Path = POWERCAP) -> Meter | None:
    """Joules of all processor packages (RAPL); None where the system counts none, or does not let us read.

    A counter that comes to its end begins again at 0, within minutes at full load: read it often enough.
    """
    # Packages are intel-rapl:0, :1, …, also on AMD; their parts, such as intel-rapl:0:0, are in them.
    packages = [path for path in sorted(folder.glob("intel-rapl:*")) if path.name.count(":") == 1]
    try:
        ends = [int((path / "max_energy_range_uj").read_text()) for path in packages]
        before = [_microjoules(path) for path in packages]
    except (OSError, ValueError):
        return None
    if not packages:
        return None
    total = 0

    def read() -> float:
        nonlocal before, total
        now = [_microjoules(path) for path in packages]
        total += sum((b - a) % (end + 1) for a, b, end in zip(before, now, ends, strict=True))
        before = now
        return total / 1e6

    return read


def joules_a_run(call: Callable[[], object], meter: Meter, seconds: float) -> float:
    """What one of many runs takes, runs being repeated for ``seconds``, and three times at least."""
    begun, before, runs = time.perf_counter(), meter(), 0
    while runs < 3 or time.perf_counter() - begun < seconds:
        call()
        meter()  # so that no counter comes to its end twice unseen
        runs += 1
    return (meter() - before) / runs


class GpuCounters:
    """NVIDIA's management library for one GPU. Every figure is None where it does not tell."""

    def __init__(self, index: int = 0) -> None:
        self._device = ctypes.c_void_p()
        try:
            self._library = ctypes.CDLL(_NVML)
        except OSError:
            self._library = None
            return
        if self._library.nvmlInit_v2() or self._library.nvmlDeviceGetHandleByIndex_v2(
            index, ctypes.byref(self._device)
        ):
            self._library = None

    def meter(self) -> Meter | None:
        """Joules of the board."""
        return None if self._millijoules() is None else lambda: (self._millijoules() or 0) / 1e3

    def memory_used(self) -> int | None:
        """Bytes in use on the GPU, by whichever process."""
        memory = (ctypes.c_ulonglong * 3)()  # total, free, used
        if self._library is None or self._library.nvmlDeviceGetMemoryInfo(self._device, memory):
            return None
        return memory[2]

    def _millijoules(self) -> int | None:
        value = ctypes.c_ulonglong()
        if self._library is None or self._library.nvmlDeviceGetTotalEnergyConsumption(
            self._device, ctypes.byref(value)
        ):
            return None
        return value.value


def _microjoules(path: Path) -> int:
    return int((path / "energy_uj").read_text())
