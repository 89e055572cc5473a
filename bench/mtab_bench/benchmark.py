"""A bundle beside PyTorch on its corpus's test utterances: what the report says, as plain JSON values."""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mtab.data import Corpus, Problem, Utterance, corpus_hash, find_fold, read_corpus, validate
from mtab.data.reading import read_utterances
from mtab.errors import BundleError, DataError, EngineError
from mtab.loading import load
from mtab.machine import OtherLoad, describe_machine, usable_cores
from mtab.model import Model
from mtab.preprocess import Features
from mtab_bench.accuracy import parity
from mtab_bench.engines import REFERENCE, TITLES, Engine, bundle_engine, pytorch_engine
from mtab_bench.latency import BLOCK, WARMUP, Measurement, latency, measure, real_time_factor, throughput
from mtab_bench.report import SCHEMA_VERSION, Report
from mtab_train.metrics import scores


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The test utterances that the model can use, preprocessed; ``seconds`` is what reading each one took."""

    corpus: Corpus
    utterances: tuple[Utterance, ...]
    features: tuple[Features, ...]
    seconds: np.ndarray
    problems: tuple[Problem, ...]

    @property
    def speech_seconds(self) -> float:
        """Seconds of speech in all."""
        return sum(features.seconds or 0.0 for features in self.features)


def benchmark(
    dataset: str,
    bundle: Path,
    data_dir: Path | None = None,
    checkpoint: Path | None = None,
    threads: int | None = None,
) -> Report:
    """Measure accuracy, parity and latency of ``bundle`` on the test part of the fold it was trained for.

    PyTorch is marked as skipped, with the reason, where it or the checkpoint is missing; ``threads`` (None:
    one a usable core) holds for both engines. Raises `MtabError` if the bundle or the corpus cannot be used.
    """
    threads = threads or usable_cores()
    model = load(bundle, "cpu", engine="onnxruntime", threads=threads)
    engines: list[Engine] = []
    skipped = None
    try:
        engines.append(pytorch_engine(model.bundle, checkpoint, threads))
    except EngineError as error:
        skipped = str(error)
    engines.append(bundle_engine(model, threads))
    test = read_held_out(model, dataset, data_dir)
    inputs = [model.preprocess.collate([features]) for features in test.features]
    with OtherLoad() as load_beside:
        measurements = measure(engines, inputs)

    by_name = {engine.name: measurement for engine, measurement in zip(engines, measurements, strict=True)}
    measured = {
        engine.name: _engine_report(engine, by_name[engine.name], test, model.labels) for engine in engines
    }
    reference = measured.get(REFERENCE) or _skipped(skipped, threads)
    for name, engine in measured.items():
        if name != REFERENCE and skipped is None:
            engine["parity"] = _parity(
                by_name[REFERENCE], by_name[name], reference, engine, test, model.labels
            )
            engine["speedup"] = engine["throughput"]["value"] / reference["throughput"]["value"]
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "bundle": {
            "name": bundle_name(bundle),
            "path": str(bundle),
            "checkpoint_sha256": model.bundle.manifest.checkpoint.sha256,
            "created": model.bundle.manifest.created,
        },
        "protocol": _protocol(model, test),
        "machine": describe_machine(),
        "timing": {
            "batch_size": 1,
            "threads": threads,
            "warmup": WARMUP,
            "passes": len(measurements[0].seconds),
            "other_load": load_beside.cores,
            "description": (
                "Each sample is the time from the arrays of one utterance, in memory, to its probabilities: "
                "a batch of one. After some utterances of every length for warm-up, the engines take turns "
                f"on each {BLOCK} utterances, in alternating order; before each turn are a pause, in which "
                "the other engine's idle threads go to sleep, and an utterance untimed."
            ),
        },
        "preprocessing": {"latency": latency(test.seconds)},
        "reference": REFERENCE,
        "engines": {REFERENCE: reference} | measured,
        "utterances": [
            {
                "id": utterance.id,
                "audio": None if utterance.audio is None else str(utterance.audio),
                "true": utterance.label,
                "seconds": features.seconds,
                "tokens": None if features.input_ids is None else len(features.input_ids),
                "probabilities": {
                    name: measurement.probabilities[i].tolist() for name, measurement in by_name.items()
                },
            }
            for i, (utterance, features) in enumerate(zip(test.utterances, test.features, strict=True))
        ],
    }


def bundle_name(bundle: Path) -> str:
    """What to call a bundle: its run's name where it lies in one as ``bundle``, else its own."""
    bundle = bundle.absolute()
    return bundle.parent.name if bundle.name == "bundle" else bundle.name


def read_held_out(model: Model, dataset: str, data_dir: Path | None) -> HeldOut:
    """The test part of the fold that the bundle's manifest names, read and preprocessed as the runtime does.

    An utterance that cannot be decoded, or lacks a modality that the model needs, is a problem and skipped.
    Raises `BundleError` if the bundle was trained on something else, `DataError` if nothing is left.
    """
    training = model.bundle.manifest.training
    if training.get("dataset") != dataset:
        trained = training.get("dataset") or "nothing"
        raise BundleError(
            f"{model.bundle.folder}: was trained on {trained}, expected {dataset}; see --dataset"
        )
    corpus = validate(read_corpus(dataset, data_dir))
    if unknown := sorted(set(corpus.labels) - set(model.labels)):
        raise DataError(
            f"{corpus.root}: label {unknown[0]!r}, expected the bundle's: {', '.join(model.labels)}"
        )
    fold = find_fold(corpus, training["folds"], training["fold"], training["seed"])
    usable, features, seconds, problems = [], [], [], list(corpus.problems)
    shown = tqdm(fold.test, desc="reading", unit="utt", disable=None, leave=False)
    begun = time.perf_counter()
    for utterance, read in read_utterances(shown, model.preprocess, model.bundle.config.supported_modalities):
        if isinstance(read, Problem):
            problems.append(read)
        else:
            seconds.append(time.perf_counter() - begun)
            usable.append(utterance)
            features.append(read)
        begun = time.perf_counter()
    if not usable:
        raise DataError(
            f"{corpus.root}: no test utterance that the bundle can use; the first: {problems[-1]}"
        )
    return HeldOut(corpus, tuple(usable), tuple(features), np.array(seconds), tuple(problems))


def _protocol(model: Model, test: HeldOut) -> dict[str, Any]:
    training = model.bundle.manifest.training
    found = Counter(utterance.label for utterance in test.utterances)
    return {
        "dataset": test.corpus.name,
        "title": test.corpus.title,
        "synthetic": test.corpus.synthetic,
        "corpus_sha256": corpus_hash(test.utterances),
        "folds": training["folds"],
        "fold": training["fold"],
        "protocol": training["protocol"],
        "seed": training["seed"],
        "classes": list(model.labels),
        "utterances": len(test.utterances),
        "utterances_per_class": {label: found[label] for label in model.labels},
        "speech_seconds": test.speech_seconds,
        "problem_count": len(test.problems),
        "problems": [
            {"file": str(problem.file), "line": problem.line, "message": problem.message}
            for problem in test.problems
        ],
    }


def _engine_report(
    engine: Engine, measurement: Measurement, test: HeldOut, labels: tuple[str, ...]
) -> dict[str, Any]:
    true = [labels.index(utterance.label) for utterance in test.utterances]
    predicted = measurement.probabilities.argmax(axis=1).tolist()
    speech = test.speech_seconds
    return {
        "title": TITLES[engine.name],
        "skipped": None,
        "device": engine.device,
        "precision": engine.precision,
        "threads": engine.threads,
        "accuracy": scores(true, predicted, labels),
        "parity": None,
        "latency": latency(measurement.seconds),
        "throughput": throughput(measurement.seconds),
        "rtf": real_time_factor(measurement.seconds, speech) if speech else None,
        "speedup": None,
    }


def _skipped(reason: str | None, threads: int) -> dict[str, Any]:
    return {
        "title": TITLES[REFERENCE],
        "skipped": reason,
        "device": "cpu",
        "precision": "fp32",
        "threads": threads,
        **dict.fromkeys(("accuracy", "parity", "latency", "throughput", "rtf", "speedup")),
    }


def _parity(
    before: Measurement,
    after: Measurement,
    reference: dict[str, Any],
    engine: dict[str, Any],
    test: HeldOut,
    labels: tuple[str, ...],
) -> dict[str, Any]:
    moved = {
        f"{key}_difference": engine["accuracy"][key] - reference["accuracy"][key]
        for key in ("war", "uar", "weighted_f1")
    }
    return parity(before.probabilities, after.probabilities, test.utterances, labels) | moved
