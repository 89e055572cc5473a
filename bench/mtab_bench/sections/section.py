"""What every section of a report shares: when, where, on what utterances and beside what it was measured."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from mtab.bundle import Bundle
from mtab.config import from_dict
from mtab.cuda import find_cuda
from mtab.data import corpus_hash
from mtab.machine import describe_machine, load_warning
from mtab.timing import Timing
from mtab_bench.backends import Backend
from mtab_bench.test_set import LoadedTestSet


@dataclass(frozen=True, slots=True)
class Cores:
    """Logical cores that the process may use, logical and physical ones of the machine."""

    usable: int
    logical: int | None
    physical: int | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the machine, and the limit of the process."""

    total: int | None
    limit: int | None


@dataclass(frozen=True, slots=True)
class Machine:
    """`mtab.machine.describe_machine`."""

    cpu: str
    architecture: str
    instruction_sets: tuple[str, ...] | None
    cores: Cores
    memory: Memory
    os: str
    python: str
    versions: dict[str, str]

    @classmethod
    def here(cls) -> "Machine":
        """The machine that this process runs on."""
        return from_dict(cls, describe_machine(), "this machine")


@dataclass(frozen=True, slots=True)
class Problem:
    """What was skipped of a corpus, and why."""

    file: str
    line: int | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Which utterances a section is of, and how the model's training had divided them.

    ``corpus_sha256`` is over the whole part of the fold, also where only some ``utterances`` of it were
    measured. ``folds``, ``fold`` and ``protocol`` are None where they are not the training's test part, and
    like ``utterances_per_class`` for synthetic inputs. ``part``, ``left_out`` and ``overlap`` are as in
    `mtab_bench.test_set.LoadedTestSet`.
    """

    dataset: str | None
    title: str
    synthetic: bool
    corpus_sha256: str
    folds: str | None = None
    fold: str | None = None
    protocol: str | None = None
    seed: int
    classes: tuple[str, ...]
    utterances: int
    utterances_per_class: dict[str, int] | None = None
    speech_seconds: float
    part: str | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    overlap: int | None = None
    problem_count: int = 0
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of_test_set(
        cls, bundle: Bundle, test: LoadedTestSet, drawn: Sequence[int] | None = None
    ) -> "Protocol":
        """Of the utterances numbered ``drawn`` of a bundle's test set (None: all)."""
        training = bundle.manifest.training
        drawn = range(len(test.utterances)) if drawn is None else drawn
        found = Counter(test.utterances[i].label for i in drawn)
        return cls(
            dataset=test.corpus.name,
            title=test.corpus.title,
            synthetic=test.corpus.synthetic,
            corpus_sha256=corpus_hash(test.utterances),
            folds=training.folds if test.held_out else None,
            fold=training.fold if test.held_out else None,
            protocol=training.protocol if test.held_out else None,
            seed=training.seed,
            classes=tuple(bundle.config.labels),
            utterances=len(drawn),
            utterances_per_class={label: found[label] for label in bundle.config.labels},
            speech_seconds=sum(test.features[i].seconds or 0.0 for i in drawn),
            part=test.part,
            left_out=test.left_out,
            overlap=test.overlap,
            problem_count=len(test.problems),
            problems=tuple(Problem(str(each.file), each.line, each.message) for each in test.problems),
        )


@dataclass(frozen=True, slots=True)
class Conditions:
    """How times were taken: CPU threads of every backend, cores that other processes kept busy meanwhile.

    ``other_load`` is None where the system does not tell. Where ``disturbed``, no factor should be quoted.
    """

    threads: int
    other_load: float | None
    disturbed: bool
    description: str

    @classmethod
    def of(cls, threads: int, timings: Sequence[Timing], description: str) -> "Conditions":
        """Of all that was timed; disturbed if any of it was."""
        loads = [each.other_load for each in timings if each.other_load is not None]
        disturbed = any(each.disturbed for each in timings)
        return cls(threads, max(loads, default=None), disturbed, description)

    @property
    def warning(self) -> str | None:
        """A sentence where times were disturbed, else None."""
        if not self.disturbed:
            return None
        return load_warning(self.other_load) or "Other processes disturbed the times."


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of a report: ``created`` is ISO 8601, UTC; ``interrupted`` if Ctrl-C ended it early.

    ``protocol`` is there where it is of utterances, ``timing`` where it times.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    command: ClassVar[str]

    created: str
    machine: Machine
    interrupted: bool = False
    protocol: Protocol | None
    timing: Conditions | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendEntry:
    """A backend in a section: ``skipped`` says why it was not measured, None if it was.

    ``precision`` and ``threads`` are None where it stands for several, or computes on a GPU.
    """

    title: str
    skipped: str | None = None
    device: str
    precision: str | None
    threads: int | None

    @classmethod
    def of(cls, backend: Backend, skipped: str | None = None, **measured: Any) -> Self:
        """Of a backend that was measured, or skipped; ``measured`` are the fields of a section's own."""
        return cls(
            title=backend.title,
            skipped=skipped,
            device=backend.device,
            precision=backend.precision,
            threads=backend.threads,
            **measured,
        )

    @classmethod
    def absent(cls) -> dict[str, Self]:
        """One entry for all backends that need an NVIDIA GPU where there is none; nothing where there is."""
        if (cuda := find_cuda()).gpus:
            return {}
        reason = f"no NVIDIA GPU is here ({cuda.problem or 'the driver sees none'})"
        title = "Backends on a GPU"
        return {"cuda": cls(title=title, skipped=reason, device="cuda", precision=None, threads=None)}


def now() -> str:
    """The time as every section says it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
