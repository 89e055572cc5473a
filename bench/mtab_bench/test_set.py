"""The labelled utterances that a bundle is measured on: its training's test part, or another corpus."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mtab.bundle import MANIFEST, Bundle
from mtab.data import Corpus, Problem, Utterance, find_fold, read_corpus, read_label_map, validate
from mtab.data.clips import clip_hash, read_clips
from mtab.data.labels import corpus_name
from mtab.data.reading import read_utterances
from mtab.errors import BundleError, DataError
from mtab.preprocess import Features, Preprocessor
from mtab.progress import track

TRAINING = ("dataset", "folds", "fold", "protocol", "seed")
"""What a manifest must tell of the training for its test set to be found."""


@dataclass(frozen=True, slots=True)
class LoadedTestSet:
    """The test utterances that a model can use, preprocessed; ``seconds`` is what reading each one took.

    ``part`` says in words which of the corpus they are, ``held_out`` whether it is the test part of the
    training. ``left_out`` counts those of labels that are no class of the model, ``overlap`` those whose clip
    it was trained on; None where the bundle does not tell.
    """

    corpus: Corpus
    utterances: tuple[Utterance, ...]
    features: tuple[Features, ...]
    seconds: np.ndarray
    problems: tuple[Problem, ...]
    part: str
    held_out: bool
    left_out: dict[str, int]
    overlap: int | None

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
    split: str | None = None,
    fold: str | None = None,
    label_map: Path | None = None,
) -> LoadedTestSet:
    """Labelled utterances for a bundle, read and preprocessed as the runtime does.

    Of the corpus that it was trained on the test part of the fold that its manifest names; of another corpus
    all. ``split`` (the corpus's own, or ``all``) or ``fold`` (its test part) choose others. Their labels
    are those of the bundle by name or by ``label_map``; others are left out.

    An utterance that cannot be decoded, or lacks a modality that the model needs, is a problem and skipped.
    Raises `BundleError` if the bundle does not tell what it was trained on; `DataError` if nothing is left,
    or a label of the training's own test part is none of the bundle's.
    """
    training, labels = bundle.manifest.training, bundle.config.labels
    known = training.dataset == dataset
    corpus = validate(
        read_corpus(dataset, data_dir, training.columns if known and columns is None else columns)
    )
    held_out = known and split is None and fold is None and label_map is None
    left_out: dict[str, int] = {}
    if held_out:
        utterances, part = _held_out(bundle, corpus), "the training's test part"
    else:
        corpus, left_out = _with_labels(corpus, labels, label_map)
        if fold is not None:
            utterances = find_fold(corpus, training.folds if known else None, fold, training.seed).test
            part = f"test part of fold {fold}"
        elif split in (None, "all"):
            utterances, part = corpus.utterances, "all utterances"
        else:
            utterances = tuple(each for each in corpus.utterances if each.split == split)
            part = f"split {split}"
    usable, features, seconds, problems = [], [], [], list(corpus.problems)
    shown = track(utterances, "reading", "utterances")
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
        first = f"; the first problem: {problems[-1]}" if problems else ""
        raise DataError(f"{corpus.place}: no utterance that the bundle can use in {part}{first}")
    return LoadedTestSet(
        corpus,
        tuple(usable),
        tuple(features),
        np.array(seconds),
        tuple(problems),
        part,
        held_out,
        left_out,
        _overlap(bundle, features),
    )


def _held_out(bundle: Bundle, corpus: Corpus) -> tuple[Utterance, ...]:
    training, labels = bundle.manifest.training, bundle.config.labels
    if missing := [name for name in TRAINING if getattr(training, name) is None]:
        raise BundleError(
            f"{bundle.folder / MANIFEST}: training lacks {missing[0]!r}, expected {', '.join(TRAINING)}; "
            "export the run again when its training has ended"
        )
    if unknown := sorted(set(corpus.labels) - set(labels)):
        raise DataError(
            f"{corpus.place}: label {unknown[0]!r}, expected the bundle's: {', '.join(labels)}; for a corpus "
            "that it was not trained on give --split all"
        )
    return find_fold(corpus, training.folds, training.fold, training.seed).test


def _with_labels(
    corpus: Corpus, labels: tuple[str, ...], label_map: Path | None
) -> tuple[Corpus, dict[str, int]]:
    """The corpus with the labels of a bundle alone, and how many utterances of each other one there are."""
    table = None if label_map is None else read_label_map(label_map)
    kept: list[Utterance] = []
    left_out: Counter[str] = Counter()
    for utterance in corpus.utterances:
        label: str | None = utterance.label
        if table is not None:
            name = corpus_name(corpus, utterance)
            label = table.of(name, label) if table.knows(name, label) else None
        if label in labels:
            kept.append(replace(utterance, label=label))
        elif table is not None and label is not None:
            raise DataError(f"{table.file}: {utterance.label!r} is {label!r}, expected {', '.join(labels)}")
        else:
            left_out[utterance.label] += 1
    if not kept:
        found = ", ".join(left_out)
        raise DataError(
            f"{corpus.place}: labels {found}, expected some of the bundle's: {', '.join(labels)}; see "
            "--label-map"
        )
    return replace(corpus, labels=labels, utterances=tuple(kept)), dict(sorted(left_out.items()))


def _overlap(bundle: Bundle, features: Sequence[Features]) -> int | None:
    """How many of the clips the bundle was trained on."""
    trained = read_clips(bundle.folder)
    heard = [each.input_values for each in features if each.input_values is not None]
    return None if trained is None or not heard else sum(clip_hash(values) in trained for values in heard)
