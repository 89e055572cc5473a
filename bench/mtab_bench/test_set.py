"""The test set of the fold that a bundle was trained for."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtab.bundle import MANIFEST, Bundle
from mtab.data import Corpus, Problem, Utterance, find_fold, read_corpus, validate
from mtab.data.reading import read_utterances
from mtab.errors import BundleError, DataError
from mtab.preprocess import Features, Preprocessor
from mtab.progress import track

TRAINING = ("dataset", "folds", "fold", "protocol", "seed")
"""What a manifest must tell of the training for its test set to be found."""


@dataclass(frozen=True, slots=True)
class LoadedTestSet:
    """The test utterances that a model can use, preprocessed; ``seconds`` is what reading each one took."""

    corpus: Corpus
    utterances: tuple[Utterance, ...]
    features: tuple[Features, ...]
    seconds: np.ndarray
    problems: tuple[Problem, ...]

    @property
    def speech_seconds(self) -> float:
        """Seconds of speech in all."""
        return sum(features.seconds or 0.0 for features in self.features)


def read_test_set(
    bundle: Bundle,
    preprocess: Preprocessor,
    dataset: str,
    data_dir: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> LoadedTestSet:
    """The test part of the fold that the bundle's manifest names, read and preprocessed as the runtime does.

    An utterance that cannot be decoded, or lacks a modality that the model needs, is a problem and skipped.
    Raises `BundleError` if the bundle was trained on something else, or does not tell on what; `DataError`
    if nothing is left.
    """
    training = bundle.manifest.training
    if training.dataset != dataset:
        trained = training.dataset or "nothing"
        raise BundleError(f"{bundle.folder}: was trained on {trained}, expected {dataset}; see --dataset")
    if missing := [name for name in TRAINING if getattr(training, name) is None]:
        raise BundleError(
            f"{bundle.folder / MANIFEST}: training lacks {missing[0]!r}, expected {', '.join(TRAINING)}; "
            "export the run again when its training has ended"
        )
    columns = training.columns if columns is None else columns
    corpus = validate(read_corpus(dataset, data_dir, columns))
    labels = bundle.config.labels
    if unknown := sorted(set(corpus.labels) - set(labels)):
        raise DataError(f"{corpus.place}: label {unknown[0]!r}, expected the bundle's: {', '.join(labels)}")
    fold = find_fold(corpus, training.folds, training.fold, training.seed)
    usable, features, seconds, problems = [], [], [], list(corpus.problems)
    shown = track(fold.test, "reading", "utterances")
    begun = time.perf_counter()
    for utterance, read in read_utterances(shown, preprocess, bundle.config.supported_modalities):
        if isinstance(read, Problem):
            problems.append(read)
        else:
            seconds.append(time.perf_counter() - begun)
            usable.append(utterance)
            features.append(read)
        begun = time.perf_counter()
    if not usable:
        raise DataError(
            f"{corpus.place}: no test utterance that the bundle can use; the first: {problems[-1]}"
        )
    return LoadedTestSet(corpus, tuple(usable), tuple(features), np.array(seconds), tuple(problems))
