"""How right answers are for parts of the utterances: by speaker, gender, duration and noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

RESAMPLES = 1000
By = Literal["all", "speaker", "gender", "duration", "snr"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share in 0..1 or a difference of two, and its 95 % interval: a bootstrap's that draws utterances."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the utterances, and how right their answers are. UAR is over the classes that they have."""

    name: str
    utterances: int
    war: Estimate
    uar: Estimate

    @classmethod
    def of(cls, name: str, true: np.ndarray, predicted: np.ndarray) -> "Group":
        """Of class indices (N,) each."""
        rows = np.arange(len(true))[None]
        drawn = np.random.default_rng(0).integers(len(true), size=(RESAMPLES, len(true)))
        return cls(
            name,
            len(true),
            *(
                Estimate(float(whole[0]), *np.percentile(others, [2.5, 97.5]).tolist())
                for whole, others in zip(
                    resampled(true, predicted, rows), resampled(true, predicted, drawn), strict=True
                )
            ),
        )


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The groups of the utterances of which it is known what they are divided ``by``."""

    by: By
    groups: tuple[Group, ...]


def resampled(true: np.ndarray, predicted: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """WAR and UAR, (R,) each, of the utterances numbered by each of ``rows`` (R, n)."""
    truths, right = true[rows], (true == predicted)[rows]
    recalls = np.full((len(np.unique(true)), len(rows)), np.nan)
    for recall, label in zip(recalls, np.unique(true), strict=True):
        of_label = truths == label
        counts = of_label.sum(axis=1)
        np.divide((of_label & right).sum(axis=1), counts, out=recall, where=counts > 0)
    return right.mean(axis=1), np.nanmean(recalls, axis=0)


def break_down(
    true: np.ndarray,
    predicted: np.ndarray,
    speakers: Sequence[str | None],
    genders: Sequence[str | None],
    seconds: Sequence[float | None],
    snrs: Sequence[float | None],
) -> tuple[Breakdown, ...]:
    """All utterances, and the groups by each of the four that tells them apart; numbers by their terciles.

    ``true`` and ``predicted`` are class indices (N,), the others one for each utterance, None if not known.
    """
    divided: dict[By, dict[str, np.ndarray]] = {
        "speaker": _named(speakers),
        "gender": _named(genders),
        "duration": _terciles(seconds, "{:.1f} s".format),
        "snr": _terciles(snrs, "{:.0f} dB".format),
    }
    found = [Breakdown("all", (Group.of("all", true, predicted),))]
    for by, chosen in divided.items():
        if len(chosen) > 1:
            groups = (Group.of(name, true[rows], predicted[rows]) for name, rows in chosen.items())
            found.append(Breakdown(by, tuple(groups)))
    return tuple(found)


def _named(names: Sequence[str | None]) -> dict[str, np.ndarray]:
    """Which utterances each name has, bool (N,)."""
    known = sorted({name for name in names if name is not None})
    return {name: np.array([each == name for each in names]) for name in known}


def _terciles(numbers: Sequence[float | None], show: Callable[[float], str]) -> dict[str, np.ndarray]:
    """Which utterances have the lowest, the middle and the highest third of the numbers, bool (N,)."""
    values = np.array([np.nan if each is None else each for each in numbers], np.float64)
    known = np.isfinite(values)
    if not known.any():
        return {}
    low, high = np.quantile(values[known], [1 / 3, 2 / 3])
    groups = {
        f"up to {show(low)}": known & (values <= low),
        f"{show(low)} to {show(high)}": known & (values > low) & (values <= high),
        f"more than {show(high)}": known & (values > high),
    }
    return {name: rows for name, rows in groups.items() if rows.any()}
