"""Readers of corpora, without torch: IEMOCAP, MELD, five acted corpora and a CSV manifest.

>>> from mtab.data import make_folds, read_corpus, validate
>>> corpus = validate(read_corpus("emodb", Path("EmoDB")))           # doctest: +SKIP
>>> folds = make_folds(corpus, "speaker-pair")                       # doctest: +SKIP
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from mtab.data.acted import ACTED, read_acted
from mtab.data.check import validate
from mtab.data.folds import default_scheme, find_fold, fold_warnings, make_folds
from mtab.data.iemocap import read_iemocap
from mtab.data.joining import join_corpora, keep_corpus
from mtab.data.labels import LabelMap, labels_by_corpus, map_labels, read_label_map
from mtab.data.layout import find_data_dir
from mtab.data.manifest import read_manifest
from mtab.data.meld import read_meld
from mtab.data.records import SYNTHETIC_MARKER, Corpus, Fold, Problem, Utterance, corpus_hash
from mtab.errors import DataError
from mtab.types import Dataset

__all__ = [
    "DATASETS",
    "SYNTHETIC_MARKER",
    "Corpus",
    "Fold",
    "LabelMap",
    "Problem",
    "Utterance",
    "corpus_hash",
    "default_scheme",
    "find_data_dir",
    "find_fold",
    "fold_warnings",
    "join_corpora",
    "keep_corpus",
    "labels_by_corpus",
    "make_folds",
    "map_labels",
    "read_corpus",
    "read_label_map",
    "read_manifest",
    "validate",
]

_READERS = {
    "iemocap": read_iemocap,
    "meld": read_meld,
    **{name: partial(read_acted, name) for name in ACTED},
}
DATASETS: tuple[Dataset, ...] = get_args(Dataset)


def read_corpus(
    dataset: str, data_dir: Path | None = None, columns: Mapping[str, str] | None = None
) -> Corpus:
    """Read the annotations of one of `DATASETS`; clips are not opened (`validate` does that).

    ``data_dir`` is the corpus's root or its parent (None: see `find_data_dir`); ``columns`` are a manifest's
    own names, see `read_manifest`. Bad lines are skipped and listed in ``problems``. Raises `DataError` if
    the corpus is not there or holds no usable utterance.
    """
    if dataset not in DATASETS:
        raise DataError(f"unknown corpus {dataset!r}, expected one of {', '.join(DATASETS)}")
    source = find_data_dir(dataset, data_dir)
    if dataset == "manifest":
        corpus = read_manifest(source, columns=columns)
    elif columns:
        raise DataError(f"{dataset}: has columns of its own, expected --columns for a manifest alone")
    else:
        corpus = _READERS[dataset](source)
    corpus = replace(corpus, source=source)
    if not corpus.utterances:
        first = f", first problem: {corpus.problems[0]}" if corpus.problems else ""
        raise DataError(f"{corpus.place}: no usable utterance, expected {dataset}'s annotations{first}")
    return corpus
