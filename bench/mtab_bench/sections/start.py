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
from pathlib import Path
from statistics import median
from typing import IO, Any

import numpy as np

from mtab.config import from_dict, to_dict
from mtab.errors import EngineError, MtabError
from mtab_bench.backends import Backend, Inputs, open_backend

MB = 1e6
_ANSWERED = "answered"
# What the kernel calls the figures of a process, and what a report does.
_STATUS = {"VmHWM": "max_ram", "VmRSS": "ram"}
_PRIVATE = ("Private_Clean", "Private_Dirty")


def measure_starts(
    ways: Sequence[Backend],
    inputs: Inputs,
    starts: int,
    vram: Callable[[], int | None] = lambda: None,
    progress: Callable[[], object] = lambda: None,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """``start`` and ``memory`` of each way by its key: seconds to the first answer, MB of memory.

    And why others have none, by theirs.

    Each way is begun ``starts`` times, in turns, after a first time with empty caches of compiled graphs that
    is kept apart: it leaves the files in the system's page cache, where all later ones find them. The clock
    is the parent's, from before the process is made. ``vram`` tells the bytes in use on the GPU.
    """
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "inputs.npz"
        np.savez(path, **inputs)  # pyright: ignore[reportArgumentType]
        environment = os.environ | {
            "MTAB_CACHE": str(Path(place) / "mtab"),
            "TORCHINDUCTOR_CACHE_DIR": str(Path(place) / "inductor"),
        }
        taken: dict[str, list[dict[str, Any]]] = {way.key: [] for way in ways}
        failures: dict[str, str] = {}
        for _ in range(starts + 1):
            for way in ways:
                if way.key not in failures:
                    try:
                        taken[way.key].append(start_once(way, path, environment, vram))
                    except EngineError as error:
                        failures[way.key] = str(error)
                        del taken[way.key]
                progress()
    return {key: _summary(first, rest) for key, (first, *rest) in taken.items()}, failures


def start_once(
    way: Backend,
    inputs: Path,
    environment: Mapping[str, str] | None = None,
    vram: Callable[[], int | None] = lambda: None,
) -> dict[str, Any]:
    """One process: ``seconds`` to its first answer, its memory in bytes, whether it imported ``torch``.

    Raises `EngineError`, with what the process says, if it ends without an answer.
    """
    command = [sys.executable, "-P", "-m", "mtab_bench.sections.start", json.dumps(to_dict(way)), str(inputs)]
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
    on_gpu = None if before is None or after is None or way.device == "cpu" else after - before
    return json.loads(told) | {"seconds": seconds, "max_vram": on_gpu}


def process_memory(proc: Path = Path("/proc/self")) -> dict[str, int | None]:
    """Bytes of this process: ``max_ram`` resident at most so far, ``ram`` resident, ``private`` unshared.

    None where the system does not tell.
    """
    found: dict[str, int | None] = {"max_ram": None, "ram": None, "private": None}
    if (proc / "status").is_file():
        status = _kilobytes(proc / "status")
        found |= {ours: status[name] for name, ours in _STATUS.items() if name in status}
        if (proc / "smaps_rollup").is_file():
            pages = _kilobytes(proc / "smaps_rollup")
            found["private"] = sum(pages.get(name, 0) for name in _PRIVATE)
        return found
    if sys.platform != "win32":
        import resource

        # Bytes on macOS, kilobytes elsewhere.
        unit = 1 if sys.platform == "darwin" else 1024
        found["max_ram"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return found


def _kilobytes(path: Path) -> dict[str, int]:
    """The fields of a file of the kernel's that are in kilobytes, in bytes."""
    fields = (line.split() for line in path.read_text().splitlines())
    return {f[0].rstrip(":"): 1024 * int(f[1]) for f in fields if len(f) == 3 and f[2] == "kB"}


def _summary(first: dict[str, Any], rest: Sequence[dict[str, Any]]) -> dict[str, Any]:
    values = [each["seconds"] for each in rest]

    def megabytes(name: str) -> float | None:
        found = [each[name] for each in rest if each[name] is not None]
        return median(found) / MB if found else None

    return {
        "start": {"unit": "s", "values": values, "p50": median(values), "first_ever": first["seconds"]},
        "memory": {
            "unit": "MB",
            **{name: megabytes(name) for name in ("max_ram", "ram", "private", "max_vram")},
        },
    }


def answer(way: Backend, inputs: Path, told: IO[str]) -> None:
    """In the new process: answer, and tell of it."""
    with np.load(inputs, allow_pickle=False) as arrays:
        batch = dict(arrays)
    # Kept until its memory has been read.
    run = open_backend(way)
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
