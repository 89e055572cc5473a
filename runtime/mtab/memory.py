"""What a batch takes of memory, and what there is: what does not fit is refused before it is computed.

Else a process that takes more than it may is killed, with every other answer that it was to give.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Lock

from mtab.audio import SAMPLE_RATE
from mtab.errors import MemoryLimitError

FRAME_SAMPLES = 320
"""Samples from one frame of an audio encoder to the next."""

_NUMBER = 4
_LIVE = 3
_UNLIMITED = 2**60


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What a graph computes of float32 numbers at a time, beside its weights, for speech of some length.

    ``per_sample`` and ``per_frame`` are numbers for each of 16 kHz and of 50 Hz; ``per_score`` those of a
    pair of frames in attention (its heads), ``per_convolved`` those of a frame in the widest convolution of
    the feature extractor. Of pairs and of convolved frames at most ``scores_at_once`` and ``frames_at_once``
    are in memory; None: all of a batch.
    """

    per_sample: int
    per_frame: int
    per_score: int
    per_convolved: int
    scores_at_once: int | None = None
    frames_at_once: int | None = None

    def size(self, utterances: int, seconds: float) -> int:
        """Bytes for ``utterances``, each padded to ``seconds`` of speech."""
        samples = seconds * SAMPLE_RATE
        frames = samples / FRAME_SAMPLES
        scores, convolved = utterances * frames**2, utterances * frames
        if self.scores_at_once is not None:
            # A block is one query at least.
            scores = min(scores, max(self.scores_at_once, utterances * frames))
        if self.frames_at_once is not None:
            convolved = min(convolved, max(self.frames_at_once, utterances))
        whole = utterances * (self.per_sample * samples + self.per_frame * frames)
        passing = max(self.per_score * scores, self.per_convolved * convolved)
        return int(_NUMBER * (whole + _LIVE * passing))


def assumed_need(hidden_size: int) -> MemoryNeed:
    """The need of a graph whose bundle does not tell it: of one that computes all pairs of frames at once."""
    per_convolved = FRAME_SAMPLES // 5 * (512 if hidden_size >= 256 else 64)
    return MemoryNeed(4, 24 * hidden_size, max(8, hidden_size // 64), per_convolved)


class MemoryRoom:
    """The memory that batches share which are computed at once: one that is too many waits for the others."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._turn = Lock()
        self._changed = Condition()
        self._taken = 0

    @contextmanager
    def taken(self, need: MemoryNeed, utterances: int, seconds: float) -> Iterator[None]:
        """Take what a batch needs, each padded to ``seconds``.

        Raises `MemoryLimitError` if that is more than is available, also once no other is computed.
        """
        size = need.size(utterances, seconds)
        # One at a time, so that none which waits is passed by others for ever.
        with self._turn, self._changed:
            while self._taken and _lacking(self._taken + size, self._root):
                self._changed.wait()
            if not self._taken:
                require_memory(need, utterances, seconds, self._root)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify()


def require_memory(need: MemoryNeed, utterances: int, seconds: float, root: Path = Path("/")) -> None:
    """Raise `MemoryLimitError` unless a batch, each padded to ``seconds``, fits what is available."""
    needed = need.size(utterances, seconds)
    there = _lacking(needed, root)
    if there is None:
        return
    what = f"a clip of {seconds:.1f} s" if utterances == 1 else f"{utterances} clips of up to {seconds:.1f} s"
    raise MemoryLimitError(
        f"{what}: needs about {needed / 1e9:.1f} GB of memory, expected at most the {there[0] / 1e9:.1f} GB "
        f"that are left of {there[1]}; take less of it at once with start and end, or raise that limit"
    )


def _lacking(needed: int, root: Path) -> tuple[int, str] | None:
    """`available_memory` where that is less than ``needed``, else None."""
    # Nothing small is worth a look at the system.
    there = None if needed < 2**26 else available_memory(root)
    return there if there is not None and there[0] < needed else None


def available_memory(root: Path = Path("/")) -> tuple[int, str] | None:
    """The bytes that this process may still take, and of what; None where the system does not tell.

    The least of what the machine has free, what the process's control groups (version 1 or 2) and theirs
    above leave, and what is left of its address space. ``root`` is where ``proc`` and ``sys`` are.
    """
    return min((*_machine(root), *_control_groups(root), *_address_space(root)), default=None)


def _machine(root: Path) -> Iterator[tuple[int, str]]:
    if (free := _fields(root / "proc/meminfo").get("MemAvailable")) is not None:
        yield free, "this machine's memory"


def _address_space(root: Path) -> Iterator[tuple[int, str]]:
    if sys.platform != "linux":
        return
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _fields(root / "proc/self/status").get("VmSize")
    if limit != resource.RLIM_INFINITY and used is not None:
        yield max(0, limit - used), "this process's address space"


def _control_groups(root: Path) -> Iterator[tuple[int, str]]:
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" and not controllers:
                place, limit, usage, cache = root / "sys/fs/cgroup", "memory.max", "memory.current", ""
            elif "memory" in controllers.split(","):
                place, cache = root / "sys/fs/cgroup/memory", "total_"
                limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
            else:
                continue
            # In a container the path may be the host's, and the group itself is at the top.
            below = [part for part in path.split("/") if part not in ("", "..")]
            for depth in range(len(below) + 1):
                group = place.joinpath(*below[:depth])
                most, used = _number(group / limit), _number(group / usage)
                if most is None or used is None or most >= _UNLIMITED:
                    continue
                # What files have cached goes when it is needed.
                used -= _fields(group / "memory.stat").get(f"{cache}inactive_file", 0)
                yield max(0, most - used), "its control group's memory"


def _number(path: Path) -> int | None:
    """What a file of one number says; None for ``max``, another text or no file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file with a name and a number on each line, kB as bytes."""
    found: dict[str, int] = {}
    with suppress(OSError):
        for line in path.read_text().splitlines():
            name, *rest = line.replace(":", " ").split()
            if rest and rest[0].isdigit():
                found[name] = int(rest[0]) * (1024 if rest[-1] == "kB" else 1)
    return found
