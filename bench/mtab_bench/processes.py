"""Commands as processes of their own: how long they take, and what memory."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mtab.errors import EngineError


@dataclass(frozen=True, slots=True)
class ProcessRun:
    """Seconds from a process's start to its end, its most bytes of memory, and its seconds of CPU."""

    seconds: float
    bytes: float
    cpu: float = 0.0


def run_process(command: Sequence[str]) -> ProcessRun:
    """Run a command, without its output. Raises `EngineError`, with what it says, if it fails."""
    begun = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise EngineError(f"{command[0]}: {errors.read().strip() or process.returncode}")
    return ProcessRun(seconds, usage.ru_maxrss * 1024.0, usage.ru_utime + usage.ru_stime)
