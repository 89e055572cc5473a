"""The section ``speed``: how fast a bundle is on every backend, beside what one would use otherwise."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mtab.machine import usable_cores
from mtab_bench.backends import (
    REFERENCE,
)
from mtab_bench.rates import MachineRates
from mtab_bench.sections.parts import Part
from mtab_bench.sections.samples import Quantity, Timed
from mtab_bench.sections.section import BackendEntry, Conditions, Section
from mtab_bench.sections.start import Start, StartMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedBackend(BackendEntry):
    """A backend's start and memory in a process of its own, and its largest difference from the reference."""

    start: Start | None = None
    memory: StartMemory | None = None
    max_probability_difference: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseBackend:
    """A backend on a case; ``failure`` says why it has no times. ``energy`` is of a run.

    The shares are of the machine's rates: of multiplying in the backend's precision, and of reading memory,
    where each of the model's weights is read once. They are of a backend on the CPU.
    """

    timed: Timed | None = None
    energy: Quantity | None = None
    share_of_matrix_rate: float | None = None
    share_of_memory_rate: float | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class SpeedCase:
    """A batch of ``batch_size`` utterances of ``seconds`` and ``tokens``; ``gflop`` is its arithmetic."""

    batch_size: int
    seconds: float
    tokens: int
    gflop: float | None
    backends: dict[str, CaseBackend]

    @property
    def timed(self) -> dict[str, Timed]:
        """The times of those that have some."""
        return {key: each.timed for key, each in self.backends.items() if each.timed is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed(Section):
    """``parameters`` are the model's, of which ``weights`` are multiplied, and not looked up by a token.

    Without PyTorch both are None, as are ``rates``. Each backend worked ``min_seconds`` a case.
    """

    name: ClassVar[str] = "speed"
    title: ClassVar[str] = "Speed"
    command: ClassVar[str] = "mtab-bench latency"

    timing: Conditions
    reference: str
    random_weights: bool
    parameters: int | None
    weights: int | None
    min_seconds: float
    rates: MachineRates | None
    backends: dict[str, SpeedBackend]
    cases: tuple[SpeedCase, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure: see ``mtab-bench latency --help``. ``backends`` are keys of the report (none: all)."""

    batch_sizes: tuple[int, ...] = (1, 8)
    seconds: tuple[float, ...] = (4.5,)
    threads: int = field(default_factory=usable_cores)
    min_seconds: float = 5.0
    backends: tuple[str, ...] = ()
    parts: bool = True
    optimum: Path | None = None
    starts: int = 3

    def wants(self, key: str) -> bool:
        """Whether to measure a backend; the reference always is."""
        return key == REFERENCE or not self.backends or key in self.backends
