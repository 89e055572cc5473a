"""``mtab-bench compare``: what differs between two reports by more than chance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mtab.errors import DataError
from mtab.machine import NOISE

MACHINE = ("cpu", "architecture", "instruction_sets", "cores")
"""What of a machine must be the same for times to be compared."""

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of an engine in both reports, and how sure it is that it changed.

    ``before`` and ``after`` are accuracies (WAR) or median seconds; ``p_value`` is of one test,
    ``adjusted_p_value`` by Holm's method for all that were made.
    """

    figure: Literal["accuracy", "latency"]
    of: str
    engine: str
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
class Comparison:
    """Every test that was made, and what could not be compared, a line each."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure before its test is adjusted; ``large`` tells whether the change is worth a word at all."""

    figure: Literal["accuracy", "latency"]
    of: str
    engine: str
    before: float
    after: float
    p_value: float
    large: bool


def compare(first: Report, second: Report, alpha: float = 0.05, threshold: float = 0.02) -> Comparison:
    """Test every engine that both reports have: McNemar's exact test, and Mann and Whitney's U on samples.

    A change is significant where Holm's adjusted p-value is below ``alpha``; of a latency, where its median
    also changed by more than the share ``threshold``. Times are left out, with a note, where the machines or
    the threads differ, or other processes kept a machine busy.

    Raises `DataError`, to be read after the second's name, if they have no section with engines in common or
    are of different utterances.
    """
    names = [name for name in ("evaluation", "speed") if name in first and name in second]
    if not names:
        raise DataError("has no section in common, expected evaluation or speed in both")
    notes: list[str] = []
    figures: list[_Figure] = []
    for name in names:
        before, after = first[name], second[name]
        if name == "evaluation":
            _require_same_utterances(before, after)
            figures += _accuracies(before, after)
        for side, one, other in (("first", before, after), ("second", after, before)):
            only = [key for key in one["engines"] if _measured(one, key) and not _measured(other, key)]
            if only:
                notes.append(f"{name}: only the {side} report has {', '.join(only)}")
        if reason := _incomparable(before, after):
            notes.append(f"{name}: times are not compared: {reason}")
        else:
            figures += _latencies(name, before, after, threshold)
    adjusted = holm([figure.p_value for figure in figures])
    return Comparison(
        tuple(
            Change(
                *(
                    getattr(figure, field)
                    for field in ("figure", "of", "engine", "before", "after", "p_value")
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


def _measured(section: Report, key: str) -> bool:
    return key in section["engines"] and not section["engines"][key]["skipped"]


def _require_same_utterances(before: Report, after: Report) -> None:
    for key in ("dataset", "folds", "fold", "classes", "corpus_sha256"):
        found, expected = after["protocol"][key], before["protocol"][key]
        if found != expected:
            raise DataError(f"{key} is {found}, expected {expected}")
    if [each["id"] for each in before["utterances"]] != [each["id"] for each in after["utterances"]]:
        raise DataError("has other test utterances, expected the same")


def _accuracies(before: Report, after: Report) -> Iterator[_Figure]:
    from mtab_bench.sections.accuracy import mcnemar

    for key in before["engines"]:
        if not (_measured(before, key) and _measured(after, key)):
            continue
        one, other = (_right(section, key) for section in (before, after))
        p_value = mcnemar(one, other)["p_value"]
        yield _Figure(
            "accuracy", "test utterances", key, float(one.mean()), float(other.mean()), p_value, True
        )


def _right(section: Report, key: str) -> np.ndarray:
    """Which utterances an engine answers right, bool (N,)."""
    classes, utterances = section["protocol"]["classes"], section["utterances"]
    true = np.array([classes.index(each["true"]) for each in utterances])
    return np.array([each["probabilities"][key] for each in utterances]).argmax(axis=1) == true


def _latencies(name: str, before: Report, after: Report, threshold: float) -> Iterator[_Figure]:
    from scipy.stats import mannwhitneyu

    others = _timed(name, after)
    for of, engines in _timed(name, before).items():
        for key, one in engines.items():
            other = others.get(of, {}).get(key)
            if one is None or other is None:
                continue
            p_value = float(mannwhitneyu(one["values"], other["values"]).pvalue)
            change = other["p50"] / one["p50"] - 1
            yield _Figure("latency", of, key, one["p50"], other["p50"], p_value, abs(change) > threshold)


def _timed(name: str, section: Report) -> dict[str, dict[str, Any]]:
    """The ``latency`` of each engine, by what was timed."""
    if name == "evaluation":
        return {"test utterances": {key: engine["latency"] for key, engine in section["engines"].items()}}
    return {
        f"batch of {case['batch_size']}, {case['seconds']:g} s": {
            key: engine["latency"] for key, engine in case["engines"].items()
        }
        for case in section["cases"]
    }


def _incomparable(before: Report, after: Report) -> str | None:
    """Why times say nothing of the engines, None if they do."""
    for key in MACHINE:
        one, other = before["machine"][key], after["machine"][key]
        if one != other:
            return f"{key} is {_plain(other)} in the second report, {_plain(one)} in the first"
    one, other = before["timing"]["threads"], after["timing"]["threads"]
    if one != other:
        return f"{other} threads in the second report, {one} in the first"
    for side, section in (("first", before), ("second", after)):
        # A busy machine would pass for a slow engine.
        if (load := section["timing"]["other_load"]) is not None and load >= NOISE:
            return f"other processes kept {load:.1f} cores busy during the {side}"
    return None


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return " ".join(value) if isinstance(value, list) else str(value)
