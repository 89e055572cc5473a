"""What a recipe costs before it starts: hours on the device that is here, from a measured step of each row.

Two epochs on a sample of real examples, of which the second counts; times an utterance are then multiplied
by the utterances of every fold and by the epochs. For the paper's own size an estimate for a GPU that is not
here follows from counted FLOPs:

    seconds an epoch = 3 x FLOPs of a forward pass x training utterances / (the GPU's rate x utilisation)

since a backward pass is about twice a forward one.
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mtab.audio import SAMPLE_RATE, load_audio
from mtab.console import table
from mtab.data import Corpus, Fold, Utterance, make_folds
from mtab.progress import track
from mtab_bench.flops import count_flops
from mtab_bench.paper.floors import extract
from mtab_bench.paper.rows import FloorRow
from mtab_bench.paper.running import Job, Recipe, folds_left, row_start
from mtab_bench.render.formats import three_digits
from mtab_train.config import PRESETS
from mtab_train.encoder_cache import EncoderCache, frozen_outputs
from mtab_train.model import MulTAB
from mtab_train.start import Start, begin_run
from mtab_train.trainer import Trainer

SAMPLE = 32
"""Training utterances of the measured step; a quarter as many are answered."""
FLOOR_SAMPLE = 5
GPU, GPU_RATE, UTILISATION = "RTX 4060 Ti", 22.1e12, 0.3
"""The paper's GPU, its float32 rate in FLOP/s as NVIDIA states it, and the share that training reaches."""
PAPER_MINUTES = "4 to 5"
"""Minutes that the paper reports for an epoch."""


@dataclass(frozen=True, slots=True)
class Step:
    """Seconds of one row on this device: of an utterance's frozen layers, which are computed once, of reading
    it before a fold's first epoch, of training on it, of answering it, and between two epochs."""

    encode: float
    read: float
    train: float
    answer: float
    keep: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the folds of one job that are left: ``epoch_minutes`` is one fold's epoch, None for a floor."""

    title: str
    device: str
    folds: int
    epoch_minutes: float | None
    hours: float


def estimate(
    jobs: Sequence[Job], recipe: Recipe, corpus: Corpus, out: Path, device: str, workers: int, cache: bool
) -> list[Cost]:
    """What each job that is not done costs here; a row's step is measured once."""
    steps: dict[str, tuple[Step, str]] = {}
    costs = []
    for job in track(jobs, "measuring a step", "rows"):
        title = f"{job.row.title}, {job.protocol} protocol, seed {job.seed}"
        left = folds_left(job, recipe, corpus, out)
        if not left:
            continue
        if isinstance(job.row, FloorRow):
            costs.append(Cost(title, "cpu", len(left), None, _floor_hours(job.row, corpus)))
            continue
        start = row_start(job.row, recipe, job.protocol, job.seed)
        if job.row.name not in steps:
            steps[job.row.name] = measure_step(start, corpus, recipe.folds, device, workers, cache)
        costs.append(_model_cost(title, *steps[job.row.name], start, corpus, left))
    return costs


def to_text(costs: Sequence[Cost]) -> str:
    """A line for each, and all together."""
    rows: list[tuple[object, ...]] = [
        (
            each.title,
            each.device,
            each.folds,
            "-" if each.epoch_minutes is None else three_digits(each.epoch_minutes),
            three_digits(each.hours),
        )
        for each in costs
    ]
    rows.append(("together", "", "", "", three_digits(sum(each.hours for each in costs))))
    return table(rows, ("row", "device", "folds left", "minutes an epoch", "hours"))


def measure_step(
    start: Start, corpus: Corpus, folds: str, device: str, workers: int = 0, cache: bool = True
) -> tuple[Step, str]:
    """A step of a row on a sample of the first fold, and the device that it ran on."""
    fold = make_folds(corpus, folds, start.train.seed)[0]
    parts = {
        "train": _spread(fold.train, SAMPLE),
        "dev": _spread(fold.validation or fold.test, SAMPLE // 4),
        "test": _spread(fold.test, SAMPLE // 4),
    }
    # An utterance may stand in for two parts.
    sample = [
        replace(each, id=f"{part} {each.id}", split=part) for part, found in parts.items() for each in found
    ]
    few = replace(corpus, utterances=tuple(sample), problems=())
    # A step takes as long with random weights, and no checkpoint needs to be here. Whatever chooses an epoch,
    # an utterance takes as long to answer.
    start = replace(
        start,
        model=replace(start.model, audio_model=None, text_model=None),
        train=replace(start.train, epochs=2, patience=None, protocol="honest"),
    )
    # What the trainer says of these two epochs nobody wants to read.
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        run = begin_run(Path(place) / "run", start, few, "official", "official")
        begun = time.perf_counter()
        trainer = Trainer(run, few, device, workers, cache=False)
        read = time.perf_counter() - begun
        if cache and frozen_outputs(run.model):
            # In a place of its own: what the user's cache has already would take no time.
            trainer.cache = EncoderCache(trainer.model, Path(place) / "encodings")
            copies = start.train.augment_copies
            trainer.cache.fill(trainer.model, trainer.preprocess, trainer.train, copies)
            trainer.cache.fill(trainer.model, trainer.preprocess, [*trainer.validation, *trainer.test])
        encode = time.perf_counter() - begun - read
        epochs = trainer.epochs()
        next(epochs)
        begun = time.perf_counter()
        row = next(epochs)
        seconds = time.perf_counter() - begun
        # It ends here, and closes its files.
        next(epochs, None)
        name = str(trainer.accelerator.device)
    train = row["train"]["seconds"]
    answer = (row["seconds"] - train) / len(trainer.validation)
    keep = max(0.0, seconds - row["seconds"])
    step = Step(encode / len(sample), read / len(sample), train / len(trainer.train), answer, keep)
    return step, name


def _model_cost(
    title: str, step: Step, device: str, start: Start, corpus: Corpus, folds: Sequence[Fold]
) -> Cost:
    protocol, epochs, each_epoch = start.train.protocol, start.train.epochs, []
    total = step.encode * len(corpus.utterances)
    for fold in folds:
        training = len(fold.train) + (0 if protocol == "honest" else len(fold.validation))
        chosen_by = {"honest": len(fold.validation), "paper": len(fold.test), "fixed": 0}[protocol]
        each_epoch.append(step.train * training + step.answer * chosen_by + step.keep)
        total += step.read * len(corpus.utterances) + epochs * each_epoch[-1]
    return Cost(title, device, len(folds), float(np.mean(each_epoch)) / 60, total / 3600)


def _floor_hours(row: FloorRow, corpus: Corpus) -> float:
    """Of openSMILE's functionals, which is nearly all of it; what is in the cache already costs as much."""
    if row.modality == "text":
        return 0.0
    heard = _spread([each for each in corpus.utterances if each.audio is not None], FLOOR_SAMPLE)
    extract(np.zeros(SAMPLE_RATE, np.float32), row.features)
    begun = time.perf_counter()
    for utterance in heard:
        assert utterance.audio is not None
        extract(load_audio(utterance.audio, *utterance.span), row.features)
    return (time.perf_counter() - begun) / len(heard) * len(corpus.utterances) / 3600


def _spread(utterances: Sequence[Utterance], count: int) -> Sequence[Utterance]:
    """``count`` of them, evenly spaced; all where there are no more."""
    if len(utterances) <= count:
        return utterances
    return [utterances[i] for i in np.linspace(0, len(utterances) - 1, count).astype(int)]


def gpu_line(recipe: Recipe, corpus: Corpus) -> str:
    """What an epoch of the preset base would take on the paper's GPU, beside what the paper reports."""
    fold = make_folds(corpus, recipe.folds)[0]
    heard = _spread([each for each in fold.train if each.audio is not None], SAMPLE)
    lengths = [len(load_audio(each.audio, *each.span)) for each in heard if each.audio is not None]
    words = [len(each.text.split()) for each in fold.train if each.text]
    seconds = float(np.mean(lengths)) / SAMPLE_RATE
    flops = forward_flops(seconds, round(np.mean(words)) + 2)
    minutes = 3 * flops * len(fold.train) / (GPU_RATE * UTILISATION) / 60
    return (
        f"Mul-TAB (base) on an {GPU}: about {three_digits(minutes)} minutes an epoch of {len(fold.train)} "
        f"utterances, by 3 x {flops / 1e9:.0f} GFLOP for {seconds:.1f} s of speech at {UTILISATION:.0%} of "
        f"{GPU_RATE / 1e12:.1f} TFLOP/s; the paper reports {PAPER_MINUTES}"
    )


def forward_flops(seconds: float, tokens: int) -> int:
    """Of one utterance through the preset base with random weights."""
    import torch

    samples = round(seconds * SAMPLE_RATE)
    model = MulTAB.from_config(PRESETS["base"].model).eval()
    return count_flops(
        lambda: model(
            input_values=torch.randn(1, samples),
            audio_lengths=torch.tensor([samples]),
            input_ids=torch.full((1, tokens), 5),
            text_lengths=torch.tensor([tokens]),
        )
    )
