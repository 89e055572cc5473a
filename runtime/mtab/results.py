"""What an utterance is answered with, and what of that is wanted."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from mtab.errors import MtabError

UNKNOWN = "unknown"
"""The label of an answer that is not sure enough."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one utterance.

    ``label`` is the likeliest class, or `UNKNOWN` where that is less likely than was asked for;
    ``probabilities`` are by class, in the model's order, of ``top_k`` in falling order. ``duration`` is in
    seconds, of the audio that was used (None without audio); ``modalities`` are those that the answer rests
    on; ``text_truncated`` says that the transcript's end did not fit the text encoder. ``embedding`` is
    float32 (width,), what the classifier sees, where it was asked for. ``dimensions`` are valence, arousal
    and dominance, as many as the model answers, in the units of the corpus that it learned from (None: none).
    ``transcript`` is what was said, where the recogniser ``text_from`` wrote it.
    """

    label: str
    probabilities: dict[str, float]
    duration: float | None
    modalities: tuple[str, ...]
    text_truncated: bool = False
    embedding: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)
    dimensions: dict[str, float] | None = None
    transcript: str | None = None
    text_from: str | None = None

    @property
    def score(self) -> float:
        """The probability of the likeliest class."""
        return max(self.probabilities.values())


@dataclass(frozen=True, slots=True)
class Failure:
    """What stands in the place of an utterance's `Result` where it has none: its name and the reason."""

    name: str
    error: MtabError


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """What of an answer is wanted; see `mtab.Model.predict`."""

    top_k: int | None = None
    abstain: float | None = None
    return_embedding: bool = False

    def __post_init__(self) -> None:
        if self.top_k is not None and not (isinstance(self.top_k, int | np.integer) and self.top_k >= 1):
            raise MtabError(f"top_k is {self.top_k}, expected 1 or more")
        sure = isinstance(self.abstain, int | float | np.floating) and 0 <= self.abstain <= 1
        if self.abstain is not None and not sure:
            raise MtabError(f"abstain is {self.abstain}, expected a probability from 0 to 1")

    def apply(self, result: Result) -> Result:
        """Of a result that holds everything, what is wanted."""
        probabilities = result.probabilities
        if self.top_k is not None:
            falling = sorted(probabilities.items(), key=lambda each: each[1], reverse=True)
            probabilities = dict(falling[: self.top_k])
        unsure = self.abstain is not None and result.score < self.abstain
        return dataclasses.replace(
            result,
            label=UNKNOWN if unsure else result.label,
            probabilities=probabilities,
            embedding=result.embedding if self.return_embedding else None,
        )
