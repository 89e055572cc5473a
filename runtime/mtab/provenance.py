"""Where a bundle's weights come from: the run that trained them, and how good it was."""

from dataclasses import dataclass, field
from typing import Literal

from mtab.errors import ConfigError

Protocol = Literal["honest", "paper", "fixed"]

TEMPERATURES = (0.25, 10.0)
"""The least and the most that is fitted: no validation set, however small, makes every probability 0 or 1,
or all of them equal."""


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """A figure at temperature 1, and at the calibration's."""

    before: float
    after: float


@dataclass(frozen=True, slots=True)
class CalibrationScores:
    """What the temperature does to some utterances' probabilities: mean negative log-likelihood in nats, and
    expected calibration error in 0..1."""

    utterances: int
    nll: BeforeAfter
    ece: BeforeAfter


@dataclass(frozen=True, slots=True)
class Calibration:
    """``calibration.json``: the temperature of a run's model.

    ``validation`` are the utterances that it was fitted on; where there are none the temperature is 1, and
    ``reason`` says why. ``test`` are utterances that had no part in it.
    """

    temperature: float
    validation: CalibrationScores | None
    test: CalibrationScores
    reason: str | None = None

    def __post_init__(self) -> None:
        least, most = TEMPERATURES
        if not least <= self.temperature <= most:
            raise ConfigError(f"temperature is {self.temperature}, expected {least} to {most}")


@dataclass(frozen=True, slots=True)
class Scores:
    """How well a model answers some utterances; every share is in 0..1.

    ``recall`` is None for a class that has no utterance; ``confusion_matrix[i][j]`` counts utterances of
    class i answered as class j. ``loss`` is in nats, ``ece`` the expected calibration error. ``ccc`` are the
    concordance correlation coefficients of the dimensions, in -1..1; None for one without two different
    ratings, and for a model without dimensions.
    """

    utterances: int
    war: float
    uar: float
    weighted_f1: float
    recall: dict[str, float | None]
    confusion_matrix: tuple[tuple[int, ...], ...]
    loss: float | None = None
    ece: BeforeAfter | None = None
    ccc: dict[str, float | None] | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """The run that made a checkpoint, as its run.json and results.json say.

    ``dataset`` is the reader of the corpus, None for a model that was never trained; ``title`` is what the
    corpus is called, ``columns`` as in `mtab.data.Corpus`. ``test`` are the scores of the test part, None
    where it was not scored. ``finished`` is false for a run that was exported before its training had ended.
    """

    title: str
    synthetic: bool
    preset: str
    protocol: Protocol
    seed: int
    dataset: str | None = None
    folds: str | None = None
    fold: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    selected_epoch: int | None = None
    test: Scores | None = None
    calibration: Calibration | None = None
    finished: bool = True
