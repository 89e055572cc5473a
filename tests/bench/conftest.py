"""A report of two engines on made-up answers, with hostile names; its figures are computed, not typed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtab.data import Utterance
from mtab.machine import describe_machine
from mtab_bench.accuracy import parity
from mtab_bench.latency import latency, real_time_factor, throughput
from mtab_train.metrics import scores

LABELS = ("anger", "<b>joy</b>", "neutral & co", 'sad"ness')


def make_report(skipped: str | None = None, change: bool = True) -> dict[str, Any]:
    random = np.random.default_rng(7)
    count = 40
    reference = random.dirichlet((0.5,) * len(LABELS), count).astype(np.float32)
    other = reference + random.normal(0, 2e-7, reference.shape).astype(np.float32)
    if change:
        other[3] = np.roll(other[3], 1)
    true = random.integers(0, 3, count).tolist()  # the last class has no utterance
    utterances = [
        Utterance(f"utt-{i}<script>alert(1)</script>", Path(f"/clips/{i}&.wav"), "Hi", LABELS[true[i]])
        for i in range(count)
    ]
    seconds = random.uniform(1, 6, count)
    engines: dict[str, Any] = {}
    answers = {"pytorch": (reference, 0.012), "onnxruntime": (other, 0.008)}
    for name, (probabilities, cost) in answers.items():
        times = (cost * seconds * random.uniform(0.9, 1.4, (5, count))).reshape(5, count)
        measured = name != "pytorch" or skipped is None
        engines[name] = {
            "title": {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime"}[name],
            "skipped": None if measured else skipped,
            "device": "cpu",
            "precision": "fp32",
            "threads": 2,
            "accuracy": scores(true, probabilities.argmax(axis=1).tolist(), LABELS) if measured else None,
            "parity": None,
            "latency": latency(times) if measured else None,
            "throughput": throughput(times) if measured else None,
            "rtf": real_time_factor(times, float(seconds.sum())) if measured else None,
            "speedup": None,
        }
    before, after = engines["pytorch"], engines["onnxruntime"]
    if skipped is None:
        after["parity"] = parity(reference, other, utterances, LABELS) | {
            f"{key}_difference": after["accuracy"][key] - before["accuracy"][key]
            for key in ("war", "uar", "weighted_f1")
        }
        after["speedup"] = after["throughput"]["value"] / before["throughput"]["value"]
    names = [name for name in engines if engines[name]["skipped"] is None]
    return {
        "schema_version": 1,
        "created": "2030-01-02T03:04:05+00:00",
        "bundle": {"name": "tiny", "path": "runs/tiny/bundle", "checkpoint_sha256": "c" * 64, "created": "x"},
        "protocol": {
            "dataset": "iemocap",
            "title": "iemocap layout, synthetic speech",
            "synthetic": True,
            "corpus_sha256": "0123456789abcdef" * 4,
            "folds": "session",
            "fold": "session-5",
            "protocol": "honest",
            "seed": 0,
            "classes": list(LABELS),
            "utterances": count,
            "utterances_per_class": {label: true.count(i) for i, label in enumerate(LABELS)},
            "speech_seconds": float(seconds.sum()),
            "problem_count": 1,
            "problems": [{"file": "/clips/<i>.wav", "line": None, "message": "not found, expected a clip"}],
        },
        "machine": describe_machine(),
        "timing": {
            "batch_size": 1,
            "threads": 2,
            "warmup": 10,
            "passes": 5,
            "other_load": 1.25,
            "description": "How it was timed.",
        },
        "preprocessing": {"latency": latency(random.uniform(1e-3, 3e-3, count))},
        "reference": "pytorch",
        "engines": engines,
        "utterances": [
            {
                "id": utterance.id,
                "audio": str(utterance.audio),
                "true": utterance.label,
                "seconds": float(seconds[i]),
                "tokens": 4,
                "probabilities": {name: answers[name][0][i].tolist() for name in names},
            }
            for i, utterance in enumerate(utterances)
        ],
    }


@pytest.fixture(scope="session")
def report() -> dict[str, Any]:
    return make_report()


@pytest.fixture(scope="session")
def report_without_pytorch() -> dict[str, Any]:
    return make_report(
        skipped="PyTorch's side needs torch, which is not installed: pip install 'mtab[train]'"
    )


@pytest.fixture(scope="session")
def report_without_change() -> dict[str, Any]:
    return make_report(change=False)
