"""The rows of the paper's tables that run here: models that are trained, and classical floors."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mtab.console import install_hint
from mtab.data import Corpus
from mtab.provenance import Protocol
from mtab.types import Modality
from mtab_train.config import PRESETS, Preset

Asked = Literal["both", "honest", "paper", "fixed"]
Modalities = Literal["audio+text", "audio", "text"]


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model that our trainer trains: a preset (None: the command's) and what is changed of it.

    ``small`` stands in for the preset where the command's is not the paper's own size. One that is
    ``pretrained`` starts from another run.
    """

    name: str
    title: str
    preset: str | None = None
    small: str | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = False

    def named_preset(self, chosen: str) -> str:
        """The name of its preset, where the command's is ``chosen``."""
        named = self.preset if chosen == "base" else self.small or self.preset
        return named or chosen

    def modalities(self, chosen: str, asked: Modalities = "audio+text") -> tuple[Modality, ...]:
        """What the model takes of the modalities ``asked``."""
        present = PRESETS[self.named_preset(chosen)].model.modalities
        return tuple(each for each in present if each in asked.split("+"))

    def recipe(self, chosen: str, epochs: int | None, asked: Modalities = "audio+text") -> Preset:
        """The model of the modalities ``asked`` and its training; ``epochs``: None for the preset's."""
        preset = PRESETS[self.named_preset(chosen)]
        model = dict(self.model)
        for each in set(preset.model.modalities) - set(self.modalities(chosen, asked)):
            model |= {f"{each}_config": None, f"{each}_model": None}
        train = dict(self.train) | ({} if epochs is None else {"epochs": epochs})
        return Preset(replace(preset.model, **model), replace(preset.train, **train))


@dataclass(frozen=True, slots=True)
class FloorRow:
    """A classical classifier: of openSMILE's functionals with an SVM, or of words.

    With ``test_speakers`` each speaker's functionals are standardised by all utterances of that speaker,
    those of the test part too: it needs more than the one utterance that is to be answered.
    """

    name: str
    title: str
    features: Literal["eGeMAPSv02", "ComParE_2016", "TF-IDF"]
    class_weight: Literal["balanced"] | None = "balanced"
    test_speakers: bool = False

    @property
    def modality(self) -> Modality:
        """What it looks at."""
        return "text" if self.features == "TF-IDF" else "audio"


Row = ModelRow | FloorRow
SIZES = ("base", "compact", "tiny")
"""The presets of Mul-TAB."""

_STATISTICS = ", with statistics of the test speaker"
ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        ModelRow("mul-tab", "Mul-TAB"),
        ModelRow("without-tab", "Mul-TAB without TAB", model={"num_tab_layers": 0}),
        ModelRow("without-mha", "Mul-TAB without MHA", model={"num_self_attention_layers": 0}),
        ModelRow("mmer", "MMER", "mmer", "mmer-tiny"),
        ModelRow("tim-net", "TIM-Net", "tim-net"),
        ModelRow("compact", "compact", "compact"),
        ModelRow("compact-pretrained", "compact, pre-trained", "compact", pretrained=True),
        FloorRow("egemaps-svm", "eGeMAPS, SVM", "eGeMAPSv02"),
        FloorRow("compare-svm", "ComParE, SVM", "ComParE_2016"),
        FloorRow("tfidf", "TF-IDF, logistic regression", "TF-IDF", None),
        FloorRow("tfidf-balanced", "TF-IDF, balanced logistic regression", "TF-IDF"),
        FloorRow("egemaps-svm-speaker", f"eGeMAPS, SVM{_STATISTICS}", "eGeMAPSv02", test_speakers=True),
        FloorRow("compare-svm-speaker", f"ComParE, SVM{_STATISTICS}", "ComParE_2016", test_speakers=True),
    )
}
"""By name, in the order of the tables."""


def protocols(row: Row, chosen: str, asked: Asked) -> tuple[Protocol, ...]:
    """The protocols that a row is run by.

    What chooses no epoch (a floor, and of ``both`` a preset of the fixed protocol) trains on all that is not
    tested, which is the fixed one.
    """
    if isinstance(row, FloorRow):
        return ("fixed",)
    if asked != "both":
        return (asked,)
    if PRESETS[row.named_preset(chosen)].train.protocol == "fixed":
        return ("fixed",)
    return ("honest", "paper")


def unusable(
    row: Row, chosen: str, corpus: Corpus, asked: Modalities = "audio+text", pretrained: bool = False
) -> str | None:
    """Why a row cannot be run on the modalities ``asked`` of a corpus; None if it can.

    ``pretrained`` says that there is a run to start from.
    """
    needed = (row.modality,) if isinstance(row, FloorRow) else row.modalities(chosen, asked)
    if not needed or not set(needed) <= set(asked.split("+")):
        return f"does not look at {asked} alone"
    if isinstance(row, ModelRow) and row.pretrained and not pretrained:
        return "needs a run to start from, see --init-from"
    if isinstance(row, ModelRow) and "audio" not in needed and row.recipe(chosen, None).train.ctc_weight:
        return "needs audio, from which it learns to spell"
    for modality in needed:
        if all(getattr(each, modality) is None for each in corpus.utterances):
            what = "transcript" if modality == "text" else "clip"
            return f"needs a {what} for each utterance, and {corpus.place} has none"
    if isinstance(row, FloorRow) and row.test_speakers:
        lacking = sum(each.speaker is None for each in corpus.utterances)
        if lacking:
            return f"needs the speaker of each utterance, and {lacking} in {corpus.place} have none"
    if isinstance(row, FloorRow) and row.modality == "audio":
        return missing_opensmile()
    return None


def missing_opensmile() -> str | None:
    """How to get openSMILE; None where it is installed."""
    if importlib.util.find_spec("opensmile") is not None:
        return None
    return install_hint("opensmile", "openSMILE's functionals")
