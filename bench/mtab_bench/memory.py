"""What memory a process has, and which backends fit together into what is free."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

K = TypeVar("K")
SHARE = 0.7
"""Of the memory that is free, what backends timed together may take."""
# What the kernel calls the figures of a process, and what a report does.
_STATUS = {"VmHWM": "max_ram", "VmRSS": "ram"}
_PRIVATE = ("Private_Clean", "Private_Dirty")
_WRITTEN = "Private_Dirty"


def process_memory(proc: Path = Path("/proc/self")) -> dict[str, int | None]:
    """Bytes of this process: ``max_ram`` resident at most so far, ``ram`` resident, ``private`` unshared.

    Of the last it has ``written`` to some: all else is a file's, and shared with whoever opens that too. None
    where the system does not tell.
    """
    found: dict[str, int | None] = {"max_ram": None, "ram": None, "private": None, "written": None}
    if (proc / "status").is_file():
        status = _kilobytes(proc / "status")
        found |= {ours: status[name] for name, ours in _STATUS.items() if name in status}
        if (proc / "smaps_rollup").is_file():
            pages = _kilobytes(proc / "smaps_rollup")
            found |= {
                "private": sum(pages.get(name, 0) for name in _PRIVATE),
                "written": pages.get(_WRITTEN, 0),
            }
        return found
    if sys.platform != "win32":
        import resource

        # Bytes on macOS, kilobytes elsewhere.
        unit = 1 if sys.platform == "darwin" else 1024
        found["max_ram"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return found


def in_groups(sizes: Mapping[K, int], shared: Iterable[K], free: int | None) -> list[list[K]]:
    """Cut what takes ``sizes`` bytes into groups that fit into `SHARE` of what is ``free``, in order.

    Each group also holds the ``shared`` ones, first. One that does not fit with these is a group of its own.
    """
    shared = [key for key in shared if key in sizes]
    rest = [key for key in sizes if key not in shared]
    common = sum(sizes[key] for key in shared)
    groups: list[list[K]] = []
    taken = 0
    for key in rest:
        if not groups or (free is not None and taken + sizes[key] > SHARE * free):
            groups.append([*shared])
            taken = common
        groups[-1].append(key)
        taken += sizes[key]
    return groups or [shared]


def _kilobytes(path: Path) -> dict[str, int]:
    """The fields of a file of the kernel's that are in kilobytes, in bytes."""
    fields = (line.split() for line in path.read_text().splitlines())
    return {f[0].rstrip(":"): 1024 * int(f[1]) for f in fields if len(f) == 3 and f[2] == "kB"}
