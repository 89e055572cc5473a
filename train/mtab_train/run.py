"""A run folder: one model's training, complete in itself.

``run.json`` (which data), ``config.json`` (`ModelConfig`), ``train_config.json`` (`TrainConfig`),
``preprocessor_config.json``, ``tokenizer.json`` and ``training_clips.json`` (as in a bundle),
``model.safetensors`` (the selected epoch), ``calibration.json`` (its temperature), ``metrics.jsonl`` (one
line an epoch), ``results.json``, ``predictions.csv`` and pictures; ``checkpoints/`` holds what `--resume`
needs, ``corpus/`` the manifest of several corpora, or of one whose labels were mapped, and ``unlabelled/``
that of what a teacher alone has an answer to.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from mtab.config import load_config, to_dict
from mtab.data import Corpus, Utterance, corpus_hash, find_fold, read_corpus, read_manifest, validate
from mtab.errors import ConfigError, DataError
from mtab.files import path_component, write_json
from mtab_train.config import ModelConfig, TrainConfig

RUN, CONFIG, TRAIN_CONFIG, WEIGHTS = "run.json", "config.json", "train_config.json", "model.safetensors"
METRICS, RESULTS, PREDICTIONS = "metrics.jsonl", "results.json", "predictions.csv"
CALIBRATION, SUMMARY, CORPUS, UNLABELLED = "calibration.json", "summary.json", "corpus", "unlabelled"
CURVES, CONFUSION_MATRIX = "curves.png", "confusion_matrix.png"
AT_ITS_END = (RESULTS, CALIBRATION, PREDICTIONS, CURVES, CONFUSION_MATRIX)
"""What the end of a training adds, of the weights that it ends with; a run with the first has finished."""


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Whom a run learns from: the folder of a run or a bundle, and the SHA-256 of its weights or content."""

    folder: str
    sha256: str


@dataclass(frozen=True, slots=True)
class RunConfig:
    """``run.json``: what the model is trained on.

    ``corpus_sha256`` is `mtab.data.corpus_hash` of all usable utterances. ``dataset`` is None for a model
    that was never trained, ``fold`` for a cross-validation; ``columns`` are a manifest's own names.
    ``data_dir`` is absolute, or within the run folder. ``teacher`` is None where labels alone are learned
    from; ``unlabelled_sha256`` is the hash of what it was asked about besides, which lies in the run folder.
    """

    dataset: str | None
    title: str
    synthetic: bool
    data_dir: str | None
    folds: str | None
    fold: str | None
    preset: str
    init_from: str | None
    corpus_sha256: str | None
    mtab_version: str
    created: str
    columns: dict[str, str] = field(default_factory=dict)
    teacher: TeacherConfig | None = None
    unlabelled_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """An opened run folder."""

    folder: Path
    config: RunConfig
    model: ModelConfig
    train: TrainConfig

    @property
    def data_dir(self) -> Path | None:
        """Where the corpus lies: in the run folder, where it was put together for the run."""
        return None if self.config.data_dir is None else self.folder / self.config.data_dir

    @property
    def weights(self) -> Path:
        """The selected epoch's weights."""
        return self.folder / WEIGHTS


def open_run(folder: Path | str) -> Run:
    """Read a run folder's configuration. Raises `ConfigError` if it is none, or a field is wrong."""
    folder = Path(folder)
    if not (folder / RUN).is_file():
        found = "not found" if not folder.exists() else f"holds no {RUN}"
        raise ConfigError(f"{folder}: {found}, expected a run folder made by mtab-train")
    return Run(
        folder,
        load_config(RunConfig, folder / RUN),
        load_config(ModelConfig, folder / CONFIG),
        load_config(TrainConfig, folder / TRAIN_CONFIG),
    )


def write_run(run: Run) -> None:
    """Write the three configurations."""
    values: dict[str, Any] = {RUN: run.config, CONFIG: run.model, TRAIN_CONFIG: run.train}
    for name, config in values.items():
        write_json(run.folder / name, to_dict(config))


def run_corpus(run: Run, data_dir: Path | None = None, columns: Mapping[str, str] | None = None) -> Corpus:
    """The corpus that a run was begun on, at ``data_dir`` if it has moved, with ``columns`` if renamed.

    Raises `DataError` if it is gone, or is not the same any more.
    """
    config = run.config
    if config.dataset is None or run.data_dir is None:
        raise DataError(f"{run.folder}: was made without a corpus, expected a run of mtab-train fit")
    corpus = validate(
        read_corpus(
            config.dataset,
            data_dir or run.data_dir,
            config.columns if columns is None else columns,
        )
    )
    if corpus_hash(corpus.utterances, run.model.dimensions) != config.corpus_sha256:
        raise DataError(f"{corpus.place}: has changed since {run.folder} was begun, expected the same corpus")
    return corpus


def unlabelled_corpus(run: Run) -> Corpus | None:
    """What a teacher alone has an answer to, None if nothing.

    Raises `DataError` if it is not the same any more.
    """
    if run.config.unlabelled_sha256 is None:
        return None
    corpus = validate(read_manifest(run.folder / UNLABELLED / f"{UNLABELLED}.csv", labelled=False))
    if corpus_hash(corpus.utterances) != run.config.unlabelled_sha256:
        raise DataError(
            f"{corpus.place}: what it lists has changed since {run.folder} was begun, expected the same clips"
        )
    return corpus


@dataclass(frozen=True, slots=True)
class Parts:
    """The utterances to train on, to choose an epoch by, and to score.

    By the paper's protocol ``validation`` are the test utterances themselves, by the fixed one there are
    none.
    """

    training: tuple[Utterance, ...]
    validation: tuple[Utterance, ...]
    test: tuple[Utterance, ...]


def run_parts(run: Run, corpus: Corpus) -> Parts:
    """A corpus divided by the run's fold and protocol.

    ``honest`` chooses on a validation split of the training sessions; ``paper`` on the test utterances
    themselves; ``fixed`` does not choose. The last two train on the validation split too. Raises `DataError`
    if a part that is needed is empty.
    """
    fold = find_fold(corpus, run.config.folds, run.config.fold, run.train.seed)
    if run.train.protocol == "paper":
        parts = Parts(fold.train + fold.validation, fold.test, fold.test)
    elif run.train.protocol == "fixed":
        parts = Parts(fold.train + fold.validation, (), fold.test)
    else:
        parts = Parts(fold.train, fold.validation, fold.test)
    for each in fields(Parts):
        if not getattr(parts, each.name) and (each.name, run.train.protocol) != ("validation", "fixed"):
            raise DataError(
                f"{corpus.place}: no {each.name} utterance in fold {fold.name}, expected some; "
                "see mtab-train data and --folds"
            )
    return parts


def read_history(folder: Path) -> tuple[dict[str, Any], ...]:
    """The rows of ``metrics.jsonl``, an epoch each. Raises `ConfigError` if a line is no object."""
    path = folder / METRICS
    if not path.is_file():
        raise ConfigError(f"{path}: not found, expected a line for each epoch")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise ConfigError(f"{path}:{number}: is no JSON object, expected the metrics of an epoch")
        rows.append(row)
    return tuple(rows)


def newest_run(root: Path = Path("runs")) -> Path:
    """The run below ``root`` that ended last. Raises `ConfigError` if none has."""
    ended = [path for path in root.rglob(RESULTS) if path.with_name(WEIGHTS).is_file()]
    if not ended:
        raise ConfigError(f"{root}: no finished run below it, expected one made by mtab-train fit")
    return max(ended, key=lambda path: path.stat().st_mtime).parent


def default_folder(corpus: Corpus, *parts: str) -> Path:
    """``runs/<corpus>-<part>-<date>-<time>``, each as a plain path component."""
    name = "-".join(map(path_component, (corpus.own_name or corpus.name, *parts)))
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
