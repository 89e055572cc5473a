"""`tune`: which engine, precision, threads and batches answer fastest here, and still answer right.

>>> from mtab.tune import tune
>>> tune("bundle", dataset="iemocap").choice                         # doctest: +SKIP
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtab.bundle import Bundle, open_bundle
from mtab.choice import Choice, arithmetic, choice_file, require_cache, store_choice, tuned_choice
from mtab.console import table
from mtab.data import read_corpus
from mtab.engines.opening import open_engine
from mtab.errors import BundleError, DataError
from mtab.loading import open_preprocessor
from mtab.machine import OtherLoad
from mtab.parity import answer_unbatched, forward
from mtab.preprocess import Features, Preprocessor
from mtab.reference import REFERENCE, load_reference, referenced_utterances
from mtab.sample import read_sample, spread
from mtab.synthetic_inputs import speech, transcript
from mtab.trials import GAIN, Bench, Sample, Step, Trial, choose, doubtful, is_of, threads_title
from mtab.types import TunedFor

UTTERANCES = 32
MIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """What `tune` found. ``trials`` begin with the default; ``choice`` is stored in ``file`` if ``stored``.

    It is not where other processes disturbed what it rests on: ``kept`` is then what was chosen before (None:
    nothing was), and stays.

    ``at_once`` utterances waited at a time; of many, ``speech`` is the mean of their seconds (0: no audio).
    ``reference`` says what the answers were held against, and on which ``utterances``; ``real_speech`` is
    false where these were made up. ``warning`` tells of other processes that disturbed the times.
    """

    tuned_for: TunedFor
    choice: Choice
    stored: bool
    kept: Choice | None
    file: str
    trials: tuple[Trial, ...]
    at_once: int
    speech: float | None
    reference: str
    utterances: int
    real_speech: bool
    other_load: float | None
    warning: str | None


def tune(
    bundle: Path | str,
    dataset: str | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    utterances: int = UTTERANCES,
    min_seconds: float = MIN_SECONDS,
    progress: Callable[[Step], object] = lambda _: None,
    columns: Mapping[str, str] | None = None,
    tuned_for: TunedFor = "latency",
) -> Tuning:
    """Time every engine, precision and number of threads that can be had, and store the fastest one.

    ``mtab.load`` takes it from then on, for this bundle on this machine. Answers are held against PyTorch's
    in the bundle's ``reference.json``, on at most ``utterances`` of their corpus, a ``dataset`` of
    `mtab.data.DATASETS` in ``data_dir`` with ``columns`` (None: those of the export). Without one they are
    held against the bundle's most exact graph, on noise in the rhythm of speech: that shows a broken engine,
    and not what a precision costs on real speech.

    It is ``tuned_for`` ``latency``, of an utterance at a time, or for ``throughput``, with many that wait;
    then sizes of batches and how many are computed at once are tried too, and ``mtab.load`` takes the choice
    where it is asked for one for throughput.

    The default is what ``mtab.load`` takes for ``device`` untuned. Each candidate is timed beside it, for
    ``min_seconds`` each and at least three passes; no more than these two are in memory. One that costs more
    than its budget, or is not 3 % faster, is not chosen; the one that would be is timed again, and counts as
    that says; so do those whose times other processes disturbed. Where these stay disturbed, and unless all
    has been tried, nothing is stored. ``progress`` is told what is tried next.

    Raises `EngineError` if the default cannot be had or does not pass, `DataError` if the corpus is not the
    one of the export, `BundleError` for a bundle that cannot be used or has no answers of PyTorch's, and
    `OSError` if the cache cannot be written.
    """
    opened = open_bundle(bundle)
    require_cache(opened, tuned_for)
    preprocess = open_preprocessor(opened)
    progress(Step("reading utterances", 0, 1))
    if dataset is None:
        sample = _made_up(opened, preprocess, utterances)
    else:
        sample = _recorded(opened, preprocess, dataset, data_dir, columns, utterances)
    with OtherLoad() as beside:
        bench = Bench(opened, preprocess, sample, min_seconds, tuned_for)
        trials = bench.trials(device, progress)
    choice = choose(trials)
    disturbed = bool(doubtful(trials))
    kept = tuned_choice(opened, tuned_for) if disturbed else None
    if not disturbed:
        store_choice(opened, choice, tuned_for)
    return Tuning(
        tuned_for=tuned_for,
        choice=choice,
        stored=not disturbed,
        kept=kept,
        file=str(choice_file(opened, tuned_for)),
        trials=tuple(trials),
        at_once=bench.workload.utterances,
        speech=bench.workload.speech,
        reference=sample.reference,
        utterances=len(sample.features),
        real_speech=dataset is not None,
        other_load=beside.cores,
        warning=beside.warning,
    )


def format_report(tuning: Tuning) -> str:
    """The trials to read, those that were not measured or do not pass with the reason, and the choice."""
    default, *others = tuning.trials
    chosen = next(trial for trial in tuning.trials if is_of(trial, tuning.choice))
    others.sort(key=lambda trial: -(trial.speedup or 0))
    rows = [
        (
            *(trial.engine, trial.device, _arithmetic(trial)),
            *(_alone(trial) if tuning.speech is None else _many(trial, tuning.speech)),
            "-" if trial.speedup is None else f"{trial.speedup:.2f}",
            f"{trial.max_difference:.1e}",
            _verdict(trial, default, chosen),
        )
        for trial in (default, *others)
        if trial.measured
    ]
    if tuning.speech is None:
        figures, note = ("threads", "ms"), "ms: an utterance alone"
    else:
        figures = ("threads", "at once", "batch", "utterances/s", "speech/s")
        note = f"at once: batches that share the threads, while {tuning.at_once} utterances wait"
    header = ("engine", "device", "precision", *figures, "x default", "difference", "verdict")
    unfit = [f"{_title(trial)}: {trial.problem}" for trial in tuning.trials if trial.problem is not None]
    notes = [f"{note}; difference: of a probability, at most, from {tuning.reference}"]
    if tuning.warning:
        notes.append(tuning.warning)
    if not tuning.real_speech:
        notes.append("Accuracy was judged without real speech: give --dataset for that.")
    taking = "mtab.load takes"
    if tuning.tuned_for != "latency":
        taking = f"For {tuning.tuned_for} (--for, tuned_for) mtab takes"
    if tuning.stored:
        result = f"{taking} {_title(chosen)}: {chosen.speedup:.2f} x the default ({tuning.file})"
    else:
        stays = f"what was chosen before, {tuning.kept}" if tuning.kept else "its default"
        result = (
            f"Nothing is stored: other processes disturbed these times, also the second time. {taking} "
            f"{stays}. Tune again when the machine is quiet."
        )
    parts = (table(rows, header), "\n".join(notes), "\n".join(unfit), result)
    return "\n\n".join(filter(None, parts))


def _alone(trial: Trial) -> tuple[str, ...]:
    """Threads and milliseconds."""
    return _threads(trial), "-" if trial.seconds is None else f"{1000 * trial.seconds:.2f}"


def _many(trial: Trial, speech: float) -> tuple[str, ...]:
    """Threads, batches, and what is answered in a second, in utterances of ``speech`` seconds each."""
    batches = _threads(trial), str(trial.streams), str(trial.batch_size)
    if trial.seconds is None:
        return *batches, "-", "-"
    return *batches, f"{1 / trial.seconds:.1f}", f"{speech / trial.seconds:.1f} s"


def _arithmetic(trial: Trial) -> str:
    return "-" if trial.precision is None else arithmetic(trial.precision, trial.unquantized)


def _threads(trial: Trial) -> str:
    if trial.device != "cpu":
        return "-"
    return "all" if trial.threads is None else str(trial.threads)


def _verdict(trial: Trial, default: Trial, chosen: Trial) -> str:
    if trial.problem is not None:
        return "does not pass"
    if trial is chosen:
        return "fastest" if trial.disturbed else "chosen"
    if trial is default:
        return "the default"
    return "passes" if (trial.speedup or 0) >= GAIN else "not faster"


def _title(trial: Trial) -> str:
    title = f"{trial.engine} on {trial.device}"
    if trial.precision is None:
        return title
    threads = f", {threads_title(trial.threads)}" if trial.device == "cpu" and trial.measured else ""
    return f"{title} in {_arithmetic(trial)}{threads}{trial.choice.batches}"


# What to answer


def _recorded(
    bundle: Bundle,
    preprocess: Preprocessor,
    dataset: str,
    data_dir: Path | None,
    columns: Mapping[str, str] | None,
    most: int,
) -> Sample:
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
    return Sample(
        [read.utterances[i].id for i in drawn],
        [read.features[i] for i in drawn],
        reference.answers([read.utterances[i] for i in drawn]),
        f"PyTorch's on {len(drawn)} utterances of {reference.corpus}",
    )


def _made_up(bundle: Bundle, preprocess: Preprocessor, most: int) -> Sample:
    """Noise of 1 to 10 s in the rhythm of syllables, and words, with the most exact graph's answers."""
    random = np.random.default_rng(0)
    features = [_utterance(seconds, bundle, preprocess, random) for seconds in np.linspace(1, 10, most)]
    _, engine = open_engine(bundle, "onnxruntime", "cpu")
    return Sample(
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
