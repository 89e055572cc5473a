"""Utterances to judge a bundle on: drawn evenly from all, read and preprocessed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mtab.data import Corpus, Utterance
from mtab.data.reading import read_utterances
from mtab.errors import DataError
from mtab.preprocess import Features, Preprocessor
from mtab.progress import track

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """Utterances of a corpus that a model can answer, and what they are preprocessed to."""

    corpus: Corpus
    utterances: tuple[Utterance, ...]
    features: tuple[Features, ...]

    @property
    def names(self) -> list[str]:
        """What errors and certificates call the utterances."""
        return [utterance.id for utterance in self.utterances]


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of ``items``, evenly from the first to the last.

    >>> spread("abcdefg", 3)
    ['a', 'd', 'g']
    """
    return [items[i] for i in np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)]


def read_sample(
    corpus: Corpus,
    utterances: Sequence[Utterance],
    preprocess: Preprocessor,
    supported: Sequence[tuple[str, ...]],
    most: int,
) -> Sample:
    """Those that a model of the ``supported`` modalities can answer, of ``most`` spread over ``utterances``.

    Raises `DataError`, with the first problem, if there is none.
    """
    drawn = track(spread(utterances, most), "reading", "utterances", min(len(utterances), most))
    used, features, problems = [], [], []
    for utterance, read in read_utterances(drawn, preprocess, supported):
        if isinstance(read, Features):
            used.append(utterance)
            features.append(read)
        else:
            problems.append(read)
    if not used:
        first = f" (the first: {problems[0]})" if problems else ""
        raise DataError(
            f"{corpus.place}: none of {len(utterances)} utterances can be read{first}, expected some to "
            "compare on"
        )
    return Sample(corpus, tuple(used), tuple(features))
