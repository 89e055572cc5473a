"""Which utterances graphs are judged on, and which fixed int8 ranges are taken from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mtab.data import Corpus, Utterance, read_corpus, validate
from mtab.errors import DataError
from mtab_train.run import Run, run_corpus, run_parts


def utterances_to_compare(
    run: Run,
    dataset: str | None = None,
    data_dir: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> tuple[Corpus, Sequence[Utterance]]:
    """The test part that the run was scored on, or all of another corpus.

    Raises `DataError` if the corpus is not there, or is not the one that the run was begun on.
    """
    if dataset is not None:
        corpus = validate(read_corpus(dataset, data_dir, columns))
        return corpus, corpus.utterances
    if run.config.dataset is None:
        raise DataError(f"{run.folder}: was never trained, expected --dataset to compare on")
    corpus = run_corpus(run, data_dir, columns)
    return corpus, run_parts(run, corpus).test


def utterances_to_calibrate(
    run: Run,
    calibration_data: Path | None = None,
    data_dir: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> Sequence[Utterance]:
    """What fixed int8 ranges are taken from: the run's training part, never what a graph is judged on.

    Or all of the corpus in ``calibration_data``, which has the layout of the run's. Raises `DataError` if it
    is not there, or the run was never trained.
    """
    if run.config.dataset is None:
        raise DataError(
            f"{run.folder}: was never trained, expected a run whose training part gives int8 for TensorRT "
            "its ranges"
        )
    if calibration_data is not None:
        own = run.config.columns if columns is None else columns
        return validate(read_corpus(run.config.dataset, calibration_data, own)).utterances
    return run_parts(run, run_corpus(run, data_dir, columns)).training
