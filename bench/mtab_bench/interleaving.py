"""Backends beside each other on the same requests: what they answer first, then how long they take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from mtab.errors import MtabError
from mtab.progress import progress
from mtab.timing import MIN_BLOCKS, SLOW, Interrupted, Timing, interleaved

WARMUP = 2
"""Runs of each backend before the clock counts."""
HOW = (
    "The backends answer in interleaved blocks, in alternating order; before its part of a block come a "
    "pause, in which the idle threads of the one before go to sleep, and a request untimed. A backend "
    f"{SLOW:.0f} times as slow as the fastest answers fewer. A block beside which other processes were busy "
    "is measured again. Factors are medians of the ratios on the same request, with their 95 % interval."
)

T = TypeVar("T")
Calls = Mapping[str, Callable[[], np.ndarray]]
"""By a backend's key, what computes its answer to one input."""


@dataclass(frozen=True, slots=True)
class Phase(Generic[T]):
    """What `mtab.timing.interleaved` is asked for: ``draw`` makes a request of an item's number."""

    draw: Callable[[int], T]
    items: int
    min_samples: int
    min_seconds: float = 0.0


def first_answers(calls: Calls) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What each backend answers, or why it does not: it need not take every shape, nor compute in range."""
    answers: dict[str, np.ndarray] = {}
    failures: dict[str, str] = {}
    for key, call in calls.items():
        try:
            answer = call()
        except MtabError as error:
            failures[key] = str(error)
            continue
        if np.isfinite(answer).all():
            answers[key] = answer
        else:
            failures[key] = "answers with values that are no numbers"
    return answers, failures


def time_phases(
    backends: Mapping[str, Callable[[T], object]], phases: Sequence[Phase[T]], desc: str = "timing"
) -> tuple[list[Timing], bool]:
    """The times of each phase; and whether Ctrl-C ended it, with what was enough for an interval by then."""
    timings: list[Timing] = []
    with progress(desc, 100 * len(phases), "%") as shown:
        for number, phase in enumerate(phases):

            def show(share: float, number: int = number) -> None:
                shown.done = round(100 * (number + share))

            try:
                timing = interleaved(
                    backends, phase.draw, phase.items, phase.min_samples, phase.min_seconds, show
                )
                timings.append(timing)
            except Interrupted as stopped:
                if stopped.timing is not None and len(stopped.timing.blocks) >= MIN_BLOCKS:
                    timings.append(stopped.timing)
                return timings, True
    return timings, False
