"""`tune`: which engine, precision and number of threads answer fastest here, and still answer right.

>>> from mtab.tune import tune
>>> tune("bundle", dataset="iemocap").choice                         # doctest: +SKIP
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from mtab.bundle import Bundle, open_bundle
from mtab.choice import Choice, require_cache, store_choice
from mtab.console import table
from mtab.cuda import find_cuda
from mtab.data import read_corpus
from mtab.engines import ENGINES
from mtab.engines.base import Engine
from mtab.engines.opening import AUTO, open_engine
from mtab.errors import BundleError, DataError, EngineError
from mtab.limits import BATCH_SIZE
from mtab.loading import open_preprocessor, untuned
from mtab.machine import OtherLoad, usable_cores
from mtab.parity import Answers, answer_unbatched, budget_of, forward, measure_parity
from mtab.preprocess import Features, Preprocessor
from mtab.reference import REFERENCE, load_reference, referenced_utterances
from mtab.sample import read_sample, spread
from mtab.synthetic_inputs import speech, transcript
from mtab.timing import Timing, interleaved
from mtab.traffic import NewLengths
from mtab.types import Precision

UTTERANCES = 32
MIN_SECONDS = 2.0
GAIN = 1.03
"""How many times the default's speed a candidate must have: less than that is within the noise."""

DEVICES: dict[str, tuple[str, ...]] = {
    name: ("cpu", "cuda") if name == "onnxruntime" else ("cpu", "gpu") if name == "openvino" else ("cuda",)
    for name in ENGINES
}
"""The kinds of devices that each engine is tried on."""

_PASSES = 3
_DEFAULT, _CANDIDATE = "default", "candidate"


@dataclass(frozen=True, slots=True)
class Trial:
    """One engine as it was tried, or an engine that cannot be had at all (``precision`` None).

    ``threads`` None is what the engine takes by itself, one a core. ``problem`` says why it was not measured
    or, after ``max_difference``, why its answers do not pass; None if it may be chosen. ``max_difference`` is
    the largest difference of a probability, alone, in padded batches, or between these. ``seconds`` is the
    median time for an utterance; ``speedup`` is over the default, on the same utterances of ever new lengths.
    """

    engine: str
    device: str
    precision: Precision | None
    threads: int | None = None
    problem: str | None = None
    max_difference: float | None = None
    seconds: float | None = None
    speedup: float | None = None

    @property
    def measured(self) -> bool:
        """Whether there were answers to judge."""
        return self.max_difference is not None


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `tune` found. ``trials`` begin with the default; ``choice`` is stored in ``file``.

    ``reference`` says what the answers were held against, and on which ``utterances``; ``real_speech`` is
    false where these were made up. ``warning`` tells of other processes that disturbed the times.
    """

    choice: Choice
    file: str
    trials: tuple[Trial, ...]
    reference: str
    utterances: int
    real_speech: bool
    other_load: float | None
    warning: str | None


class _Sample(NamedTuple):
    """Utterances, shortest first, with what they must be answered."""

    names: list[str]
    features: list[Features]
    expected: Answers
    reference: str


def tune(
    bundle: Path | str,
    dataset: str | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    utterances: int = UTTERANCES,
    min_seconds: float = MIN_SECONDS,
    progress: Callable[[str], object] = lambda _: None,
    columns: Mapping[str, str] | None = None,
) -> Tuning:
    """Time every engine, precision and number of threads that can be had, and store the fastest one.

    ``mtab.load`` takes it from then on, for this bundle on this machine. Answers are held against PyTorch's
    in the bundle's ``reference.json``, on at most ``utterances`` of their corpus, a ``dataset`` of
    `mtab.data.DATASETS` in ``data_dir`` with ``columns`` (None: those of the export). Without one they are
    held against the bundle's most exact graph, on noise in the rhythm of speech: that shows a broken engine,
    and not what a precision costs on real speech.

    The default is what ``mtab.load`` takes for ``device`` untuned. Each candidate is timed beside it,
    an utterance at a time, for ``min_seconds`` each and at least three passes; no more than these two are
    in memory. One that costs more than its budget, or is not 3 % faster, is not chosen; the one that would
    be is timed again, and counts as that says. ``progress`` is told what is tried next. Nothing is stored
    unless all has been tried.

    Raises `EngineError` if the default cannot be had or does not pass, `DataError` if the corpus is not the
    one of the export, `BundleError` for a bundle that cannot be used or has no answers of PyTorch's, and
    `OSError` if the cache cannot be written.
    """
    opened = open_bundle(bundle)
    require_cache(opened)
    preprocess = open_preprocessor(opened)
    progress("reading utterances")
    if dataset is None:
        sample = _made_up(opened, preprocess, utterances)
    else:
        sample = _recorded(opened, preprocess, dataset, data_dir, columns, utterances)
    with OtherLoad() as beside:
        trials = _Bench(opened, preprocess, sample, min_seconds).trials(device, progress)
    choice = choose(trials)
    file = store_choice(opened, choice)
    return Tuning(
        choice=choice,
        file=str(file),
        trials=tuple(trials),
        reference=sample.reference,
        utterances=len(sample.features),
        real_speech=dataset is not None,
        other_load=beside.cores,
        warning=beside.warning,
    )


def choose(trials: Sequence[Trial]) -> Choice:
    """The fastest that passes, if it is `GAIN` times as fast as the first, the default; else that one.

    Of those that are as fast within the noise it is the most exact.
    """
    default = trials[0]
    passing = [each for each in trials[1:] if each.problem is None and (each.speedup or 0) >= GAIN]
    fastest = max([each.speedup or 0 for each in passing], default=0)
    level = [each for each in passing if (each.speedup or 0) * GAIN >= fastest]
    return _choice(min(level, key=lambda each: (_inexactness(each), -(each.speedup or 0)), default=default))


def settled(trials: Sequence[Trial], again: Callable[[Choice], Trial]) -> list[Trial]:
    """The trials, what `choose` takes timed by ``again``: noise favoured the best of many figures."""
    trials = list(trials)
    sure = {_choice(trials[0])}
    while (choice := choose(trials)) not in sure:
        number = next(i for i, trial in enumerate(trials) if _is(trial, choice))
        trials[number] = again(choice)
        sure.add(choice)
    return trials


def format_report(tuning: Tuning) -> str:
    """The trials to read, those that were not measured or do not pass with the reason, and the choice."""
    default, *others = tuning.trials
    chosen = next(trial for trial in tuning.trials if _is(trial, tuning.choice))
    others.sort(key=lambda trial: -(trial.speedup or 0))
    rows = [_row(trial, default, chosen) for trial in (default, *others) if trial.measured]
    header = ("engine", "device", "precision", "threads", "ms", "x default", "difference", "verdict")
    unfit = [f"{_title(trial)}: {trial.problem}" for trial in tuning.trials if trial.problem is not None]
    notes = [f"ms: an utterance alone; difference: of a probability, at most, from {tuning.reference}"]
    if tuning.warning:
        notes.append(tuning.warning)
    if not tuning.real_speech:
        notes.append("Accuracy was judged without real speech: give --dataset for that.")
    result = f"mtab.load takes {_title(chosen)}: {chosen.speedup:.2f} x the default ({tuning.file})"
    parts = (table(rows, header), "\n".join(notes), "\n".join(unfit), result)
    return "\n\n".join(filter(None, parts))


def _row(trial: Trial, default: Trial, chosen: Trial) -> tuple[str, ...]:
    if trial.problem is not None:
        verdict = "does not pass"
    elif trial is chosen:
        verdict = "chosen"
    elif trial is default:
        verdict = "the default"
    else:
        verdict = "passes" if (trial.speedup or 0) >= GAIN else "not faster"
    return (
        trial.engine,
        trial.device,
        trial.precision or "-",
        ("all" if trial.threads is None else str(trial.threads)) if trial.device == "cpu" else "-",
        "-" if trial.seconds is None else f"{1000 * trial.seconds:.2f}",
        "-" if trial.speedup is None else f"{trial.speedup:.2f}",
        f"{trial.max_difference:.1e}",
        verdict,
    )


def _title(trial: Trial) -> str:
    title = f"{trial.engine} on {trial.device}"
    if trial.precision is None:
        return title
    return f"{title} in {trial.precision}" + (
        f", {_threads(trial.threads)}" if trial.device == "cpu" and trial.measured else ""
    )


def _choice(trial: Trial) -> Choice:
    assert trial.precision is not None
    return Choice(trial.engine, trial.device, trial.precision, trial.threads)


def _inexactness(trial: Trial) -> int:
    return AUTO.index(trial.precision) if trial.precision else len(AUTO)


def _threads(threads: int | None) -> str:
    return "a thread a core" if threads is None else f"{threads} thread{'s' if threads > 1 else ''}"


def _is(trial: Trial, choice: Choice) -> bool:
    return trial.precision is not None and _choice(trial) == choice


class _Bench:
    """The default, and one candidate after the other beside it."""

    def __init__(self, bundle: Bundle, preprocess: Preprocessor, sample: _Sample, min_seconds: float) -> None:
        self._bundle = bundle
        self._preprocess = preprocess
        self._sample = sample
        self._min_seconds = min_seconds
        self._default_seconds: list[np.ndarray] = []
        self._new = NewLengths(preprocess.config.min_samples)

    def trials(self, device: str, progress: Callable[[str], object]) -> list[Trial]:
        """The default's trial, then all others. Raises `EngineError` unless the default passes."""
        name, kind = untuned(device=device)
        progress(f"{name} on {kind}, the default")
        _, default = open_engine(self._bundle, name, kind)
        difference, problem = self._judge(default)
        if problem is not None:
            raise EngineError(f"{self._bundle.folder}: not even the default, {name}, passes: {problem}")
        trials: list[Trial] = []
        for engine in ENGINES:
            for on in _devices(engine, device):
                if device == "auto" and on == "cuda" and not find_cuda().gpus:
                    tried = [Trial(engine, on, None, problem="no NVIDIA GPU that a driver sees")]
                else:
                    tried = self._tries(engine, on, default, progress)
                # What lacks on one device for the reason that it lacks on another is said once.
                trials += [each for each in tried if not any(_same_lack(each, other) for other in trials)]
        if not self._default_seconds:
            self._time({_DEFAULT: default})
        median = float(np.median(np.concatenate(self._default_seconds)))
        first = Trial(name, kind, default.precision, None, None, difference, median, 1.0)

        def again(choice: Choice) -> Trial:
            return self._try(choice.engine, choice.device, choice.precision, choice.threads, default)

        return settled([first, *trials], again)

    def _tries(
        self, engine: str, device: str, default: Engine, progress: Callable[[str], object]
    ) -> list[Trial]:
        """An engine on a device in every precision, or one trial that says why it cannot be had in any."""
        trials: list[Trial] = []
        missing = 0
        for precision in get_args(Precision):
            counts, before = thread_counts() if device == "cpu" else [None], 0.0
            if (engine, device, precision) == (default.name, default.device, default.precision):
                counts, before = counts[1:], 1.0
            for threads in counts:
                progress(f"{engine} on {device}, {precision}, {_threads(threads)}")
                try:
                    trial = self._try(engine, device, precision, threads, default)
                except (BundleError, EngineError) as error:
                    trial, missing = Trial(engine, device, precision, threads, str(error)), missing + 1
                trials.append(trial)
                if trial.problem is not None or (trial.speedup or 0) < before / GAIN:
                    break
                before = trial.speedup or 0
        if missing and missing == len(trials) and (engine, device) != (default.name, default.device):
            return [Trial(engine, device, None, problem=self._lack(engine, device) or trials[0].problem)]
        return trials

    def _lack(self, engine: str, device: str) -> str | None:
        """Why an engine cannot be had, whatever the precision."""
        try:
            open_engine(self._bundle, engine, device)
        except (BundleError, EngineError) as error:
            return str(error)
        return None

    def _try(
        self, engine: str, device: str, precision: Precision, threads: int | None, default: Engine
    ) -> Trial:
        """One candidate, in memory no longer than this takes. Raises as `open_engine`."""
        _, candidate = open_engine(self._bundle, engine, device, precision, threads)
        try:
            difference, problem = self._judge(candidate)
            if problem is not None:
                return Trial(engine, device, precision, threads, problem, difference)
            timing = self._time({_DEFAULT: default, _CANDIDATE: candidate})
        except EngineError as error:
            return Trial(engine, device, precision, threads, str(error))
        faster = timing.speedup(_CANDIDATE, over=_DEFAULT).value
        return Trial(engine, device, precision, threads, None, difference, timing.median(_CANDIDATE), faster)

    def _judge(self, engine: Engine) -> tuple[float, str | None]:
        """The largest difference of a probability, and what of the answers is over budget."""
        sample, budget = self._sample, budget_of(self._bundle, engine.precision)
        candidate = forward(engine.run, self._preprocess)
        parity = measure_parity(sample.expected, candidate, sample.features, budget, BATCH_SIZE)
        return parity.max_difference, "; ".join(parity.failures(budget, sample.names)) or None

    def _time(self, engines: Mapping[str, Engine]) -> Timing:
        """What `interleaved` measures of the utterances, each alone and of a new length."""
        backends = {name: engine.run for name, engine in engines.items()}
        count = len(self._sample.features)
        timing = interleaved(backends, self._draw, count, _PASSES * count, self._min_seconds)
        self._default_seconds.append(timing.samples(_DEFAULT))
        return timing

    def _draw(self, item: int) -> dict[str, np.ndarray]:
        return self._preprocess.collate([self._new.features(self._sample.features[item])])


def thread_counts() -> list[int | None]:
    """What an engine takes by itself, one a core, then half as many until it is one."""
    counts: list[int | None] = [None]
    left = usable_cores() // 2
    while left:
        counts.append(left)
        left //= 2
    return counts


def _devices(engine: str, device: str) -> list[str]:
    """Where to try an engine if ``device`` is asked for."""
    if device == "auto":
        return list(DEVICES[engine])
    return [device] if device.partition(":")[0] in DEVICES[engine] else []


def _same_lack(trial: Trial, other: Trial) -> bool:
    lacks = trial.precision is None and other.precision is None
    return lacks and (trial.engine, trial.problem) == (other.engine, other.problem)


# What to answer


def _recorded(
    bundle: Bundle,
    preprocess: Preprocessor,
    dataset: str,
    data_dir: Path | None,
    columns: Mapping[str, str] | None,
    most: int,
) -> _Sample:
    """Utterances of the export's corpus, of all lengths, with PyTorch's answers."""
    if REFERENCE not in bundle.manifest.files:
        raise BundleError(
            f"{bundle.folder}: holds no {REFERENCE}, expected PyTorch's answers to hold others against; "
            "export it again, or tune without a dataset"
        )
    reference = load_reference(bundle)
    if dataset != reference.dataset:
        raise DataError(
            f"dataset is {dataset}, expected {reference.dataset}: {REFERENCE} is of its utterances"
        )
    corpus = read_corpus(dataset, data_dir, reference.columns if columns is None else columns)
    utterances = referenced_utterances(reference, corpus)
    read = read_sample(corpus, utterances, preprocess, bundle.config.supported_modalities, len(utterances))
    order = sorted(range(len(read.features)), key=lambda i: _length(read.features[i]))
    drawn = spread(order, most)
    return _Sample(
        [read.utterances[i].id for i in drawn],
        [read.features[i] for i in drawn],
        reference.answers([read.utterances[i] for i in drawn]),
        f"PyTorch's on {len(drawn)} utterances of {reference.corpus}",
    )


def _made_up(bundle: Bundle, preprocess: Preprocessor, most: int) -> _Sample:
    """Noise of 1 to 10 s in the rhythm of syllables, and words, with the most exact graph's answers."""
    random = np.random.default_rng(0)
    features = [_utterance(seconds, bundle, preprocess, random) for seconds in np.linspace(1, 10, most)]
    _, engine = open_engine(bundle, "onnxruntime", "cpu")
    return _Sample(
        [f"of {each.seconds or 0:.1f} s" if each.seconds else f"{i}" for i, each in enumerate(features)],
        features,
        answer_unbatched(forward(engine.run, preprocess), features),
        f"those of ONNX Runtime in {engine.precision}, on {len(features)} utterances that were made up",
    )


def _utterance(
    seconds: float, bundle: Bundle, preprocess: Preprocessor, random: np.random.Generator
) -> Features:
    audio, text = speech(random, seconds), transcript(random, round(2.5 * seconds))
    modalities = bundle.config.modalities
    return preprocess(audio if "audio" in modalities else None, text if "text" in modalities else None)


def _length(features: Features) -> tuple[float, int]:
    ids = features.input_ids
    return features.seconds or 0.0, 0 if ids is None else len(ids)
