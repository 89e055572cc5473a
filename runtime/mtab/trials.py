"""Trials of engines, precisions, numbers of threads and batches: judged and timed beside the default."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

import numpy as np

from mtab.bundle import Bundle
from mtab.choice import Choice
from mtab.cuda import find_cuda
from mtab.engines import ENGINES
from mtab.engines.base import Engine
from mtab.engines.opening import AUTO, open_engine
from mtab.errors import BundleError, EngineError
from mtab.limits import BATCH_SIZE
from mtab.loading import untuned
from mtab.machine import usable_cores
from mtab.parity import Answers, budget_of, forward, measure_parity
from mtab.preprocess import Features, Preprocessor
from mtab.timing import Timing
from mtab.types import OperatorKind, Precision, TunedFor
from mtab.workloads import WORKLOADS, Backend

GAIN = 1.03
"""How many times the default's speed a candidate must have: less than that is within the noise."""

DEVICES: dict[str, tuple[str, ...]] = {
    name: ("cpu", "cuda") if name == "onnxruntime" else ("cpu", "gpu") if name == "openvino" else ("cuda",)
    for name in ENGINES
}
"""The kinds of devices that each engine is tried on."""

_LARGEST = 64
_FAR = 1.5
_DEFAULT, _CANDIDATE = "default", "candidate"


@dataclass(frozen=True, slots=True)
class Trial:
    """One engine as it was tried, or an engine that cannot be had at all (``precision`` None).

    ``threads`` None is what the engine takes by itself, one a core. ``problem`` says why it was not measured
    or, after ``max_difference``, why its answers do not pass; None if it may be chosen. ``max_difference`` is
    the largest difference of a probability, alone, in padded batches, or between these. ``seconds`` is the
    median time for an utterance, or its share of that for many; ``speedup`` is over the default, on the same
    utterances of ever new lengths; ``disturbed`` that other processes were busy all along.
    """

    engine: str
    device: str
    precision: Precision | None
    threads: int | None = None
    streams: int = 1
    batch_size: int = BATCH_SIZE
    unquantized: tuple[OperatorKind, ...] = ()
    problem: str | None = None
    max_difference: float | None = None
    seconds: float | None = None
    speedup: float | None = None
    disturbed: bool = False

    @property
    def measured(self) -> bool:
        """Whether there were answers to judge."""
        return self.max_difference is not None

    @property
    def choice(self) -> Choice:
        """What is tried, in the terms of `mtab.load`. Raises `ValueError` where it could not be."""
        if self.precision is None:
            raise ValueError(f"{self.engine} on {self.device} cannot be had: {self.problem}")
        return Choice(
            self.engine,
            self.device,
            self.precision,
            self.threads,
            self.streams,
            self.batch_size,
            self.unquantized,
        )


class Sample(NamedTuple):
    """Utterances, shortest first, with what they must be answered."""

    names: list[str]
    features: list[Features]
    expected: Answers
    reference: str


class Step(NamedTuple):
    """What is tried next, and how many of ``total`` steps are done before it."""

    what: str
    done: int
    total: int


def choose(trials: Sequence[Trial]) -> Choice:
    """The fastest that passes, if it is `GAIN` times as fast as the first, the default; else that one.

    Of those that are as fast within the noise it is the most exact.
    """
    default = trials[0]
    passing = [each for each in trials[1:] if each.problem is None and (each.speedup or 0) >= GAIN]
    fastest = max([each.speedup or 0 for each in passing], default=0)
    level = [each for each in passing if (each.speedup or 0) * GAIN >= fastest]
    return min(level, key=lambda each: (_inexactness(each), -(each.speedup or 0)), default=default).choice


def settled(trials: Sequence[Trial], again: Callable[[Choice], Trial]) -> list[Trial]:
    """The trials, timed by ``again`` where that may change what `choose` takes.

    These are what it takes, for noise favoured the best of many figures, and those that were disturbed and
    may be faster than that in truth.
    """
    trials = list(trials)
    sure = {trials[0].choice}
    for number in doubtful(trials):
        sure.add(trials[number].choice)
        trials[number] = again(trials[number].choice)
    while (choice := choose(trials)) not in sure:
        number = next(i for i, each in enumerate(trials) if is_of(each, choice))
        trials[number] = again(choice)
        sure.add(choice)
    return trials


def doubtful(trials: Sequence[Trial]) -> list[int]:
    """The numbers of the trials that were disturbed and are not far slower than the fastest that passes."""
    fastest = max(each.speedup or 0 for each in trials)
    return [i for i, each in enumerate(trials) if each.disturbed and (each.speedup or 0) > fastest / _FAR]


def around(trial: Trial, most_streams: int, tried: Callable[[Choice], Trial]) -> list[Trial]:
    """What was ``tried`` from a trial on: twice as many streams each time, then larger or smaller batches.

    Each as long as it is `GAIN` times as fast as the one before, and not without an answer.
    """
    found: list[Trial] = []

    def climb(best: Trial, name: str, numbers: Sequence[int]) -> Trial:
        start = best.choice
        for number in numbers:
            found.append(tried(replace(start, **{name: number})))
            if (found[-1].speedup or 0) < (best.speedup or 0) * GAIN:
                break
            best = found[-1]
        return best

    best = climb(trial, "streams", _doubled(most_streams))
    larger = climb(best, "batch_size", [BATCH_SIZE * n for n in _doubled(_LARGEST // BATCH_SIZE)])
    if larger is best:
        climb(best, "batch_size", [BATCH_SIZE // n for n in _doubled(BATCH_SIZE)])
    return found


def spared(trial: Trial, tried: Callable[[Choice], Trial]) -> list[Trial]:
    """What was ``tried`` from int8 on: with one kind of operator after another left out of it.

    One stays out where that is `GAIN` times as fast as before, or passes where that did not; and where
    nothing passes yet, for the next to be tried with it. Not all: that is another precision.
    """
    found: list[Trial] = []
    best = trial
    for kind in get_args(OperatorKind):
        if len(best.unquantized) + 1 == len(get_args(OperatorKind)):
            break
        found.append(tried(replace(best.choice, unquantized=(*best.unquantized, kind))))
        gained = (found[-1].speedup or 0) >= (best.speedup or 0) * GAIN
        if best.problem is not None or (found[-1].problem is None and gained):
            best = found[-1]
    return found


class Bench:
    """The default, and one candidate after the other beside it."""

    def __init__(
        self,
        bundle: Bundle,
        preprocess: Preprocessor,
        sample: Sample,
        min_seconds: float,
        tuned_for: TunedFor = "latency",
    ) -> None:
        self._tuned_for: TunedFor = tuned_for
        self.workload = WORKLOADS[tuned_for](preprocess, sample.features)
        # As one that was not verified: of what is only tried nothing is kept in the cache.
        self._bundle = replace(bundle, verified=False)
        self._preprocess = preprocess
        self._sample = sample
        self._min_seconds = min_seconds
        self._default_seconds: list[np.ndarray] = []

    def trials(self, device: str, progress: Callable[[Step], object]) -> list[Trial]:
        """The default's trial, then all others. Raises `EngineError` unless the default passes."""
        name, kind = untuned(device=device)
        places = [(engine, on) for engine in ENGINES for on in _devices(engine, device)]
        precisions = get_args(Precision)
        # A step is an engine on a device in a precision; the default before, the fastest again after.
        self._total, self._done = 2 + len(places) * len(precisions), 1
        progress(Step(f"{name} on {kind}, the default", 0, self._total))
        _, opened = open_engine(self._bundle, name, kind)
        default = opened, Choice(name, kind, opened.precision)
        difference, problem = self._judge(*default)
        if problem is not None:
            raise EngineError(f"{self._bundle.folder}: not even the default, {name}, passes: {problem}")
        trials: list[Trial] = []
        for number, (engine, on) in enumerate(places):
            self._done = 1 + number * len(precisions)
            if device == "auto" and on == "cuda" and not find_cuda().gpus:
                tried = [Trial(engine, on, None, problem="no NVIDIA GPU that a driver sees")]
            else:
                tried = self._tries(engine, on, default, progress)
            # What lacks on one device for the reason that it lacks on another is said once.
            trials += [each for each in tried if not any(_same_lack(each, other) for other in trials)]
        if not self._default_seconds:
            self._time({_DEFAULT: default})
        first = Trial(name, kind, opened.precision, max_difference=difference, speedup=1.0)
        trials = [first, *trials]
        if self._tuned_for == "throughput":
            trials += self._batched(trials, default, progress)
        median = float(np.median(np.concatenate(self._default_seconds))) / self.workload.utterances
        trials[0] = replace(first, seconds=median)

        def again(choice: Choice) -> Trial:
            progress(Step(f"{choice} again", self._total - 1, self._total))
            return self._try(choice, default)

        return settled(trials, again)

    def _batched(
        self, trials: Sequence[Trial], default: Backend, progress: Callable[[Step], object]
    ) -> list[Trial]:
        """What is within reach of the fastest: with more batches at once, then with these of other sizes."""
        fastest = max(each.speedup or 0 for each in trials)
        near = [each for each in trials if each.problem is None and (each.speedup or 0) > fastest / _FAR]
        self._total = self._done + len(near) + 1
        found: list[Trial] = []

        def tried(choice: Choice) -> Trial:
            progress(Step(str(choice), self._done, self._total))
            return self._try(choice, default)

        for trial in near:
            found += around(trial, usable_cores() if trial.device == "cpu" else 1, tried)
            self._done += 1
        return found

    def _tries(
        self,
        engine: str,
        device: str,
        default: Backend,
        progress: Callable[[Step], object],
    ) -> list[Trial]:
        """An engine on a device in every precision, or one trial that says why it cannot be had in any."""
        trials: list[Trial] = []
        missing = 0
        for precision in get_args(Precision):
            counts, before = [None], 0.0
            # For many, cores are shared among batches instead.
            if device == "cpu" and self._tuned_for == "latency":
                counts = thread_counts()
            if Choice(engine, device, precision) == default[1]:
                counts, before = counts[1:], 1.0
            for threads in counts:
                what = f"{engine} on {device}, {precision}, {threads_title(threads)}"
                progress(Step(what, self._done, self._total))
                try:
                    trial = self._try(Choice(engine, device, precision, threads), default)
                except (BundleError, EngineError) as error:
                    trial = Trial(engine, device, precision, threads, problem=str(error))
                    missing += 1
                trials.append(trial)
                if trial.problem is not None or (trial.speedup or 0) < before / GAIN:
                    break
                before = trial.speedup or 0
            if engine == "openvino" and precision == "int8" and trials[-1].measured:
                trials += self._spared(trials, default, progress)
            self._done += 1
        of_default = (engine, device) == (default[1].engine, default[1].device)
        if missing and missing == len(trials) and not of_default:
            return [Trial(engine, device, None, problem=self._lack(engine, device) or trials[0].problem)]
        return trials

    def _spared(
        self, trials: Sequence[Trial], default: Backend, progress: Callable[[Step], object]
    ) -> list[Trial]:
        """The best of int8's trials, with some of its operators in the precision of their graph."""

        def tried(choice: Choice) -> Trial:
            progress(Step(str(choice), self._done, self._total))
            return self._try(choice, default)

        int8 = [each for each in trials if each.precision == "int8"]
        return spared(max(int8, key=lambda each: each.speedup or 0), tried)

    def _lack(self, engine: str, device: str) -> str | None:
        """Why an engine cannot be had, whatever the precision."""
        try:
            open_engine(self._bundle, engine, device)
        except (BundleError, EngineError) as error:
            return str(error)
        return None

    def _try(self, choice: Choice, default: Backend) -> Trial:
        """One candidate, in memory no longer than this takes. Raises as `open_engine`."""
        asked = choice.engine, choice.device, choice.precision, choice.threads, choice.streams
        trial = Trial(*asked, choice.batch_size, choice.unquantized)
        _, engine = open_engine(self._bundle, *asked, choice.unquantized)
        try:
            difference, problem = self._judge(engine, choice)
            if problem is not None:
                return replace(trial, problem=problem, max_difference=difference)
            timing = self._time({_DEFAULT: default, _CANDIDATE: (engine, choice)})
        except EngineError as error:
            return replace(trial, problem=str(error))
        faster = timing.speedup(_CANDIDATE, over=_DEFAULT)
        return replace(
            trial,
            max_difference=difference,
            seconds=timing.median(_CANDIDATE) / self.workload.utterances,
            speedup=faster.value,
            disturbed=faster.disturbed,
        )

    def _judge(self, engine: Engine, choice: Choice) -> tuple[float, str | None]:
        """The largest difference of a probability, and what of the answers is over budget."""
        sample, budget = self._sample, budget_of(self._bundle, engine.precision)
        candidate = forward(engine.run, self._preprocess)
        parity = measure_parity(
            sample.expected,
            candidate,
            sample.features,
            budget,
            max(BATCH_SIZE, choice.batch_size),
            deviations=self._bundle.config.deviations,
        )
        return parity.max_difference, "; ".join(parity.failures(budget, sample.names)) or None

    def _time(self, backends: Mapping[str, Backend]) -> Timing:
        """What the workload takes of each."""
        timing = self.workload.time(backends, self._min_seconds)
        self._default_seconds.append(timing.samples(_DEFAULT))
        return timing


def thread_counts() -> list[int | None]:
    """What an engine takes by itself, one a core, then half as many until it is one."""
    counts: list[int | None] = [None]
    left = usable_cores() // 2
    while left:
        counts.append(left)
        left //= 2
    return counts


def _doubled(most: int) -> list[int]:
    """2, 4, 8, ... up to ``most``."""
    return [2**n for n in range(1, most.bit_length())]


def _devices(engine: str, device: str) -> list[str]:
    """Where to try an engine if ``device`` is asked for."""
    if device == "auto":
        return list(DEVICES[engine])
    return [device] if device.partition(":")[0] in DEVICES[engine] else []


def _same_lack(trial: Trial, other: Trial) -> bool:
    lacks = trial.precision is None and other.precision is None
    return lacks and (trial.engine, trial.problem) == (other.engine, other.problem)


def _inexactness(trial: Trial) -> tuple[int, int]:
    return AUTO.index(trial.precision) if trial.precision else len(AUTO), -len(trial.unquantized)


def is_of(trial: Trial, choice: Choice) -> bool:
    """Whether ``choice`` is what was tried."""
    return trial.precision is not None and trial.choice == choice


def threads_title(threads: int | None) -> str:
    """A number of threads, to read."""
    return "a thread a core" if threads is None else f"{threads} thread{'s' if threads > 1 else ''}"
