"""The section ``evaluation``: a bundle on every backend beside PyTorch, on labelled utterances."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from mtab.bundle import Bundle
from mtab.errors import MtabError
from mtab.limits import BATCH_SIZE
from mtab.machine import usable_cores
from mtab.parity import Answers, answer_both_ways, budget_of, forward
from mtab.preprocess import Preprocessor
from mtab.sample import spread
from mtab.timing import Timing
from mtab.traffic import NewLengths
from mtab_bench.backends import REFERENCE, Inputs, Run, bundle_backends, open_backend
from mtab_bench.interleaving import HOW, Phase, time_phases
from mtab_bench.reference import reference_model, require_one
from mtab_bench.sections.accuracy import Accuracy, BackendParity, Concordance
from mtab_bench.sections.breakdown import Breakdown, break_down
from mtab_bench.sections.samples import Latency, Timed
from mtab_bench.sections.section import (
    BackendEntry,
    Conditions,
    Machine,
    Protocol,
    Section,
    now,
)
from mtab_bench.snr import estimate_snr
from mtab_bench.test_set import LoadedTestSet, read_test_set
from mtab_train.examples import ratings

MIN_SAMPLES = 200
"""Few utterances are passed over again until each backend has so many samples.

Of utterances that are not the training's test part no more are timed, evenly spread over all.
"""
REPEATED = 50
"""Utterances that are timed again, uncut."""
DESCRIPTION = (
    "Each sample is the time from the arrays of one utterance, in memory, to its probabilities: a batch of "
    "one. Every utterance is cut to a length that has not been seen, as real traffic has ever new ones; "
    f"“repeated” are {REPEATED} of them as they are, each length seen before. {HOW}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedBackend(BackendEntry):
    """A backend's accuracy, parity with the reference and times on the test set; None where not measured.

    ``medians`` are the median seconds by utterance, None for one that a slow backend was spared.
    """

    accuracy: Accuracy | None = None
    parity: BackendParity | None = None
    timed: Timed | None = None
    medians: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class EvaluatedUtterance:
    """An utterance: its clip's path, class, seconds of speech, tokens, and probabilities by backend.

    Probabilities are in the order of the protocol's classes; ``snr`` is `mtab_bench.snr.estimate_snr`.
    """

    id: str
    audio: str | None
    true: str
    seconds: float | None
    tokens: int | None
    probabilities: dict[str, tuple[float, ...]]
    speaker: str | None = None
    gender: str | None = None
    snr: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Section):
    """``preprocessing`` is what reading and preprocessing an utterance takes; it is in no backend's times.

    ``breakdowns`` are of the answers of one backend, ``broken_down``.
    """

    name: ClassVar[str] = "evaluation"
    title: ClassVar[str] = "Accuracy"
    command: ClassVar[str] = "mtab-bench --dataset"

    protocol: Protocol
    timing: Conditions
    preprocessing: Latency
    reference: str
    backends: dict[str, EvaluatedBackend]
    utterances: tuple[EvaluatedUtterance, ...]
    broken_down: str | None = None
    breakdowns: tuple[Breakdown, ...] = ()

    @property
    def measured(self) -> dict[str, EvaluatedBackend]:
        """The backends that were not skipped."""
        return {key: backend for key, backend in self.backends.items() if backend.accuracy is not None}


def evaluate(
    bundle: Bundle,
    dataset: str,
    data_dir: Path | None = None,
    checkpoint: Path | None = None,
    threads: int | None = None,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    fold: str | None = None,
    label_map: Path | None = None,
) -> Evaluation:
    """Measure accuracy, parity and latency of ``bundle`` on a corpus.

    By default that is the test part of the fold that it was trained for, or all of another corpus; see
    `mtab_bench.test_set.read_test_set` for ``split``, ``fold`` and ``label_map``. Every engine and precision
    that it has. What cannot be had here is skipped, with the reason; so is PyTorch where it or the checkpoint
    is missing. ``threads`` (None: one a usable core) holds for all. Ctrl-C while the clock runs ends the
    timing alone.

    Raises `MtabError` if the bundle or the corpus cannot be used, or no engine can be had.
    """
    threads = threads or usable_cores()
    reference, model, skipped = reference_model(bundle, checkpoint, threads)
    preprocess = Preprocessor.from_folder(bundle.folder)
    test = read_test_set(bundle, preprocess, dataset, data_dir, columns, split, fold, label_map)

    backends = [*([] if model is None else [reference]), *bundle_backends(bundle, threads)]
    reasons = {} if skipped is None else {REFERENCE: skipped}
    unbatched: dict[str, Answers] = {}
    batched: dict[str, Answers] = {}
    runs: dict[str, Run] = {}
    for backend in backends:
        key = backend.key
        try:
            runs[key] = open_backend(backend, model)
            # The answers, and the warm-up.
            unbatched[key], batched[key] = answer_both_ways(
                forward(runs[key], preprocess), test.features, BATCH_SIZE, backend.title
            )
        except MtabError as error:
            runs.pop(key, None)
            reasons[key] = str(error)
    require_one(bundle, [backend.key for backend in backends if backend.key != REFERENCE], reasons)
    times = _time(runs, preprocess, test)

    labels = bundle.config.labels
    true = np.array([labels.index(utterance.label) for utterance in test.utterances])
    entries: dict[str, EvaluatedBackend] = {}
    for backend in [*([reference] if model is None else []), *backends]:
        key, parity = backend.key, None
        if key not in runs:
            entries[key] = EvaluatedBackend.of(backend, reasons[key])
            continue
        if key != REFERENCE and REFERENCE in runs:
            parity = BackendParity.of(
                unbatched[REFERENCE],
                unbatched[key],
                batched[key],
                test.utterances,
                labels,
                budget_of(bundle, backend.precision),
                BATCH_SIZE,
                bundle.config.deviations,
            )
        entries[key] = EvaluatedBackend.of(
            backend,
            accuracy=Accuracy.of(
                unbatched[key]["probabilities"], true, labels, _concordances(bundle, test, unbatched[key])
            ),
            parity=parity,
            timed=times.of(key),
            medians=times.medians(key),
        )
    main = REFERENCE if REFERENCE in runs else next(iter(runs))
    snrs = [
        None if features.input_values is None else estimate_snr(features.input_values)
        for features in test.features
    ]
    return Evaluation(
        created=now(),
        machine=Machine.here(),
        interrupted=times.interrupted,
        protocol=Protocol.of_test_set(bundle, test),
        timing=Conditions.of(threads, times.timings[:1], DESCRIPTION),
        preprocessing=Latency.of(test.seconds),
        reference=REFERENCE,
        backends=entries | EvaluatedBackend.absent(),
        utterances=tuple(
            EvaluatedUtterance(
                id=utterance.id,
                audio=None if utterance.audio is None else str(utterance.audio),
                true=utterance.label,
                seconds=features.seconds,
                tokens=None if features.input_ids is None else len(features.input_ids),
                probabilities={key: tuple(unbatched[key]["probabilities"][i].tolist()) for key in runs},
                speaker=utterance.speaker,
                gender=utterance.gender,
                snr=snrs[i],
            )
            for i, (utterance, features) in enumerate(zip(test.utterances, test.features, strict=True))
        ),
        broken_down=main,
        breakdowns=break_down(
            true,
            unbatched[main]["probabilities"].argmax(axis=1),
            [utterance.speaker for utterance in test.utterances],
            [utterance.gender for utterance in test.utterances],
            [features.seconds for features in test.features],
            snrs,
        ),
    )


def _concordances(bundle: Bundle, test: LoadedTestSet, answers: Answers) -> dict[str, Concordance] | None:
    names = list(bundle.config.deviations)
    rated = ratings(test.utterances, names)
    found = {name: Concordance.of(answers["dimensions"][:, i], rated[:, i]) for i, name in enumerate(names)}
    return found or None


@dataclass(frozen=True, slots=True, eq=False)
class _Times:
    """Requests of new lengths, and repeated ones; ``spoken`` are the seconds of speech drawn by utterance.

    ``timed`` are the numbers of the utterances that requests are made of, by item.
    """

    timings: list[Timing]
    interrupted: bool
    spoken: list[list[float]]
    timed: np.ndarray

    def of(self, key: str) -> Timed | None:
        if not self.timings:
            return None
        new, *rest = self.timings
        # Some requests are drawn for warm-up, or of a block that is measured again: of some utterances more.
        means = np.array([np.mean(each) if each else np.nan for each in self.spoken])
        speech = float(means[self.timed[new.items]].mean())
        return Timed.of(
            new.samples(key),
            speech=speech,
            speedup=new.speedup(key, REFERENCE) if key != REFERENCE and REFERENCE in new.seconds else None,
            repeated=rest[0].samples(key) if rest else None,
        )

    def medians(self, key: str) -> tuple[float | None, ...]:
        found: list[list[float]] = [[] for _ in self.spoken]
        for new in self.timings[:1]:
            numbers = self.timed[new.items].tolist()
            for number, seconds in zip(numbers, new.seconds[key].tolist(), strict=True):
                if not np.isnan(seconds):
                    found[number].append(seconds)
        return tuple(float(np.median(each)) if each else None for each in found)


def _time(runs: dict[str, Run], preprocess: Preprocessor, test: LoadedTestSet) -> _Times:
    new = NewLengths()
    spoken: list[list[float]] = [[] for _ in test.features]
    everything = range(len(test.features))
    timed = list(everything) if test.held_out else spread(everything, MIN_SAMPLES)

    def draw(item: int) -> Inputs:
        features = new.features(test.features[timed[item]])
        spoken[timed[item]].append(features.seconds or 0.0)
        return preprocess.collate([features])

    def repeat(item: int) -> Inputs:
        return preprocess.collate([test.features[timed[item]]])

    repeated = min(len(timed), REPEATED)
    phases = (Phase(draw, len(timed), MIN_SAMPLES), Phase(repeat, repeated, repeated))
    timings, interrupted = time_phases(runs, phases)
    return _Times(timings, interrupted, spoken, np.array(timed))
