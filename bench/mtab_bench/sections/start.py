"""Time to the first answer in a new process, and the memory that it takes there.

``python -m mtab_bench.sections.start BACKEND INPUTS`` is such a process: it opens one `Backend`, told in
JSON, answers the batch in the file ``INPUTS``, and says when it has. It imports what that backend needs and
nothing else.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any

import numpy as np

from mtab.config import from_dict, to_dict
from mtab.errors import EngineError, MtabError
from mtab_bench.backends import Backend, Inputs, open_backend
from mtab_bench.memory import process_memory

MB = 1e6
_ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from a new process to its first answer; ``first_ever`` with empty caches, ``values`` after."""

    unit: str
    values: tuple[float, ...]
    p50: float
    first_ever: float


@dataclass(frozen=True, slots=True)
class StartMemory:
    """MB of a new process: resident at most, resident after its first answer, of its own, and on the GPU.

    ``written`` is what another one of the same bundle takes as well. None where the system does not tell.
    """

    unit: str
    max_ram: float | None
    ram: float | None
    private: float | None
    max_vram: float | None
    written: float | None = None


def measure_starts(
    backends: Sequence[Backend],
    inputs: Inputs,
    starts: int,
    vram: Callable[[], int | None] = lambda: None,
    progress: Callable[[], object] = lambda: None,
) -> tuple[dict[str, tuple[Start, StartMemory]], dict[str, str]]:
    """Start and memory of each backend by its key; and why others have none, by theirs.

    Each is begun ``starts`` times, one after the other, after a first time with empty caches of compiled
    graphs that is kept apart: it leaves the files in the system's page cache, where all later ones find
    them. The clock is the parent's, from before the process is made. ``vram`` tells the bytes in use on the
    GPU.
    """
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "inputs.npz"
        np.savez(path, **inputs)  # pyright: ignore[reportArgumentType]
        environment = os.environ | {
            "MTAB_CACHE": str(Path(place) / "mtab"),
            "TORCHINDUCTOR_CACHE_DIR": str(Path(place) / "inductor"),
        }
        taken: dict[str, list[dict[str, Any]]] = {backend.key: [] for backend in backends}
        failures: dict[str, str] = {}
        for _ in range(starts + 1):
            for backend in backends:
                if backend.key not in failures:
                    try:
                        taken[backend.key].append(start_once(backend, path, environment, vram))
                    except EngineError as error:
                        failures[backend.key] = str(error)
                        del taken[backend.key]
                progress()
    return {key: _summary(first, rest) for key, (first, *rest) in taken.items()}, failures


def start_once(
    backend: Backend,
    inputs: Path,
    environment: Mapping[str, str] | None = None,
    vram: Callable[[], int | None] = lambda: None,
) -> dict[str, Any]:
    """One process: ``seconds`` to its first answer, its memory in bytes, whether it imported ``torch``.

    Raises `EngineError`, with what the process says, if it ends without an answer.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "mtab_bench.sections.start",
        json.dumps(to_dict(backend)),
        str(inputs),
    ]
    before = vram()
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        begun = time.perf_counter()
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - begun
            # It waits until its memory on the GPU has been read too.
            told, after = process.stdout.readline(), vram()
            process.stdin.close()
        if line.strip() != _ANSWERED or process.returncode:
            errors.seek(0)
            *_, last = [f"exit code {process.returncode}", *filter(None, map(str.strip, errors))]
            raise EngineError(last)
    on_gpu = None if before is None or after is None or backend.device == "cpu" else after - before
    return json.loads(told) | {"seconds": seconds, "max_vram": on_gpu}


def _summary(first: dict[str, Any], rest: Sequence[dict[str, Any]]) -> tuple[Start, StartMemory]:
    values = tuple(each["seconds"] for each in rest)

    def megabytes(name: str) -> float | None:
        found = [each[name] for each in rest if each[name] is not None]
        return median(found) / MB if found else None

    return (
        Start("s", values, median(values), first["seconds"]),
        StartMemory(
            "MB", *(megabytes(name) for name in ("max_ram", "ram", "private", "max_vram", "written"))
        ),
    )


def answer(backend: Backend, inputs: Path, told: IO[str]) -> None:
    """In the new process: answer, and tell of it."""
    with np.load(inputs, allow_pickle=False) as arrays:
        batch = dict(arrays)
    # Kept until its memory has been read.
    run = open_backend(backend)
    run(batch)
    print(_ANSWERED, file=told, flush=True)
    print(json.dumps(process_memory() | {"torch": "torch" in sys.modules}), file=told, flush=True)
    del run
    sys.stdin.read()


def main() -> None:
    """The new process's own."""
    # Whatever libraries print goes elsewhere.
    with os.fdopen(os.dup(1), "w") as told:
        os.dup2(2, 1)
        try:
            answer(from_dict(Backend, json.loads(sys.argv[1]), "BACKEND"), Path(sys.argv[2]), told)
        except MtabError as error:
            sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
