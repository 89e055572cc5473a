"""``mtab-train distill``: train a small model on what a large one answers."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtab.console import Command
from mtab.errors import DataError
from mtab.options import corpora_options
from mtab_train.fit_command import new_start, train_new
from mtab_train.options import (
    cache_option,
    distillation_options,
    folds_option,
    machine_options,
    model_options,
    run_options,
    set_threads,
    train_options,
)

if TYPE_CHECKING:
    from mtab.data import Corpus
    from mtab_train.teacher import Teacher


@click.command(cls=Command)
@click.option(
    "--teacher",
    "folder",
    type=click.Path(path_type=Path),
    metavar="RUN",
    required=True,
    help="Run folder or bundle whose answers are learned.",
)
@corpora_options
@folds_option
@click.option("--fold", metavar="NAME", help="Fold whose test set is scored.  [default: the teacher's]")
@click.option(
    "--unlabelled",
    type=click.Path(path_type=Path),
    help="Recordings that nobody labelled, to ask the teacher about: a folder of clips, or a manifest with "
    "the columns audio and text.",
)
@distillation_options
@run_options
@model_options
@train_options
@machine_options
@cache_option
def distill(folder: Path, unlabelled: Path | None, **values: Any) -> None:
    """Train a student on a teacher's answers, and score both on the test set.

    The student learns the labels of the training part, the teacher's probabilities for each of its clips and
    for the variants that --augment-copies makes of it, and which utterances the teacher finds alike. The
    teacher is asked once; a run that is interrupted goes on with mtab-train fit --resume.

    Corpus and folds are the teacher's unless others are named, so that neither was trained on what both are
    scored on. A bundle does not know where its corpus lies: give --dataset and --data-dir.

    \b
    Examples:
      mtab-train distill --teacher runs/iemocap-base --preset compact
      mtab-train distill --teacher runs/iemocap-base --preset compact --unlabelled calls/
      mtab-train distill --teacher bundle --dataset meld --data-dir MELD --modalities text --preset tiny
    """
    from mtab_train.teacher import open_teacher

    set_threads(values["threads"])
    teacher = open_teacher(folder)
    values |= _of_teacher(teacher, values)
    start, corpus, scheme = new_start(values | {"tasks": None})
    _require_classes(teacher, corpus)
    start = dataclasses.replace(
        start, teacher=teacher.config, unlabelled=None if unlabelled is None else _read_unlabelled(unlabelled)
    )
    train_new(values, start, corpus, scheme)


def _of_teacher(teacher: "Teacher", values: dict[str, Any]) -> dict[str, Any]:
    """What the options leave open and the teacher's training decides: the corpus, and how it is divided."""
    from mtab_train.run import RUN, open_run

    chosen: dict[str, Any] = {}
    if not values["datasets"] and teacher.dataset is not None:
        chosen["datasets"] = (teacher.dataset,)
        if not values["data_dirs"] and (teacher.folder / RUN).is_file():
            run = open_run(teacher.folder)
            chosen |= {"data_dirs": (run.data_dir,), "columns": run.config.columns}
    if (chosen.get("datasets") or values["datasets"]) == (teacher.dataset,) and values["folds"] is None:
        chosen["folds"] = teacher.folds
        if values["fold"] is None:
            chosen["fold"] = teacher.fold
    return chosen


def _require_classes(teacher: "Teacher", corpus: "Corpus") -> None:
    if set(corpus.labels) != set(teacher.labels):
        raise DataError(
            f"{corpus.place}: has the classes {', '.join(corpus.labels)}, expected those of the teacher "
            f"{teacher.folder}: {', '.join(teacher.labels)}; see --label-map"
        )


def _read_unlabelled(path: Path) -> "Corpus":
    """Recordings without labels, those left out that cannot be read."""
    from mtab.commands.recordings import recordings
    from mtab.data import Corpus, Utterance, read_manifest, validate
    from mtab_train.run import UNLABELLED
    from mtab_train.trainer import problem_lines

    if path.is_dir() and not (path / "manifest.csv").is_file():
        clips = recordings([path], skip=False)
        found = Corpus(
            "manifest",
            path,
            (),
            tuple(Utterance(clip.relative_to(path).as_posix(), clip, None, "") for clip in clips),
        )
    else:
        found = read_manifest(path, labelled=False)
    found = validate(found)
    for line in problem_lines(found.problems):
        click.echo(line, err=True)
    if not found.utterances:
        raise DataError(f"{path}: no recording can be used, expected some to ask the teacher about")
    nobody = tuple(dataclasses.replace(each, label="") for each in found.utterances)
    return dataclasses.replace(found, utterances=nobody, labels=(), own_name=UNLABELLED)
