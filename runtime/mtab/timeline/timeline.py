"""What a recording is answered with: its emotions over time."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from mtab.config import to_dict
from mtab.timeline.transcript import Word


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a recording, in seconds, in which one emotion is the likeliest.

    ``probabilities`` are by class, in the model's order: the mean of the windows that cover it, by time;
    ``label`` is the likeliest of them, or `mtab.results.UNKNOWN` where it is less likely than was asked for.
    ``text`` is what is said in it (None without a transcript), ``words`` the same with times, ``modalities``
    are those that the answers rest on. ``dimensions`` are the mean by time too, of a model that has them.
    """

    start: float
    end: float
    label: str
    probabilities: dict[str, float]
    speaker: str | None = None
    text: str | None = None
    words: tuple[Word, ...] = ()
    modalities: tuple[str, ...] = ()
    dimensions: dict[str, float] | None = None

    @property
    def score(self) -> float:
        """The probability of the likeliest class."""
        return max(self.probabilities.values())

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of a recording, in seconds, that has no answer, and why."""

    start: float
    end: float
    error: str
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """The emotions of a recording: its segments in the order of their start.

    ``recording`` is its name, ``duration`` its length in seconds, as far as it was read; ``complete`` tells
    whether that was to its end. ``labels`` and ``dimensions`` are the model's.
    ``segments_from`` and ``text_from`` say who found the speech and the words (None: there are none).
    ``failures`` are the stretches without an answer.
    """

    recording: str
    duration: float
    complete: bool
    labels: tuple[str, ...]
    dimensions: tuple[str, ...]
    segments_from: str
    text_from: str | None
    segments: tuple[Segment, ...]
    failures: tuple[Gap, ...] = ()

    @property
    def speakers(self) -> tuple[str, ...]:
        """Those that are named, in the order in which they begin to speak."""
        return tuple(dict.fromkeys(each.speaker for each in self.segments if each.speaker is not None))

    @property
    def shares(self) -> dict[str, float]:
        """Of the time in segments the share of each label, the largest first."""
        seconds: dict[str, float] = defaultdict(float)
        for segment in self.segments:
            seconds[segment.label] += segment.seconds
        total = sum(seconds.values()) or 1.0
        return dict(sorted(((label, each / total) for label, each in seconds.items()), key=lambda e: -e[1]))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return to_dict(self)
