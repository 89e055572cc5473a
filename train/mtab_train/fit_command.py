"""``mtab-train fit``: train on one fold."""

import dataclasses
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from mtab.console import Command
from mtab.errors import DataError, MtabError
from mtab.options import corpora_options
from mtab.types import Dimension
from mtab_train.options import (
    cache_option,
    folds_option,
    heads_option,
    machine_options,
    model_options,
    one_corpus,
    read_corpora,
    run_options,
    set_threads,
    start_from,
    tasks_option,
    train_options,
)

if TYPE_CHECKING:
    from mtab.data import Corpus
    from mtab_train.config import ModelConfig
    from mtab_train.run import Run
    from mtab_train.start import Start

_MACHINE = ("device", "workers", "cache")


@click.command(cls=Command)
@corpora_options
@folds_option
@click.option("--fold", metavar="NAME", help="Fold whose test set is scored.  [default: the first]")
@run_options
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run to go on with, all else but the machine's options lies there; with --epochs a finished run to "
    "train for more.",
)
@model_options
@tasks_option
@heads_option
@train_options
@machine_options
@cache_option
def fit(**values: Any) -> None:
    """Train a model on one fold, choose an epoch, score the test set once.

    The run folder is complete in itself: configuration, tokenizer, weights, metrics (JSON lines and
    TensorBoard), predictions, results, pictures. Interrupted at any moment, --resume goes on from the last
    epoch's end and reaches the same weights.

    \b
    Examples:
      mtab-train fit --dataset iemocap --data-dir data/iemocap --preset tiny
      mtab-train fit --dataset meld --preset base --mixed-precision bf16 --max-seconds 13.125
      mtab-train fit --dataset manifest --data-dir my.csv --init-from runs/iemocap-tiny-session-1
      mtab-train fit --dataset ravdess --dataset nemo --label-map labels.csv --folds speaker-group:5
      mtab-train fit --dataset ravdess --dataset nemo --classifier-heads corpus --folds speaker-group:5
      mtab-train fit --resume runs/iemocap-tiny-session-1
      mtab-train fit --resume runs/iemocap-tiny-session-1 --epochs 30
    """
    from mtab_train.run import open_run, run_corpus

    set_threads(values["threads"])
    if values["resume"] is None:
        train_new(values, *new_start(values))
        return
    if _given("epochs"):
        run = _continued(values)
    else:
        refuse_repeated(values)
        run = open_run(values["resume"])
    train(run, run_corpus(run), values)


def train_new(values: dict[str, Any], start: "Start", corpus: "Corpus", scheme: str) -> None:
    """Begin a run and train it; what this machine or the clips refuse was never begun."""
    from mtab.data import find_fold, make_folds
    from mtab_train.run import default_folder
    from mtab_train.start import begin_run

    seed = start.train.seed
    fold = find_fold(corpus, scheme, values["fold"] or make_folds(corpus, scheme, seed)[0].name, seed)
    warn(corpus, scheme, [fold])
    folder = values["out"] or default_folder(corpus, start.preset, fold.folder)
    if not values["overwrite"]:
        _refuse_run(folder)
    run = begin_run(folder, start, corpus, scheme, fold.name, values["overwrite"])
    train(run, corpus, values, new=True)


def train(run: "Run", corpus: "Corpus", values: dict[str, Any], new: bool = False) -> None:
    """Train a run to its end, and print what it came to."""
    from mtab_train.results import format_scores, format_teacher
    from mtab_train.trainer import Trainer

    click.echo(f"{run.config.title}, fold {run.config.fold}, protocol {run.train.protocol}: {run.folder}")
    with resumable(f"mtab-train fit --resume {run.folder}"):
        try:
            trainer = Trainer(run, corpus, **machine(values))
        except MtabError:
            if new:
                shutil.rmtree(run.folder, ignore_errors=True)
            raise
        results = trainer.fit()
    click.echo(
        f"\nepoch {results.selected_epoch} on {results.test.utterances} test utterances of {run.config.title}"
    )
    click.echo(format_scores(results.test, results.chance))
    if results.teacher is not None:
        click.echo(f"\n{format_teacher(results)}")


def new_start(values: dict[str, Any]) -> "tuple[Start, Corpus, str]":
    """What a new run starts from, its checked corpus, and how that is divided."""
    from mtab.data import default_scheme, labels_by_corpus, validate

    if not values["datasets"]:
        raise click.UsageError("Missing option '--dataset' (or --resume).")
    start = start_from(values)
    corpora = [validate(corpus) for corpus in read_corpora(values)]
    corpus = one_corpus(corpora, values["label_map"])
    if start.model.classifier_heads == "corpus":
        corpus = labels_by_corpus(corpus)
    for notice in corpus.notices:
        click.echo(f"Notice: {notice}", err=True)
    if start.init_from is not None and set(corpus.labels) != set(start.model.labels):
        click.echo(_taken_over(start.init_from, start.model.labels, corpus), err=True)
    start = dataclasses.replace(start, model=with_tasks(start.model, values["tasks"], corpus))
    return start, corpus, values["folds"] or default_scheme(corpus)


def _taken_over(source: Path, theirs: Sequence[str], corpus: "Corpus") -> str:
    """What becomes of the classes of the run that is started from."""
    from mtab_train.start import classes_taken

    taken = classes_taken(corpus, theirs)
    fates = {
        "kept": [label for label in corpus.labels if label in taken],
        "begun anew": [label for label in corpus.labels if label not in taken],
        "dropped": [label for label in theirs if label not in taken.values()],
    }
    told = "; ".join(f"{fate}: {', '.join(labels)}" for fate, labels in fates.items() if labels)
    return f"Notice: other classes than {source}'s; {told}"


def with_tasks(model: "ModelConfig", tasks: str | None, corpus: "Corpus") -> "ModelConfig":
    """The model for ``tasks`` on a corpus: with the dimensions that it has ratings of, or with none.

    Without ``tasks`` as the model has some or none. Raises `DataError` if there is no rating to learn from.
    """
    if not (model.dimensions if tasks is None else tasks == "emotion,dimensions"):
        return dataclasses.replace(model, dimensions=())
    known = get_args(Dimension)
    rated = {name for utterance in corpus.utterances for name in utterance.dimensions}
    if not rated:
        raise DataError(
            f"{corpus.place}: no utterance is rated, expected numbers under {', '.join(known[:-1])} or "
            f"{known[-1]}; see --tasks"
        )
    return dataclasses.replace(model, dimensions=tuple(name for name in known if name in rated))


def warn(corpus: "Corpus", scheme: str, folds: Iterable[Any]) -> None:
    """Say what a reader of the folds' figures should know."""
    from mtab.data import fold_warnings

    for warning in fold_warnings(corpus, scheme, list(folds)):
        click.echo(f"Warning: {warning}", err=True)


def refuse_repeated(values: dict[str, Any], besides: tuple[str, ...] = ()) -> None:
    """Refuse what a run that is resumed decides itself, and a run that has finished."""
    from mtab_train.run import RESULTS

    for name in values.keys() - {"resume", "threads", "cluster", *_MACHINE, *besides}:
        if _given(name):
            raise click.UsageError(f"--{name.replace('_', '-')} and --resume: the run has it already")
    if not besides and (values["resume"] / RESULTS).is_file():
        raise MtabError(
            f"{values['resume']}: has finished already; its results are in {RESULTS}, and --epochs trains it "
            "for more"
        )


def machine(values: dict[str, Any]) -> dict[str, Any]:
    """What `Trainer` takes beside the run and its corpus."""
    return {name: values[name] for name in _MACHINE}


@contextmanager
def resumable(command: str) -> Iterator[None]:
    """Say how to go on with what is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\nInterrupted; to go on: {command}", err=True)
        sys.exit(130)


def _given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _continued(values: dict[str, Any]) -> "Run":
    """The finished run, made ready for more epochs."""
    from mtab_train.run import RESULTS
    from mtab_train.start import continue_run

    folder, epochs = values["resume"], values["epochs"]
    if not (folder / RESULTS).is_file():
        raise click.UsageError(
            f"--epochs and --resume: {folder} is no finished run, which alone can be trained for more epochs"
        )
    refuse_repeated(values, ("epochs",))
    run = continue_run(folder, epochs)
    click.echo(
        "continued from the chosen epoch's weights, with a new optimizer and a schedule of its own for the "
        "epochs that are added"
    )
    return run


def _refuse_run(folder: Path) -> None:
    """Refuse to begin where a run lies, and say what can be done with it."""
    from mtab_train.run import RESULTS, RUN

    if (folder / RESULTS).is_file():
        raise MtabError(
            f"{folder}: exists already, a finished run; --resume {folder} --epochs N trains it for more, "
            "--overwrite replaces it"
        )
    if (folder / RUN).is_file():
        raise MtabError(
            f"{folder}: exists already, an unfinished run; --resume {folder} goes on with it, --overwrite "
            "replaces it"
        )
