"""Scoring a finished run's model, on its own test set or on other data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtab.config import from_dict, to_dict
from mtab.data import (
    Corpus,
    Problem,
    Utterance,
    corpus_hash,
    map_labels,
    read_corpus,
    read_label_map,
    validate,
)
from mtab.errors import DataError, MtabError
from mtab.files import atomic_folder, write_json
from mtab.preprocess import Preprocessor
from mtab.progress import progress
from mtab.provenance import Scores
from mtab_train import plots
from mtab_train.batch_model import BatchModel
from mtab_train.batches import ExampleDataset
from mtab_train.calibration import calibrated, calibration_scores
from mtab_train.checkpoint import load_model
from mtab_train.config import TrainConfig
from mtab_train.examples import Example, lengths, prepare
from mtab_train.metrics import Chance, chance_of
from mtab_train.micro_batches import MicroBatches
from mtab_train.run import CONFUSION_MATRIX, PREDICTIONS, RESULTS, Run, run_corpus, run_parts
from mtab_train.sampling import evaluation_batches
from mtab_train.scoring import answer, answer_scores, classes, in_order, write_predictions
from mtab_train.trainer import make_accelerator

SCORES = "scores.json"


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What a run's model answers on some utterances, and how good that is.

    ``title`` names them; ``probabilities`` are (examples, classes), ``dimensions`` (examples, dimensions).
    ``problems`` were skipped.
    """

    run: Run
    title: str
    corpus: Corpus
    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]
    probabilities: np.ndarray
    dimensions: np.ndarray
    scores: Scores

    @property
    def chance(self) -> Chance:
        """What answering without looking gets on these utterances."""
        return chance_of(self.scores.confusion_matrix, self.run.model.corpora)


def evaluate_run(
    run: Run,
    dataset: str | None = None,
    data_dir: Path | None = None,
    columns: Mapping[str, str] | None = None,
    device: str = "auto",
    workers: int = 0,
    batch_size: int = 8,
    label_map: Path | None = None,
) -> Evaluation:
    """Score a run on its test set, or on all utterances of another corpus, its labels by ``label_map``.

    Raises `DataError` if the other corpus has a label that the model or the map does not know, or is the one
    that the run was trained on; `MtabError` if the run has not finished.
    """
    if run.config.dataset is not None and not (run.folder / RESULTS).is_file():
        raise MtabError(
            f"{run.folder}: has not finished, expected a finished run; see mtab-train fit --resume"
        )
    corpus, utterances, title = _utterances(run, dataset, data_dir, columns, label_map)
    labels = run.model.labels
    if unknown := sorted({utterance.label for utterance in utterances} - set(labels)):
        raise DataError(
            f"{corpus.place}: label {unknown[0]!r}, expected those of {run.folder}: {', '.join(labels)}"
        )
    preprocess = Preprocessor.from_folder(run.folder)
    prepared = prepare(corpus, utterances, preprocess, run.model)
    where = make_accelerator(device, TrainConfig()).device
    model = BatchModel(load_model(run), TrainConfig()).to(where)
    batches = evaluation_batches(lengths(prepared.examples), batch_size)
    dataset_ = ExampleDataset(prepared.examples, preprocess)
    with progress("answering", len(batches), "batches") as shown:
        micro_batches = MicroBatches(run.folder, where)
        answers = answer(model, dataset_, batches, micro_batches, workers, shown.update)
    found = in_order(answers)
    logits, temperature = found.logits, float(model.model.temperature)
    measured = answer_scores(found, prepared.examples, labels, run.model.dimensions)
    measured["ece"] = to_dict(calibration_scores(logits, classes(prepared.examples), temperature).ece)
    return Evaluation(
        run,
        title,
        corpus,
        prepared.examples,
        tuple(dict.fromkeys((*corpus.problems, *prepared.problems))),
        calibrated(logits, temperature),
        found.dimensions,
        from_dict(Scores, measured, "scores"),
    )


def _utterances(
    run: Run,
    dataset: str | None,
    data_dir: Path | None,
    columns: Mapping[str, str] | None,
    label_map: Path | None,
) -> tuple[Corpus, tuple[Utterance, ...], str]:
    if dataset is None:
        corpus = run_corpus(run, data_dir, columns)
        return corpus, run_parts(run, corpus).test, f"{run.config.title}, test set of fold {run.config.fold}"
    corpus = validate(read_corpus(dataset, data_dir, columns))
    if label_map is not None:
        corpus = map_labels(corpus, read_label_map(label_map))
    if corpus_hash(corpus.utterances, run.model.dimensions) == run.config.corpus_sha256:
        raise DataError(
            f"{corpus.place}: is the corpus that {run.folder} was trained on; "
            "without --dataset its test set is scored"
        )
    return corpus, corpus.utterances, corpus.title


def write_evaluation(evaluation: Evaluation, folder: Path, overwrite: bool = False) -> None:
    """Write ``scores.json``, ``predictions.csv`` and ``confusion_matrix.png``, all or none of them."""
    labels, dimensions = evaluation.run.model.labels, evaluation.run.model.dimensions
    with atomic_folder(folder, overwrite) as partial:
        write_json(
            partial / SCORES,
            {
                "run": str(evaluation.run.folder),
                "dataset": evaluation.corpus.name,
                "title": evaluation.title,
                "synthetic": evaluation.corpus.synthetic,
                "corpus_sha256": corpus_hash(tuple(each.utterance for each in evaluation.examples)),
                "scores": to_dict(evaluation.scores),
                "chance": to_dict(evaluation.chance),
                "problems": len(evaluation.problems),
            },
        )
        write_predictions(
            partial / PREDICTIONS,
            evaluation.examples,
            evaluation.probabilities,
            labels,
            evaluation.dimensions,
            dimensions,
        )
        matrix = evaluation.scores.confusion_matrix
        plots.save_confusion_matrix(matrix, labels, partial / CONFUSION_MATRIX, evaluation.title)
