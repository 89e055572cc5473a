"""Memory and time by the length of a clip."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mtab.errors import EngineError

SECONDS = (10.0, 30.0, 60.0, 150.0, 300.0, 600.0)

_MEASURE = """
import json, re, sys, time
from pathlib import Path
import numpy as np
import mtab
from mtab.errors import MtabError

def status(field):
    return 1024 * int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

bundle, engine, precision, seconds = sys.argv[1:]
try:
    model = mtab.load(bundle, engine=engine, precision=precision)
    random = np.random.default_rng(0)
    text = "I never said that!" if "text" in model.bundle.config.modalities else None
    def clip(length):
        return model.read(random.standard_normal(round(16_000 * length)).astype(np.float32) / 10, text)
    model.run([clip(1)])
    features = clip(float(seconds))
    before, begun = status("VmRSS"), time.perf_counter()
    model.run([features])
    print(json.dumps({"time": time.perf_counter() - begun, "bytes": max(0, status("VmHWM") - before)}))
except MtabError as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True, slots=True)
class LengthCost:
    """What one clip of ``seconds`` took: seconds of ``time``, and ``bytes`` beyond the loaded model's."""

    seconds: float
    time: float
    bytes: int


def measure_memory(bundle: Path, engine: str, precision: str, seconds: float) -> LengthCost:
    """Answer one clip of noise in a new process.

    Raises `EngineError` where the system does not tell what a process takes, and with what the process says
    where it fails.
    """
    if not Path("/proc/self/status").exists():
        raise EngineError("memory: this system does not tell it, expected Linux")
    command = [sys.executable, "-c", _MEASURE, str(bundle), engine, precision, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended by signal {-done.returncode}"]
        raise EngineError(f"{bundle}: a clip of {seconds:g} s fails on {engine}: {last[0]}")
    found = json.loads(done.stdout)
    return LengthCost(seconds, found["time"], found["bytes"])
