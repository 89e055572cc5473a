"""What ``mtab-bench compare`` finds: what differs between two reports by more than chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mtab.config import to_dict
from mtab.errors import DataError
from mtab_bench.report import Report
from mtab_bench.sections.accuracy import McNemar
from mtab_bench.sections.evaluation import Evaluation
from mtab_bench.sections.samples import Timed
from mtab_bench.sections.section import Cores
from mtab_bench.sections.speed import Speed

MACHINE = ("cpu", "architecture", "instruction_sets", "cores")
"""What of a machine must be the same for times to be compared."""

Times = Mapping[str, Mapping[str, Timed]]
"""By what was timed, and by backend."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of a backend in both reports, and how sure it is that it changed.

    ``before`` and ``after`` are accuracies (WAR) or median seconds; ``p_value`` is of one test,
    ``adjusted_p_value`` by Holm's method for all that were made.
    """

    figure: Literal["accuracy", "latency"]
    of: str
    backend: str
    before: float
    after: float
    p_value: float
    adjusted_p_value: float
    significant: bool

    @property
    def worse(self) -> bool:
        """Whether it changed for the worse."""
        down = self.after < self.before
        return self.significant and (down if self.figure == "accuracy" else not down)


@dataclass(frozen=True, slots=True)
class Model:
    """Which model a report is of: its bundle's folder, and the SHA-256 of its checkpoint."""

    folder: str
    checkpoint_sha256: str

    def __str__(self) -> str:
        return f"{self.folder} (checkpoint {self.checkpoint_sha256[:12]})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both models, every test that was made, and what could not be compared, a line each."""

    first: Model
    second: Model
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def models(self) -> str:
        """What the two reports are of, and what differs between them."""
        if self.first.checkpoint_sha256 != self.second.checkpoint_sha256:
            differs = "two checkpoints"
        elif self.first.folder != self.second.folder:
            differs = "the same checkpoint, two bundles"
        else:
            differs = "the same checkpoint and bundle, measured twice"
        return f"first: {self.first}\nsecond: {self.second}\n{differs}"


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure before its test is adjusted; ``large`` tells whether the change is worth a word at all."""

    figure: Literal["accuracy", "latency"]
    of: str
    backend: str
    before: float
    after: float
    p_value: float
    large: bool


def compare(first: Report, second: Report, alpha: float = 0.05, threshold: float = 0.02) -> Comparison:
    """Test every backend that both reports have: McNemar's exact test, and Mann and Whitney's U on samples.

    A change is significant where Holm's adjusted p-value is below ``alpha``; of a latency, where its median
    also changed by more than the share ``threshold``. Times are left out, with a note, where the machines or
    the threads differ, or other processes kept a machine busy.

    Raises `DataError`, to be read after the second's name, if they have no section with backends in common
    or are of different utterances.
    """
    notes: list[str] = []
    figures: list[_Figure] = []
    compared = False
    if first.evaluation is not None and second.evaluation is not None:
        _require_same_utterances(first.evaluation, second.evaluation)
        figures += _accuracies(first.evaluation, second.evaluation)
        before, after = ({"test utterances": _times(each.evaluation)} for each in (first, second))
        notes += _one_sided(first.evaluation, second.evaluation)
        figures += _latencies(first.evaluation, second.evaluation, before, after, threshold, notes)
        compared = True
    if first.speed is not None and second.speed is not None:
        before, after = (
            {f"batch of {case.batch_size}, {case.seconds:g} s": case.timed for case in each.cases}
            for each in (first.speed, second.speed)
        )
        notes += _one_sided(first.speed, second.speed)
        figures += _latencies(first.speed, second.speed, before, after, threshold, notes)
        compared = True
    if not compared:
        raise DataError("has no section in common, expected evaluation or speed in both")
    adjusted = holm([figure.p_value for figure in figures])
    one, other = (Model(each.bundle.path, each.bundle.checkpoint_sha256) for each in (first, second))
    return Comparison(
        one,
        other,
        tuple(
            Change(
                *(
                    getattr(figure, field)
                    for field in ("figure", "of", "backend", "before", "after", "p_value")
                ),
                adjusted_p_value=p_value,
                significant=figure.large and p_value < alpha,
            )
            for figure, p_value in zip(figures, adjusted, strict=True)
        ),
        tuple(notes),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment for all the tests that were made, in their order."""
    order = np.argsort(p_values)
    steps = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * steps), 1)
    return adjusted.tolist()


def _one_sided(before: Evaluation | Speed, after: Evaluation | Speed) -> Iterator[str]:
    """A note for each report that has backends which the other lacks."""
    keys = [
        {key for key, backend in section.backends.items() if backend.skipped is None}
        for section in (before, after)
    ]
    one, other = keys
    for side, section, mine, others in (("first", before, one, other), ("second", after, other, one)):
        if only := [key for key in section.backends if key in mine - others]:
            yield f"{section.name}: only the {side} report has {', '.join(only)}"


def _require_same_utterances(before: Evaluation, after: Evaluation) -> None:
    for key in ("dataset", "folds", "fold", "classes", "corpus_sha256"):
        found, expected = getattr(after.protocol, key), getattr(before.protocol, key)
        if found != expected:
            raise DataError(f"{key} is {_plain(found)}, expected {_plain(expected)}")
    if [each.id for each in before.utterances] != [each.id for each in after.utterances]:
        raise DataError("has other test utterances, expected the same")


def _accuracies(before: Evaluation, after: Evaluation) -> Iterator[_Figure]:
    for key in before.measured:
        if key not in after.measured:
            continue
        one, other = (_right(section, key) for section in (before, after))
        p_value = McNemar.of(one, other).p_value
        yield _Figure(
            "accuracy", "test utterances", key, float(one.mean()), float(other.mean()), p_value, True
        )


def _right(section: Evaluation, key: str) -> np.ndarray:
    """Which utterances a backend answers right, bool (N,)."""
    true = np.array([section.protocol.classes.index(each.true) for each in section.utterances])
    return np.array([each.probabilities[key] for each in section.utterances]).argmax(axis=1) == true


def _times(evaluation: Evaluation | None) -> dict[str, Timed]:
    assert evaluation is not None
    return {key: each.timed for key, each in evaluation.measured.items() if each.timed is not None}


def _latencies(
    first: Evaluation | Speed,
    second: Evaluation | Speed,
    before: Times,
    after: Times,
    threshold: float,
    notes: list[str],
) -> Iterator[_Figure]:
    """Each backend's times by what was timed; a note where they say nothing of it."""
    from scipy.stats import mannwhitneyu

    if reason := _incomparable(first, second):
        notes.append(f"{first.name}: times are not compared: {reason}")
        return
    for of, backends in before.items():
        for key, timed in backends.items():
            if (again := after.get(of, {}).get(key)) is None:
                continue
            one, other = timed.latency, again.latency
            p_value = float(mannwhitneyu(one.values, other.values).pvalue)
            large = abs(other.p50 / one.p50 - 1) > threshold
            yield _Figure("latency", of, key, one.p50, other.p50, p_value, large)


def _incomparable(before: Evaluation | Speed, after: Evaluation | Speed) -> str | None:
    """Why times say nothing of the backends, None if they do."""
    for key in MACHINE:
        one, other = getattr(before.machine, key), getattr(after.machine, key)
        if one != other:
            return f"{key} is {_plain(other)} in the second report, {_plain(one)} in the first"
    one, other = before.timing.threads, after.timing.threads
    if one != other:
        return f"{other} threads in the second report, {one} in the first"
    for side, section in (("first", before), ("second", after)):
        # A busy machine would pass for a slow backend.
        if section.timing.disturbed:
            busy = section.timing.other_load
            return f"other processes kept {busy or 0:.1f} cores busy during the {side}"
    return None


def _plain(value: object) -> str:
    if isinstance(value, Cores):
        return ", ".join(f"{key} {each}" for key, each in to_dict(value).items())
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
