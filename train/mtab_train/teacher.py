"""The model that a student learns from: a run or a bundle, and what it answers, kept in the cache folder."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mtab.bundle import MANIFEST, open_bundle
from mtab.data import Problem
from mtab.data.clips import clip_hash, read_clips
from mtab.data.reading import read_utterances
from mtab.errors import ConfigError
from mtab.files import atomic_file, cache_dir, sha256
from mtab.loading import load, open_preprocessor, resolve
from mtab.preprocess import Preprocessor
from mtab.progress import track
from mtab.types import Modality
from mtab_train import augmentation
from mtab_train.checkpoint import load_model
from mtab_train.examples import Example
from mtab_train.micro_batches import no_memory
from mtab_train.run import RUN, TeacherConfig, open_run

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Teacher:
    """A run or a bundle to learn from, not yet loaded.

    ``config`` names it; ``arithmetic`` is what computes its answers. ``dataset``, ``folds`` and ``fold`` are
    what it was trained on. ``load`` gives what answers a batch on a device: inputs -> logits and embeddings.
    """

    config: TeacherConfig
    arithmetic: str
    labels: tuple[str, ...]
    supported_modalities: tuple[tuple[Modality, ...], ...]
    preprocess: Preprocessor
    dataset: str | None
    folds: str | None
    fold: str | None
    load: Callable[[torch.device], Callable[[Arrays], Arrays]]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.config.folder)

    def heard(self, examples: Sequence[Example]) -> int:
        """How many of the examples' clips it was trained on, as far as it tells."""
        clips = read_clips(self.folder)
        if not clips or not self.preprocess.listens:
            return 0
        spoken = (each for each in examples if each.utterance.audio is not None)
        heard = (each.read(self.preprocess, ["text"]).input_values for each in spoken)
        return sum(values is not None and clip_hash(values) in clips for values in heard)


def open_teacher(folder: Path | str) -> Teacher:
    """A finished run or a bundle, as a teacher.

    Raises `ConfigError` if the folder is neither, `BundleError` for a bundle that cannot be used.
    """
    folder = Path(folder).absolute()
    if (folder / RUN).is_file():
        return _run_teacher(folder)
    if (folder / MANIFEST).is_file():
        return _bundle_teacher(folder)
    found = f"holds no {RUN} and no {MANIFEST}" if folder.exists() else "not found"
    raise ConfigError(f"{folder}: {found}, expected a run folder or a bundle")


def _run_teacher(folder: Path) -> Teacher:
    run = open_run(folder)
    if not run.weights.is_file():
        lacks = f"has no {run.weights.name}, expected a teacher whose training has ended"
        if run.config.fold is None:
            lacks = "is a cross-validation, expected the folder of one of its folds"
        raise ConfigError(f"{folder}: {lacks}")

    def loaded(device: torch.device) -> Callable[[Arrays], Arrays]:
        model = load_model(run).to(device)

        def answer(inputs: Arrays) -> Arrays:
            with torch.inference_mode():
                found = model(**{name: torch.from_numpy(array).to(device) for name, array in inputs.items()})
            return {"logits": found.logits.cpu().numpy(), "embeddings": found.embeddings.cpu().numpy()}

        return answer

    return Teacher(
        TeacherConfig(str(folder), sha256(run.weights)),
        "torch",
        run.model.labels,
        run.model.supported_modalities,
        Preprocessor.from_folder(folder),
        run.config.dataset,
        run.config.folds,
        run.config.fold,
        loaded,
    )


def _bundle_teacher(folder: Path) -> Teacher:
    bundle = open_bundle(folder)
    training = bundle.manifest.training
    wanted = resolve(bundle)
    return Teacher(
        TeacherConfig(str(folder), bundle.content),
        f"{wanted.engine} {wanted.precision}",
        bundle.config.labels,
        bundle.config.supported_modalities,
        open_preprocessor(bundle),
        training.dataset,
        training.folds,
        training.fold,
        # On the device that mtab.load takes: the student's has room for the student.
        lambda _: load(folder).engine.run,
    )


class Lessons(NamedTuple):
    """What a teacher answers to N examples, each clip itself and in V variants, float32.

    Logits (N, 1 + V, C) in the student's order of classes, and embeddings (N, 1 + V, E).
    """

    logits: np.ndarray
    embeddings: np.ndarray


def teach(
    teacher: Teacher,
    examples: Sequence[Example],
    labels: Sequence[str],
    device: torch.device,
    variants: int = 0,
    root: Path | None = None,
) -> tuple[list[Example], Lessons, list[Problem]]:
    """The examples that the teacher can answer, its answers, and why it has none to the others.

    Each is asked alone, once: answers are kept in the cache folder, by teacher and utterance. An example
    without a label gets the likeliest class. Raises `ConfigError` if nothing can be answered, `MtabError` if
    the device has no memory for an utterance.
    """
    store = _Store(teacher, root)
    count = 1 + (variants if teacher.preprocess.listens else 0)
    known, problems = _answerable(teacher, examples, store)
    missing = [(each, number) for each in known for number in range(count) if not store.has(each, number)]
    if missing:
        answer = teacher.load(device)
        for example, number in track(missing, "asking the teacher", "answers"):
            features = example.read(teacher.preprocess, variant=number)
            try:
                found = answer(teacher.preprocess.collate([features]))
            except torch.OutOfMemoryError:
                raise no_memory(example, device, training=False) from None
            store.keep(example, number, np.concatenate([found["logits"][0], found["embeddings"][0]]))
    if not known:
        raise ConfigError(f"{teacher.folder}: answers none of {len(examples)} utterances; {problems[0]}")
    rows = np.stack([[store.read(each, number) for number in range(count)] for each in known])
    # A teacher that does not listen says the same of every variant.
    rows = np.broadcast_to(rows, (len(known), 1 + variants, rows.shape[2])) if count == 1 else rows
    order = [teacher.labels.index(label) for label in labels]
    lessons = Lessons(rows[..., : len(order)][..., order], rows[..., len(order) :])
    taught = [
        example if example.annotated else dataclasses.replace(example, label=int(logits[0].argmax()))
        for example, logits in zip(known, lessons.logits, strict=True)
    ]
    return taught, lessons, problems


def _answerable(
    teacher: Teacher, examples: Sequence[Example], store: "_Store"
) -> tuple[list[Example], list[Problem]]:
    """The examples that have what the teacher needs, and what the others lack."""
    known, problems = [], []
    for example in examples:
        if not store.has(example, 0):
            ((_, found),) = read_utterances(
                [example.utterance], teacher.preprocess, teacher.supported_modalities
            )
            if isinstance(found, Problem):
                problems.append(Problem(found.file, f"no answer of the teacher's: {found.message}"))
                continue
        known.append(example)
    return known, problems


class _Store:
    """A file for each answer, in a folder for each teacher."""

    def __init__(self, teacher: Teacher, root: Path | None) -> None:
        named = f"{teacher.config.sha256} {teacher.arithmetic} {augmentation.VERSION}"
        self._folder = (root or cache_dir() / "teachers") / hashlib.sha256(named.encode()).hexdigest()[:32]
        self._listens = teacher.preprocess.listens

    def has(self, example: Example, variant: int) -> bool:
        return self._path(example, variant).is_file()

    def keep(self, example: Example, variant: int, answer: np.ndarray) -> None:
        with atomic_file(self._path(example, variant)) as partial:
            np.save(partial, answer.astype(np.float32), allow_pickle=False)

    def read(self, example: Example, variant: int) -> np.ndarray:
        path = self._path(example, variant)
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"{path}: is no whole answer ({error}); delete it and --resume") from None

    def _path(self, example: Example, variant: int) -> Path:
        clip = example.content.get("audio")
        if clip is None and self._listens and example.utterance.audio is not None:
            # A student that only reads knows no clip.
            clip = sha256(example.utterance.audio)
        said = json.dumps([clip, example.span, example.utterance.text])
        return self._folder / f"{hashlib.sha256(said.encode()).hexdigest()}-{variant}.npy"
