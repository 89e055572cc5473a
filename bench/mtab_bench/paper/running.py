"""Running the rows in any order: a folder of one recipe, in it a run for each row, protocol and seed.

``recipe.json`` says what every figure of the folder rests on. ``runs/<row>/<protocol>-seed<N>/<fold>/`` holds
a fold: a run folder of `mtab_train` for a model, ``predictions.csv`` and ``floor.json`` for a floor. A fold
that is done is not done again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mtab
from mtab.config import load_config, to_dict
from mtab.data import Corpus, Fold, corpus_hash, make_folds
from mtab.errors import ConfigError, DataError
from mtab.files import atomic_folder, write_json
from mtab.progress import track
from mtab.provenance import Protocol
from mtab_bench.paper.floors import FloorFeatures, write_answers
from mtab_bench.paper.rows import Asked, FloorRow, Modalities, ModelRow, Row, protocols
from mtab_bench.sections.section import now
from mtab_train.config import ModelConfig
from mtab_train.cross_validation import cross_validate
from mtab_train.encoders import with_encoders
from mtab_train.run import PREDICTIONS, RESULTS, RUN, Run, open_run, write_run
from mtab_train.start import Start, describe_run

RECIPE, RUNS, FLOOR = "recipe.json", "runs", "floor.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """``recipe.json``: the corpus, its division, and what is trained; the same for every row of a folder.

    ``epochs`` is None for as many as each preset has. ``corpus_sha256`` is of all usable utterances.
    """

    dataset: str
    title: str
    synthetic: bool
    folds: str
    classes: tuple[str, ...]
    preset: str
    epochs: int | None
    corpus_sha256: str
    modalities: Modalities = "audio+text"
    created: str = field(default_factory=now)
    mtab_version: str = mtab.__version__


@dataclass(frozen=True, slots=True)
class FloorFold:
    """``floor.json``: what a floor's fold is of, and how many utterances of the corpus were left out."""

    corpus_sha256: str
    problems: int


@dataclass(frozen=True, slots=True)
class Job:
    """One row, run by one protocol with one seed over all folds."""

    row: Row
    protocol: Protocol
    seed: int

    @property
    def name(self) -> str:
        """``<row>/<protocol>-seed<N>``."""
        return f"{self.row.name}/{self.protocol}-seed{self.seed}"

    def folder(self, out: Path) -> Path:
        """Where its folds lie."""
        return out / RUNS / self.name


def make_recipe(
    corpus: Corpus, folds: str, preset: str, epochs: int | None, modalities: Modalities = "audio+text"
) -> Recipe:
    """The recipe of what is asked for. Raises `DataError` for folds that the corpus does not allow."""
    make_folds(corpus, folds)
    return Recipe(
        dataset=corpus.name,
        title=corpus.title,
        synthetic=corpus.synthetic,
        folds=folds,
        classes=corpus.labels,
        preset=preset,
        epochs=epochs,
        corpus_sha256=corpus_hash(corpus.utterances),
        modalities=modalities,
    )


def begin(out: Path, recipe: Recipe) -> Recipe:
    """Write the recipe into its folder, or go on with the one that is there.

    Raises `ConfigError` if that one is another, also where only the corpus has changed since.
    """
    path = out / RECIPE
    if not path.exists():
        write_json(path, to_dict(recipe))
        return recipe
    begun = load_config(Recipe, path)
    for name in ("corpus_sha256", "dataset", "title", "folds", "classes", "preset", "epochs", "modalities"):
        before, after = getattr(begun, name), getattr(recipe, name)
        if before != after:
            if name == "corpus_sha256" and begun.title == recipe.title:
                found = f"the corpus has changed since: found {after[:12]}…, expected {before[:12]}…"
            else:
                found = f"was begun with {name} {_shown(before)}, found {_shown(after)}"
            raise ConfigError(f"{path}: {found}; choose another --out")
    return begun


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def make_jobs(rows: Sequence[Row], recipe: Recipe, asked: Asked, seeds: int) -> list[Job]:
    """What there is to run. A floor has no chance in it: it gets further seeds only where folds have."""
    return [
        Job(row, protocol, seed)
        for row in rows
        for protocol in protocols(row, recipe.preset, asked)
        for seed in range(seeds if isinstance(row, ModelRow) or drawn_by_seed(recipe.folds) else 1)
    ]


def drawn_by_seed(folds: str) -> bool:
    """Whether a scheme's test parts depend on the seed."""
    return folds.startswith("random")


def run_job(
    job: Job,
    recipe: Recipe,
    corpus: Corpus,
    out: Path,
    cluster: str | None = None,
    init_from: Path | None = None,
    **machine: Any,
) -> None:
    """Do all folds of a job that are not done; ``cluster`` and ``machine`` as of `cross_validate`.

    ``init_from`` is the run that a pre-trained row starts from. Raises `DataError` if the corpus has changed
    since the recipe was begun, and `ConfigError` if the row was begun from another run.
    """
    if (found := corpus_hash(corpus.utterances)) != recipe.corpus_sha256:
        raise DataError(
            f"{corpus.place}: has changed between folds: found {found[:12]}…, expected "
            f"{recipe.corpus_sha256[:12]}… as in {out / RECIPE}; choose another --out"
        )
    if isinstance(job.row, FloorRow):
        _run_floor(job, job.row, recipe, corpus, out)
    else:
        cross_validate(_begin_model(job, job.row, recipe, corpus, out, init_from), corpus, cluster, **machine)


def folds_left(job: Job, recipe: Recipe, corpus: Corpus, out: Path) -> list[Fold]:
    """The folds of a job that are not done."""
    done = FLOOR if isinstance(job.row, FloorRow) else RESULTS
    folds = make_folds(corpus, recipe.folds, job.seed)
    return [fold for fold in folds if not (job.folder(out) / fold.folder / done).is_file()]


def row_start(row: ModelRow, recipe: Recipe, protocol: Protocol, seed: int) -> Start:
    """The configurations that a row's model starts from; no checkpoint is looked for."""
    preset = row.recipe(recipe.preset, recipe.epochs, recipe.modalities)
    train = replace(preset.train, protocol=protocol, seed=seed)
    return Start(preset.model, train, row.named_preset(recipe.preset))


def _begin_model(
    job: Job, row: ModelRow, recipe: Recipe, corpus: Corpus, out: Path, init_from: Path | None
) -> Run:
    folder = job.folder(out)
    first = init_from.resolve() if row.pretrained and init_from is not None else None
    if not (folder / RUN).is_file():
        start = row_start(row, recipe, job.protocol, job.seed)
        if first is None:
            model = with_encoders(start.model, start.model.audio_model, start.model.text_model)
        else:
            model = _pretrained(first, start)
        start = replace(start, model=model, init_from=first)
        with atomic_folder(folder) as partial:
            write_run(describe_run(partial, start, corpus, recipe.folds, None))
    run = open_run(folder)
    if (begun := run.config.init_from) != (first and str(first)):
        raise ConfigError(
            f"{folder}: was begun from {begun}, found --init-from {first}; choose another --out"
        )
    return run


def _pretrained(folder: Path, start: Start) -> ModelConfig:
    """The model of the run that a row starts from. Raises `ConfigError` if it is not the row's."""
    run = open_run(folder)
    found = run.config.preset, "+".join(run.model.modalities)
    expected = start.preset, "+".join(start.model.modalities)
    if found != expected:
        raise ConfigError(f"{folder}: is of {' with '.join(found)}, expected {' with '.join(expected)}")
    return replace(run.model, classifier_heads="joint")


def _run_floor(job: Job, row: FloorRow, recipe: Recipe, corpus: Corpus, out: Path) -> None:
    left = folds_left(job, recipe, corpus, out)
    if not left:
        return
    features = FloorFeatures(row, corpus)
    for fold in track(left, f"{row.title}, training", "folds"):
        folder = job.folder(out) / fold.folder
        write_answers(folder / PREDICTIONS, features.answer(fold))
        write_json(folder / FLOOR, to_dict(FloorFold(recipe.corpus_sha256, len(features.problems))))
