"""A run begun and trained in one call."""

import dataclasses
from pathlib import Path

from mtab.config import to_dict
from mtab.data import Corpus
from mtab_train.run import Run
from mtab_train.start import Start, begin_run
from mtab_train.trainer import Trainer


def begin(folder: Path, start: Start, corpus: Corpus, **changes: object) -> Run:
    start = dataclasses.replace(start, train=dataclasses.replace(start.train, **changes))
    return begin_run(folder, start, corpus, "speaker", "speaker-0")


def fit(folder: Path, start: Start, corpus: Corpus, cache: bool = True, **changes: object) -> dict:
    """Train; the results as ``results.json`` says them."""
    return to_dict(Trainer(begin(folder, start, corpus, **changes), corpus, "cpu", cache=cache).fit())
