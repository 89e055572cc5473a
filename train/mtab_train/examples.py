"""From utterance records to examples: what is read once, and known before an epoch begins. No torch."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mtab.data import Corpus, Problem, Utterance
from mtab.data.clips import clip_hash
from mtab.data.reading import read_utterances
from mtab.errors import DataError
from mtab.preprocess import Features, Preprocessor
from mtab.progress import track
from mtab_train import augmentation
from mtab_train.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Example:
    """An utterance that was read once: its class index, its size, and a hash of what the encoders see.

    Without a label the index is -1, until a teacher has answered.
    ``samples`` and ``tokens`` are 0 where a modality is missing; ``span`` is the part of the audio file.
    ``clip`` is the `clip_hash` of the whole clip, also where it is cut.
    """

    utterance: Utterance
    label: int
    span: tuple[float | None, float | None]
    samples: int
    tokens: int
    content: dict[str, str]
    clip: str | None = None

    @property
    def annotated(self) -> bool:
        """Whether its class is a label of the corpus's, and not an answer of a teacher's."""
        return bool(self.utterance.label)

    def read(self, preprocess: Preprocessor, leave_out: Iterable[str] = (), variant: int = 0) -> Features:
        """Preprocess it again, without the modalities ``leave_out``; a ``variant`` of its clip, 0: itself."""
        start, end = self.span
        audio = None if "audio" in leave_out else self.utterance.audio
        text = None if "text" in leave_out else self.utterance.text
        if variant and audio is not None and preprocess.listens:
            samples = preprocess.samples(audio, start=start, end=end)
            return preprocess(augmentation.variant(samples, variant), text)
        return preprocess(audio, text, start=start, end=end)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The examples that a model can use, what had to be skipped, and how many clips are cut."""

    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]
    clips_cut: int


def prepare(
    corpus: Corpus,
    utterances: Sequence[Utterance],
    preprocess: Preprocessor,
    config: ModelConfig,
    max_seconds: float | None = None,
    name: str = "reading",
) -> Prepared:
    """Decode each of a corpus's ``utterances`` once and keep those that the model can use.

    An utterance whose clip cannot be decoded, or that lacks a modality that the model needs, is a problem. A
    clip longer than ``max_seconds`` is cut to it. Raises `DataError` if no utterance is left.
    """
    examples, problems, clips_cut = [], [], 0
    shown = track(utterances, name, "utterances")
    for utterance, features in read_utterances(shown, preprocess, config.supported_modalities):
        if isinstance(features, Problem):
            problems.append(features)
            continue
        start, end = utterance.span
        clip = None if features.input_values is None else clip_hash(features.input_values)
        if max_seconds is not None and features.seconds is not None and features.seconds > max_seconds:
            end = (start or 0.0) + max_seconds
            features = preprocess(utterance.audio, utterance.text, start=start, end=end)
            clips_cut += 1
        values, ids = features.input_values, features.input_ids
        examples.append(
            Example(
                utterance=utterance,
                label=config.labels.index(utterance.label) if utterance.label else -1,
                span=(start, end),
                samples=0 if values is None else len(values),
                tokens=0 if ids is None else len(ids),
                content={
                    modality: hashlib.sha256(array.tobytes()).hexdigest()
                    for modality, array in (("audio", values), ("text", ids))
                    if array is not None
                },
                clip=clip,
            )
        )
    if utterances and not examples:
        raise DataError(
            f"{corpus.place}: none of {len(utterances)} utterances can be used; the first: {problems[0]}"
        )
    return Prepared(tuple(examples), tuple(problems), clips_cut)


def ratings(utterances: Sequence[Utterance], dimensions: Sequence[str]) -> np.ndarray:
    """What they were rated, (utterances, dimensions) float32; NaN for no rating."""
    rows = [[getattr(utterance, name) for name in dimensions] for utterance in utterances]
    return np.array(rows, np.float32).reshape(len(utterances), len(dimensions))


def lengths(examples: Sequence[Example]) -> list[int]:
    """What costs time: samples or, where a model does not listen, tokens."""
    return [example.samples or example.tokens for example in examples]
