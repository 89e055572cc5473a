"""From examples to padded batches of tensors."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mtab.preprocess import Features, Preprocessor
from mtab_train.examples import Example, ratings
from mtab_train.losses import spell

if TYPE_CHECKING:
    from mtab_train.encoder_cache import EncoderCache
    from mtab_train.teacher import Lessons

Batch = dict[str, Tensor]
"""The model's inputs, or cached encodings in place of some, ``labels`` (B,) int64, and ``dimensions`` (B, D)
float32, NaN for no rating. Of a student also ``annotated`` (B,) bool, whether the label is the corpus's, and
``teacher_logits`` (B, C) and ``teacher_embeddings`` (B, E) float32."""


class Item(NamedTuple):
    """An example as it was read: its number, the variant of its clip, and what the model takes of it."""

    number: int
    example: Example
    variant: int
    features: Features


class ExampleDataset(Dataset[Item]):
    """Examples, decoded when they are asked for; what ``cache`` holds is not."""

    def __init__(
        self,
        examples: Sequence[Example],
        preprocess: Preprocessor,
        cache: "EncoderCache | None" = None,
        spelled: bool = False,
        dimensions: Sequence[str] = (),
        variants: Sequence[int] | None = None,
        lessons: "Lessons | None" = None,
    ) -> None:
        """``spelled`` adds the transcripts' letters, (B, L) int64, and their lengths to batches, for CTC.

        ``dimensions`` are those whose ratings are in batches; ``variants`` which variant of each example's
        clip is heard (None: itself); ``lessons`` what a teacher answers to them.
        """
        self.lessons = lessons
        self.variants = [0] * len(examples) if variants is None else variants
        self.spelled = spelled
        self.dimensions = dimensions
        self.examples = examples
        self.preprocess = preprocess
        self.cache = cache

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Item:
        example, variant = self.examples[index], self.variants[index]
        cached = self.cache.modalities if self.cache else ()
        return Item(index, example, variant, example.read(self.preprocess, cached, variant))

    def collate(self, items: Sequence[Item]) -> Batch:
        """One padded batch."""
        arrays = self.preprocess.collate([item.features for item in items])
        if self.cache is not None:
            arrays = self.cache.replace(arrays, [(item.example, item.variant) for item in items])
        batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        examples = [item.example for item in items]
        batch["labels"] = torch.tensor([example.label for example in examples])
        utterances = [example.utterance for example in examples]
        batch["dimensions"] = torch.from_numpy(ratings(utterances, self.dimensions))
        if self.spelled:
            letters = [torch.tensor(spell(utterance.text or "")).long() for utterance in utterances]
            batch["letters"] = nn.utils.rnn.pad_sequence(letters, batch_first=True)
            batch["letter_lengths"] = torch.tensor([len(each) for each in letters])
        if self.lessons is not None:
            batch["annotated"] = torch.tensor([example.annotated for example in examples])
            places = [item.number for item in items], [item.variant for item in items]
            batch["teacher_logits"] = torch.from_numpy(self.lessons.logits[places])
            batch["teacher_embeddings"] = torch.from_numpy(self.lessons.embeddings[places])
        return batch

    def batches(self, indices: Sequence[list[int]], workers: int = 0) -> Iterator[Batch]:
        """Batches of the examples ``indices``, in that order, made by ``workers`` processes or a thread."""
        loader = DataLoader(
            self,
            batch_sampler=indices,
            collate_fn=self.collate,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )
        yield from loader if workers else _made_ahead(iter(loader))


_END = object()


def _made_ahead(batches: Iterator[Any], count: int = 2) -> Iterator[Any]:
    """The same, so many of them made by a thread while those before are used."""
    with ThreadPoolExecutor(1, "batches") as thread:
        ahead = deque(thread.submit(next, batches, _END) for _ in range(count))
        while (batch := ahead.popleft().result()) is not _END:
            ahead.append(thread.submit(next, batches, _END))
            yield batch


def class_weights(examples: Sequence[Example], corpora: Sequence[int]) -> Tensor:
    """Inverse to frequency, n / (classes * n_c), as scikit-learn's ``balanced``; 1 for an absent class.

    n and classes are those of the class's own head, by `ModelConfig.corpora`.
    """
    counts = np.bincount([example.label for example in examples], minlength=len(corpora))
    utterances, classes = np.bincount(corpora, counts)[[*corpora]], np.bincount(corpora)[[*corpora]]
    weights = utterances / (classes * np.maximum(counts, 1))
    return torch.tensor(np.where(counts, weights, 1.0), dtype=torch.float32)
