"""What a folder of runs comes to: ``paper.json``, made of the folds' predictions and of nothing else."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtab.config import load_config
from mtab.data import Corpus, Fold, fold_warnings, make_folds
from mtab.errors import ConfigError, DataError
from mtab.provenance import Protocol
from mtab_bench.paper.cited import CITED, CitedCorpus, CitedRow
from mtab_bench.paper.figures import (
    Answered,
    Difference,
    Figures,
    FoldFigures,
    Pooled,
    deviation_of,
    difference_from,
    fold_figures,
    mean_of,
    pooled_figures,
)
from mtab_bench.paper.rows import ROWS, FloorRow
from mtab_bench.paper.running import FLOOR, RECIPE, FloorFold, Job, Recipe
from mtab_train.results import read_results
from mtab_train.run import PREDICTIONS, RESULTS, RUN, open_run, read_history

SCHEMA_VERSION = 1
REFERENCE = "mul-tab"
"""The row that the others of its table are compared with; the table's first where it is not there."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A fold's training by epoch, from 1: loss in nats and WAR of its training part and of what it chose by.

    ``chose_by`` is validation, test, or None where nothing chose; then the last two are empty.
    """

    fold: str
    chose_by: str | None
    losses: tuple[float, ...]
    wars: tuple[float, ...]
    selection_losses: tuple[float, ...]
    selection_wars: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row by one protocol with one seed, over the folds that are done, of ``fold_count``.

    ``test_speakers`` says that statistics of the test speakers helped; no figure with them is comparable
    with one without. ``preset`` is None for a floor. ``std`` is None of one fold, ``difference`` of the
    reference itself. ``corpus_sha256`` is of the whole corpus, ``problems`` of it could not be used.
    """

    row: str
    title: str
    preset: str | None
    protocol: Protocol
    test_speakers: bool
    seed: int
    corpus_sha256: str
    problems: int
    fold_count: int
    folds: tuple[FoldFigures, ...]
    mean: Figures
    std: Figures | None
    best_fold: str
    pooled: Pooled
    difference: Difference | None
    curves: tuple[Curve, ...]

    @property
    def complete(self) -> bool:
        """Whether every fold is done."""
        return len(self.folds) == self.fold_count

    @property
    def best(self) -> FoldFigures:
        """The figures of the best fold, by WAR."""
        return next(each for each in self.folds if each.fold == self.best_fold)


@dataclass(frozen=True, slots=True)
class FoldSize:
    """How many utterances of each class a fold trains on (its validation part included) and is tested on."""

    fold: str
    training: dict[str, int]
    test: dict[str, int]


@dataclass(frozen=True, slots=True)
class Paper:
    """``paper.json``. ``left_out`` are the rows that cannot be run here, and why.

    ``utterances`` are those of the corpus by class, ``problems`` of it were skipped when it was read.
    ``notes`` are what a reader of the figures should know.
    """

    schema_version: int
    recipe: Recipe
    utterances: dict[str, int]
    problems: int
    folds: tuple[FoldSize, ...]
    entries: tuple[Entry, ...]
    left_out: dict[str, str]
    notes: tuple[str, ...]

    @property
    def cited(self) -> CitedCorpus | None:
        """What the paper reports on a corpus of this layout; never compared with synthetic speech."""
        return None if self.recipe.synthetic else CITED.get(self.recipe.dataset)

    def cited_row(self, entry: Entry) -> CitedRow | None:
        """The paper's figures of an entry's row."""
        rows = () if self.cited is None else self.cited.rows
        return next((each for each in rows if each.row == entry.row), None)

    def comparable(self, entry: Entry) -> bool:
        """Whether corpus, division, classes and protocol are the paper's, and every fold is done."""
        cited, recipe = self.cited, self.recipe
        return (
            cited is not None
            and (recipe.folds, recipe.classes) == (cited.folds, cited.classes)
            and entry.protocol == "paper"
            and entry.complete
        )

    @property
    def groups(self) -> list[list[Entry]]:
        """The entries that may share a column: of one protocol, with test speakers' statistics or without."""
        found: dict[tuple[bool, str], list[Entry]] = {}
        for entry in self.entries:
            found.setdefault((entry.test_speakers, entry.protocol), []).append(entry)
        return [found[key] for key in sorted(found, key=lambda key: (key[0], _ORDER.index(key[1])))]


_ORDER: tuple[Protocol, ...] = ("honest", "fixed", "paper")


def gather(
    out: Path, recipe: Recipe, corpus: Corpus, left_out: Mapping[str, str]
) -> tuple[Paper, dict[str, list[Answered]]]:
    """Every fold that is done in a folder of runs, whichever command did it; and its answers, by job.

    Raises `DataError` if a fold is of another state of the corpus, or its predictions are not of its test
    utterances; `ConfigError` if a file of it is missing or damaged.
    """
    found: dict[str, tuple[Entry, list[Answered]]] = {}
    for job in _jobs(out):
        folds = make_folds(corpus, recipe.folds, job.seed)
        if (entry := _entry(job, recipe, folds, out)) is not None:
            found[job.name] = entry
    folds = make_folds(corpus, recipe.folds)
    entries = [entry for entry, _ in found.values()]
    answers = {(each.row, each.protocol, each.seed): given for each, given in found.values()}
    counts = Counter(each.label for each in corpus.utterances)
    paper = Paper(
        schema_version=SCHEMA_VERSION,
        recipe=recipe,
        utterances={label: counts[label] for label in recipe.classes},
        problems=len(corpus.problems),
        folds=tuple(_size(fold, recipe.classes) for fold in folds),
        entries=tuple(
            replace(each, difference=_difference(each, entries, answers, recipe.classes)) for each in entries
        ),
        left_out=dict(left_out),
        notes=_notes(corpus, recipe, folds, entries),
    )
    return paper, {name: given for name, (_, given) in found.items()}


def _jobs(out: Path) -> list[Job]:
    """What there are folders of, in the order of the tables."""
    jobs = []
    for row in ROWS.values():
        for protocol in _ORDER:
            seed = 0
            while (job := Job(row, protocol, seed)).folder(out).is_dir():
                jobs.append(job)
                seed += 1
    return jobs


def _entry(job: Job, recipe: Recipe, folds: Sequence[Fold], out: Path) -> tuple[Entry, list[Answered]] | None:
    """A row over its folds that are done, and its answers; None if none is."""
    row, floor = job.row, isinstance(job.row, FloorRow)
    figures: list[FoldFigures] = []
    curves: list[Curve] = []
    answers: list[Answered] = []
    problems = 0
    for fold in folds:
        folder = job.folder(out) / fold.folder
        if not (folder / (FLOOR if floor else RESULTS)).is_file():
            continue
        epoch = None
        if floor:
            about = load_config(FloorFold, folder / FLOOR)
            found, skipped = about.corpus_sha256, about.problems
        else:
            found, results = open_run(folder).config.corpus_sha256, read_results(folder)
            skipped, epoch = results.problems, results.selected_epoch
            curves.append(_curve(fold.name, folder))
        _require_corpus(folder / (FLOOR if floor else RUN), str(found), recipe, out)
        given = read_predictions(folder / PREDICTIONS, fold, recipe.classes)
        figures.append(fold_figures(fold.name, given, recipe.classes, epoch))
        answers += given
        problems = max(problems, skipped)
    if not figures:
        return None
    entry = Entry(
        row=row.name,
        title=row.title,
        preset=None if isinstance(row, FloorRow) else row.named_preset(recipe.preset),
        protocol=job.protocol,
        test_speakers=isinstance(row, FloorRow) and row.test_speakers,
        seed=job.seed,
        corpus_sha256=recipe.corpus_sha256,
        problems=problems,
        fold_count=len(folds),
        folds=tuple(figures),
        mean=mean_of(figures),
        std=deviation_of(figures),
        best_fold=max(figures, key=lambda each: each.figures.war).fold,
        pooled=pooled_figures(answers, recipe.classes),
        difference=None,
        curves=tuple(curves),
    )
    return entry, answers


def _require_corpus(path: Path, found: str, recipe: Recipe, out: Path) -> None:
    if found != recipe.corpus_sha256:
        raise DataError(
            f"{path}: is of corpus {found[:12]}…, expected {recipe.corpus_sha256[:12]}… as in "
            f"{out / RECIPE}: the corpus changed between folds; choose another --out"
        )


def read_predictions(path: Path, fold: Fold, labels: Sequence[str]) -> list[Answered]:
    """The answers of a fold's ``predictions.csv``.

    Raises `ConfigError` if it is missing or has a line that is no answer; `DataError` if an utterance is not
    of the fold's test part, or is there twice.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: not found, expected the answers of fold {fold.name}; delete its folder")
    true = {each.id: each.label for each in fold.test}
    answers: list[Answered] = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values = [row.get(name) for name in ("utterance", "label", "predicted")]
            found = [value for value in values if value is not None]
            if len(found) < 3 or found[2] not in labels:
                expected = f"an utterance, its label and one of {', '.join(labels)}"
                raise ConfigError(f"{path}: holds {', '.join(found) or 'nothing'}, expected {expected}")
            if true.pop(found[0], None) != found[1]:
                raise DataError(
                    f"{path}: {found[0]} of {found[1]}, expected each test utterance of fold {fold.name} once"
                )
            answers.append(Answered(*found))
    if not answers:
        raise ConfigError(f"{path}: holds no answer, expected those of fold {fold.name}")
    return answers


def _curve(fold: str, folder: Path) -> Curve:
    history = read_history(folder)
    chose_by = next((part for part in ("validation", "test") if part in history[-1]), None)

    def of(part: str, key: str) -> tuple[float, ...]:
        return tuple(float(row[part][key]) for row in history)

    selection: Any = ((), ()) if chose_by is None else (of(chose_by, "loss"), of(chose_by, "war"))
    return Curve(fold, chose_by, of("train", "loss"), of("train", "war"), *selection)


def _size(fold: Fold, labels: Sequence[str]) -> FoldSize:
    training = Counter(each.label for each in (*fold.train, *fold.validation))
    test = Counter(each.label for each in fold.test)
    return FoldSize(
        fold.name, {label: training[label] for label in labels}, {label: test[label] for label in labels}
    )


def _difference(
    entry: Entry,
    entries: Sequence[Entry],
    answers: Mapping[tuple[str, str, int], list[Answered]],
    labels: Sequence[str],
) -> Difference | None:
    """From the reference of its group, of the same seed where there is one."""
    group = [
        each
        for each in entries
        if (each.protocol, each.test_speakers) == (entry.protocol, entry.test_speakers)
    ]
    name = REFERENCE if any(each.row == REFERENCE for each in group) else group[0].row
    if entry.row == name:
        return None
    seeds = [each.seed for each in group if each.row == name]
    seed = entry.seed if entry.seed in seeds else seeds[0]
    before = answers[name, entry.protocol, seed]
    return difference_from(name, before, answers[entry.row, entry.protocol, entry.seed], labels)


def _notes(
    corpus: Corpus, recipe: Recipe, folds: Sequence[Fold], entries: Sequence[Entry]
) -> tuple[str, ...]:
    notes = []
    if recipe.synthetic:
        notes.append(
            "Synthetic speech: the figures show that the recipe works from end to end, not how well people's "
            "emotions are recognised."
        )
    notes += fold_warnings(corpus, recipe.folds, folds)
    for label in recipe.classes:
        if lacking := [fold.name for fold in folds if all(each.label != label for each in fold.test)]:
            notes.append(
                f"no test utterance of {label} in {', '.join(lacking)}: UAR is over the others there"
            )
    notes += [
        f"{each.title}, {each.protocol} protocol, seed {each.seed}: {len(each.folds)} of {each.fold_count} "
        "folds are done, its figures are of these alone"
        for each in entries
        if not each.complete
    ]
    return tuple(notes)
