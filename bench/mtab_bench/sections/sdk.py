"""What the C++ SDK costs beside ONNX Runtime, and its start beside Python's and PyTorch's."""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from mtab.audio import SAMPLE_RATE
from mtab.bundle import open_bundle
from mtab.loading import load, open_preprocessor
from mtab.machine import OtherLoad, usable_cores
from mtab.model import Model
from mtab.progress import track
from mtab.synthetic_inputs import speech
from mtab.types import Precision
from mtab_bench.backends import pytorch_backends
from mtab_bench.cases import make_cases
from mtab_bench.processes import ProcessRun, run_process
from mtab_bench.sdk import SdkModel
from mtab_bench.sections.start import start_once

TEXT = "I never said that, and I never will."
SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Requests:
    """Median seconds of a request from a wav file and a text to its answer, and of ONNX Runtime in it.

    ``overhead`` is the median, over requests, of the share that is not ONNX Runtime's.
    """

    request: float
    onnxruntime: float
    overhead: float


@dataclass(frozen=True, slots=True)
class Sdk:
    """What `measure_sdk` found; ``largest_difference`` is that of a probability of both runtimes."""

    largest_difference: float
    requests: dict[str, Requests]
    starts: dict[str, ProcessRun]
    warning: str | None


def measure_sdk(
    bundle: Path,
    library: Path,
    cli: Path,
    onnxruntime: Path,
    checkpoint: Path | None = None,
    precision: Precision = "fp32",
    requests: int = 100,
    starts: int = 5,
) -> Sdk:
    """Take turns: requests of ever new lengths around `SECONDS`, then new processes with warm caches.

    ``checkpoint`` is the run for PyTorch's start (None: without it). Raises `EngineError` where a part of it
    cannot be had or fails.
    """
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        clips = [_clip(Path(place) / f"{i}.wav", random) for i in range(requests + 2)]
        # Of requests alone: the processes that start later are none of this one's own.
        with OtherLoad() as beside:
            found, difference = _requests(bundle, library, onnxruntime, precision, clips)
        commands = {
            "mtab-cli": [cli, "--onnxruntime", onnxruntime, "--engine", "onnxruntime"],
            "mtab predict": [
                *(sys.executable, "-m", "mtab.cli", "predict"),
                *("--format", "json", "--engine", "onnxruntime"),
            ],
        }
        tail = ["--device", "cpu", "--precision", precision, "--text", TEXT, bundle, clips[0]]
        begin: dict[str, Callable[[], ProcessRun]] = {
            name: lambda command=command: run_process([*map(str, command), *map(str, tail)])
            for name, command in commands.items()
        }
        if checkpoint is not None:
            [case] = make_cases(open_preprocessor(open_bundle(bundle)), [1], [SECONDS])
            inputs = Path(place) / "inputs.npz"
            np.savez(inputs, **case.inputs)  # pyright: ignore[reportArgumentType]
            eager = pytorch_backends(checkpoint, usable_cores())[0]
            begin["PyTorch"] = lambda: _told(start_once(eager, inputs))
        taken: dict[str, list[ProcessRun]] = {name: [] for name in begin}
        for _ in track(range(starts + 1), "starting", "rounds"):
            for name, start in begin.items():
                taken[name].append(start())
    # The first of each fills the caches.
    processes = {
        name: ProcessRun(median(s.seconds for s in rest), median(s.bytes for s in rest))
        for name, (_, *rest) in taken.items()
    }
    return Sdk(difference, found, processes, beside.warning)


def _clip(path: Path, random: np.random.Generator) -> Path:
    samples = speech(random, SECONDS * random.uniform(0.95, 1.05))
    soundfile.write(path, samples / np.abs(samples).max() * 0.5, SAMPLE_RATE, subtype="PCM_16")
    return path


def _requests(
    bundle: Path, library: Path, onnxruntime: Path, precision: Precision, clips: Sequence[Path]
) -> tuple[dict[str, Requests], float]:
    python = load(bundle, "cpu", engine="onnxruntime", precision=precision)
    sdk = SdkModel(library, onnxruntime, bundle, precision)
    clock = _Clock(python)
    taken: dict[str, list[tuple[float, float]]] = {"libmtab": [], "Python": []}
    difference = 0.0
    for i, clip in enumerate(track(clips, "asking", "clips")):
        begun = time.perf_counter()
        by_sdk = sdk.predict(clip, TEXT)
        between = time.perf_counter()
        by_python = python.predict(clip, TEXT).probabilities
        ended = time.perf_counter()
        difference = max(difference, *(abs(by_sdk[label] - by_python[label]) for label in by_python))
        # The first ones of both warm up.
        if i >= 2:
            taken["libmtab"].append((between - begun, sdk.ran))
            taken["Python"].append((ended - between, clock.ran))
    sdk.close()
    return {
        name: Requests(
            median(request for request, _ in times),
            median(ran for _, ran in times),
            median((request - ran) / request for request, ran in times),
        )
        for name, times in taken.items()
    }, difference


class _Clock:
    """Seconds of the engine's last run."""

    def __init__(self, model: Model) -> None:
        self.ran = 0.0
        compute = model.engine._compute

        def timed(feed):  # type: ignore[no-untyped-def]
            begun = time.perf_counter()
            try:
                return compute(feed)
            finally:
                self.ran = time.perf_counter() - begun

        model.engine._compute = timed  # pyright: ignore[reportAttributeAccessIssue]


def _told(start: dict[str, float]) -> ProcessRun:
    return ProcessRun(start["seconds"], start["max_ram"])
