"""From utterance records to padded batches of tensors."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mtab.data import Problem, Utterance
from mtab.data.reading import read_utterances
from mtab.errors import DataError
from mtab.preprocess import Features, Preprocessor
from mtab_train.config import ModelConfig
from mtab_train.encoder_cache import EncoderCache
from mtab_train.losses import spell

Batch = dict[str, Tensor]
"""The model's inputs, or cached encodings in place of some, and ``labels`` (B,) int64."""


@dataclass(frozen=True, slots=True)
class Example:
    """An utterance that was read once: its class index, its size, and a hash of what the encoders see.

    ``samples`` and ``tokens`` are 0 where a modality is missing; ``span`` is the part of the audio file.
    """

    utterance: Utterance
    label: int
    span: tuple[float | None, float | None]
    samples: int
    tokens: int
    content: dict[str, str]

    def read(self, preprocess: Preprocessor, leave_out: Iterable[str] = ()) -> Features:
        """Preprocess it again, without the modalities ``leave_out``."""
        start, end = self.span
        audio = None if "audio" in leave_out else self.utterance.audio
        text = None if "text" in leave_out else self.utterance.text
        return preprocess(audio, text, start=start, end=end)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The examples that a model can use, what had to be skipped, and how many clips are cut."""

    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]
    clips_cut: int


def prepare(
    utterances: Sequence[Utterance],
    preprocess: Preprocessor,
    config: ModelConfig,
    max_seconds: float | None = None,
    name: str = "reading",
) -> Prepared:
    """Decode every utterance once and keep those that the model can use.

    An utterance whose clip cannot be decoded, or that lacks a modality that the model needs, is a problem. A
    clip longer than ``max_seconds`` is cut to it. Raises `DataError` if no utterance is left.
    """
    examples, problems, clips_cut = [], [], 0
    shown = tqdm(utterances, desc=name, unit="utt", disable=None, leave=False)
    for utterance, features in read_utterances(shown, preprocess, config.supported_modalities):
        if isinstance(features, Problem):
            problems.append(features)
            continue
        start, end = utterance.span
        if max_seconds is not None and features.seconds is not None and features.seconds > max_seconds:
            end = (start or 0.0) + max_seconds
            features = preprocess(utterance.audio, utterance.text, start=start, end=end)
            clips_cut += 1
        values, ids = features.input_values, features.input_ids
        examples.append(
            Example(
                utterance=utterance,
                label=config.labels.index(utterance.label),
                span=(start, end),
                samples=0 if values is None else len(values),
                tokens=0 if ids is None else len(ids),
                content={
                    modality: hashlib.sha256(array.tobytes()).hexdigest()
                    for modality, array in (("audio", values), ("text", ids))
                    if array is not None
                },
            )
        )
    if utterances and not examples:
        raise DataError(f"none of {len(utterances)} utterances can be used; the first: {problems[0]}")
    return Prepared(tuple(examples), tuple(problems), clips_cut)


class ExampleDataset(Dataset[tuple[Example, Features]]):
    """Examples, decoded when they are asked for; what ``cache`` holds is not."""

    def __init__(
        self,
        examples: Sequence[Example],
        preprocess: Preprocessor,
        cache: EncoderCache | None = None,
        spelled: bool = False,
    ) -> None:
        """``spelled`` adds the transcripts' letters, (B, L) int64, and their lengths to batches, for CTC."""
        self.spelled = spelled
        self.examples = examples
        self.preprocess = preprocess
        self.cache = cache

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Example, Features]:
        example = self.examples[index]
        return example, example.read(self.preprocess, self.cache.modalities if self.cache else ())

    def collate(self, items: Sequence[tuple[Example, Features]]) -> Batch:
        """One padded batch."""
        arrays = self.preprocess.collate([features for _, features in items])
        if self.cache is not None:
            arrays = self.cache.replace(arrays, [example for example, _ in items])
        batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        batch["labels"] = torch.tensor([example.label for example, _ in items])
        if self.spelled:
            letters = [torch.tensor(spell(example.utterance.text or "")).long() for example, _ in items]
            batch["letters"] = nn.utils.rnn.pad_sequence(letters, batch_first=True)
            batch["letter_lengths"] = torch.tensor([len(each) for each in letters])
        return batch

    def batches(self, indices: Sequence[list[int]], workers: int = 0) -> Iterator[Batch]:
        """Batches of the examples ``indices``, in that order, decoded by ``workers`` processes."""
        yield from DataLoader(
            self,
            batch_sampler=indices,
            collate_fn=self.collate,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )


def lengths(examples: Sequence[Example]) -> list[int]:
    """What costs time: samples or, where a model does not listen, tokens."""
    return [example.samples or example.tokens for example in examples]


def class_weights(examples: Sequence[Example], classes: int) -> Tensor:
    """Inverse to frequency, n / (classes * n_c), as scikit-learn's ``balanced``; 1 for an absent class."""
    counts = np.bincount([example.label for example in examples], minlength=classes)
    weights = len(examples) / (classes * np.maximum(counts, 1))
    return torch.tensor(np.where(counts, weights, 1.0), dtype=torch.float32)
