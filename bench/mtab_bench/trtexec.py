"""TensorRT as its own command runs a graph: ``trtexec`` with its defaults, in a process of its own."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from mtab.cuda import find_cuda
from mtab.errors import EngineError
from mtab.files import read_json
from mtab_bench.backends import Inputs


def find_trtexec() -> str:
    """The command's path. Raises `EngineError` where it, or a GPU, is not here."""
    if not find_cuda().gpus:
        raise EngineError("no NVIDIA GPU is here, expected one with its driver")
    if (command := shutil.which("trtexec")) is None:
        raise EngineError("trtexec is not on PATH, expected it there; it comes with NVIDIA's TensorRT")
    return command


def time_trtexec(command: str, graph: Path, inputs: Inputs, min_seconds: float) -> np.ndarray:
    """Seconds of each run of ``graph`` on ``inputs``, copies to and from the GPU included, (runs,) float64.

    Raises `EngineError`, with its last line, if the command fails.
    """
    with tempfile.TemporaryDirectory() as place:
        times = Path(place) / "times.json"
        done = subprocess.run(
            trtexec_arguments(command, graph, inputs, min_seconds, Path(place), times),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode or not times.is_file():
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            errors = [line for line in lines if "[E]" in line] or lines or ["no reason given"]
            raise EngineError(f"{graph}: trtexec fails ({errors[-1].strip()})")
        return read_times(times)


def trtexec_arguments(
    command: str, graph: Path, inputs: Inputs, min_seconds: float, place: Path, times: Path
) -> list[str]:
    """The command line; ``inputs`` are written to ``place``, raw, as the command reads them."""
    files = []
    for name, array in inputs.items():
        array.tofile(place / name)
        files.append(f"{name}:{place / name}")
    shapes = ",".join(f"{name}:{'x'.join(map(str, array.shape))}" for name, array in inputs.items())
    return [
        command,
        f"--onnx={graph}",
        f"--shapes={shapes}",
        f"--loadInputs={','.join(files)}",
        f"--duration={max(1, round(min_seconds))}",
        f"--exportTimes={times}",
    ]


def read_times(path: Path) -> np.ndarray:
    """Seconds of each run in what ``trtexec --exportTimes`` wrote. Raises `EngineError` if it is not that."""
    runs = read_json(path)
    try:
        seconds = np.array([float(run["latencyMs"]) for run in runs]) / 1e3
    except (TypeError, KeyError, ValueError):
        raise EngineError(f"{path}: is no list of runs with latencyMs, expected trtexec's times") from None
    if not len(seconds):
        raise EngineError(f"{path}: holds no run, expected some")
    return seconds
