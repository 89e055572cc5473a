"""What a model attends to in the segments of a timeline."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.errors import AudioError, TextError
from mtab.timeline.buffer import cut_spans
from mtab.timeline.regions import Region, pieces_of
from mtab.timeline.timeline import Timeline
from mtab.timeline.transcript import Word
from mtab.words import joined

if TYPE_CHECKING:
    from mtab.model import Model
    from mtab.reasons import Explanation

_FRAMES = 5
"""Frames of 20 ms that are one value on the page."""


@dataclass(slots=True, eq=False)
class Attended:
    """The attention in a timeline.

    ``words`` are the shares, 0 to 1, of the speech's attention that each word of each segment gets (None: not
    to be had); ``stretches`` the temporal-aware block's attention by (start, end) in seconds, float64, in
    equal steps, scaled so that the least of the recording is 0 and the most 1.
    """

    words: list[list[float | None]]
    stretches: list[tuple[float, float, np.ndarray]] = field(default_factory=list)


def attend(timeline: Timeline, blocks: Iterable[np.ndarray], model: "Model") -> Attended:
    """Explain each segment's speech, by pieces of at most 30 s, to all of the recording's ``blocks``.

    Without attention where the bundle of ``model`` has no graph of reasons, or a piece lacks what the model
    needs. Raises `EngineError`, and what ``blocks`` raise.
    """
    found = Attended([[None] * len(segment.words) for segment in timeline.segments])
    parts = sorted(
        (span, number)
        for number, segment in enumerate(timeline.segments)
        for span in pieces_of(Region(segment.start, segment.end))
    )
    for ((first, last), number), samples in zip(
        parts, cut_spans(blocks, [span for span, _ in parts]), strict=True
    ):
        if model.bundle.manifest.reasons is None:
            continue
        start, end = first / SAMPLE_RATE, last / SAMPLE_RATE
        words = timeline.segments[number].words
        within = [i for i, word in enumerate(words) if start <= (word.start + word.end) / 2 <= end]
        said = [words[i] for i in within]
        text = joined(word.text for word in said)
        try:
            explanation = model.explain(samples, text or None, occlusion=False)
        except (AudioError, TextError):
            continue
        for i, share in zip(within, _shares(said, text, explanation), strict=True):
            found.words[number][i] = share
        if explanation.tab_attention is not None and explanation.times is not None:
            found.stretches.append((start, end, _coarse(explanation.tab_attention)))
    if found.stretches:
        values = np.concatenate([each for _, _, each in found.stretches])
        least, most = values.min(), values.max()
        found.stretches = [(a, b, (each - least) / max(most - least, 1e-9)) for a, b, each in found.stretches]
    return found


def _shares(words: list[Word], text: str, explanation: "Explanation") -> list[float | None]:
    """The attention to each of ``words``, which stand in ``text``; one may hold several words."""
    shares: list[float | None] = []
    place = 0
    for word in words:
        place = text.index(word.text, place)
        end = place + len(word.text)
        within = [each.attention for each in explanation.words if place <= each.start < end]
        known = [each for each in within if each is not None]
        shares.append(sum(known) if known else None)
        place = end
    return shares


def _coarse(values: np.ndarray) -> np.ndarray:
    """Means of `_FRAMES` values each, of the last ones too."""
    firsts = np.arange(0, len(values), _FRAMES)
    return np.add.reduceat(values.astype(np.float64), firsts) / np.diff(np.append(firsts, len(values)))
