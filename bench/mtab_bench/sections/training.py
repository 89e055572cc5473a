"""The section ``training``: an epoch of our trainer beside the padded loop that papers' code uses."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Literal

from mtab.data import Corpus, corpus_hash, default_scheme, make_folds
from mtab.machine import NOISE, OtherLoad, instruction_sets, usable_cores
from mtab.progress import track
from mtab.timing import Ratio
from mtab_bench.sections.section import Conditions, Machine, Protocol, Section, now
from mtab_train.config import PRESETS

DESCRIPTION = (
    "An epoch of each recipe in turn, so that noise strikes all alike. Factors are medians of the ratios of "
    "the same epoch, with the smallest and the largest."
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to run the same epoch."""

    name: str
    batch_size: int
    bucketing: bool = False
    cache: bool = False
    mixed_precision: Literal["no", "bf16"] = "no"


@dataclass(frozen=True, slots=True)
class TimedRecipe:
    """``seconds`` are of each epoch's training, without its validation; ``speedup`` is over the first recipe.

    ``prepare_seconds`` are those before the first epoch, in which frozen layers are computed where they are
    cached; ``padding`` is samples computed for a sample of speech; losses are by epoch. ``waiting`` is the
    share of the epochs in which a step had no batch yet.
    """

    name: str
    precision: str
    seconds: tuple[float, ...]
    median_seconds: float
    speedup: Ratio | None
    prepare_seconds: float
    padding: float
    losses: tuple[float, ...]
    validation_losses: tuple[float, ...]
    waiting: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training(Section):
    """The same model on the same utterances, by recipe."""

    name: ClassVar[str] = "training"
    title: ClassVar[str] = "Training"
    command: ClassVar[str] = "mtab-bench training"

    protocol: Protocol
    timing: Conditions
    preset: str
    epochs: int
    recipes: tuple[TimedRecipe, ...]


def recipes(batch_size: int, bf16: bool) -> tuple[Recipe, ...]:
    """From the paper's kind of code to ours, one change at a time; the last one where there is ``bf16``."""
    padded, bucketed = f"batches of {batch_size}", f"batches of {batch_size}, bucketed"
    tried = (
        Recipe("batches of 2, as they come", 2),
        Recipe(f"{padded}, as they come", batch_size),
        Recipe(bucketed, batch_size, bucketing=True),
        Recipe(f"{bucketed}, frozen layers cached", batch_size, bucketing=True, cache=True),
    )
    if not bf16:
        return tried
    return (*tried, replace(tried[-1], name=f"{tried[-1].name}, bf16", mixed_precision="bf16"))


def measure_training(corpus: Corpus, preset: str, batch_size: int, epochs: int) -> Training:
    """Train the same model on the same utterances by each recipe, an epoch of each in turn.

    The encoders are frozen as in the paper's preset (wav2vec2's convolutions, RoBERTa whole) and start from
    random weights.
    """
    from mtab_train.examples import lengths
    from mtab_train.start import Start, begin_run
    from mtab_train.trainer import Trainer

    base = PRESETS[preset]
    model = replace(
        base.model,
        audio_model=None,
        text_model=None,
        audio_training="conv-frozen",
        text_training="frozen",
    )
    scheme = default_scheme(corpus)
    fold = make_folds(corpus, scheme)[0].name
    tried = recipes(batch_size, "bf16" in (instruction_sets() or ()))
    with tempfile.TemporaryDirectory() as place, OtherLoad() as load_beside:
        trainers, prepared = [], []
        for number, recipe in enumerate(track(tried, "preparing", "recipes")):
            train = replace(
                base.train,
                epochs=epochs,
                protocol="honest",
                batch_size=recipe.batch_size,
                bucketing=recipe.bucketing,
                mixed_precision=recipe.mixed_precision,
            )
            run = begin_run(Path(place) / str(number), Start(model, train, preset), corpus, scheme, fold)
            begun = time.perf_counter()
            trainers.append(Trainer(run, corpus, "cpu", cache=recipe.cache))
            prepared.append(time.perf_counter() - begun)
        rounds = track(_rounds([trainer.epochs() for trainer in trainers]), "training", "epochs", epochs)
        rows_of = list(zip(*rounds, strict=True))
        padding = [_padding(trainer.batches(1), lengths(trainer.train)) for trainer in trainers]
    disturbed = load_beside.cores is not None and load_beside.cores >= NOISE
    seconds = [tuple(row["train"]["seconds"] for row in rows) for rows in rows_of]
    utterances = [example.utterance for example in trainers[0].train]
    found = Counter(utterance.label for utterance in utterances)
    return Training(
        created=now(),
        machine=Machine.here(),
        protocol=Protocol(
            dataset=corpus.name,
            title=corpus.title,
            synthetic=corpus.synthetic,
            corpus_sha256=corpus_hash(corpus.utterances),
            folds=scheme,
            fold=fold,
            protocol=base.train.protocol,
            seed=base.train.seed,
            classes=corpus.labels,
            utterances=len(utterances),
            utterances_per_class={label: found[label] for label in corpus.labels},
            speech_seconds=0.0,
        ),
        timing=Conditions(usable_cores(), load_beside.cores, disturbed, DESCRIPTION),
        preset=preset,
        epochs=epochs,
        recipes=tuple(
            TimedRecipe(
                name=recipe.name,
                precision="fp32" if recipe.mixed_precision == "no" else recipe.mixed_precision,
                seconds=seconds[number],
                median_seconds=median(seconds[number]),
                speedup=speedup(seconds[0], seconds[number], disturbed) if number else None,
                prepare_seconds=prepared[number],
                padding=padding[number],
                losses=tuple(row["train"]["loss"] for row in rows_of[number]),
                validation_losses=tuple(row["validation"]["loss"] for row in rows_of[number]),
                waiting=sum(row["train"]["data_seconds"] for row in rows_of[number]) / sum(seconds[number]),
            )
            for number, recipe in enumerate(tried)
        ),
    )


def speedup(first: Sequence[float], seconds: Sequence[float], disturbed: bool) -> Ratio:
    """Of the same epochs; few as they are, the interval is from the smallest ratio to the largest."""
    ratios = [one / other for one, other in zip(first, seconds, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios), disturbed)


def _rounds(epochs: Sequence[Iterable[dict[str, Any]]]) -> Iterator[tuple[dict[str, Any], ...]]:
    return zip(*epochs, strict=True)


def _padding(batches: list[list[int]], lengths: list[int]) -> float:
    computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return computed / sum(lengths)
