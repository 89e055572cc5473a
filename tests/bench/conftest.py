"""A report with every section on made-up answers; names are hostile where a test asks for them."""

from collections.abc import Callable, Sequence
from math import comb
from typing import Any

import numpy as np
import pytest

from mtab.machine import describe_machine
from mtab_train.metrics import scores

LABELS = ("anger", "joy", "neutral", "sadness")
HOSTILE = ("anger", "<b>joy</b>", "neutral & | co", 'sad"`*ness')
RTX = "no GPU that TensorRT for RTX can use: nvidia-smi was not found"
OPTIMUM = "needs optimum, which is not installed: pip install optimum-onnx"

# Key: title, precision, error of a probability, ms for a second of speech, resident MB.
ENGINES: dict[str, tuple[str, str, float, float, float]] = {
    "pytorch": ("PyTorch", "fp32", 0.0, 9.0, 1480.0),
    "pytorch-bf16": ("PyTorch bf16", "bf16", 4e-3, 14.0, 1490.0),
    "torch-compile": ("torch.compile", "fp32", 3e-7, 7.6, 1720.0),
    "onnxruntime-plain": ("ONNX Runtime, plain export", "fp32", 4e-7, 7.9, 1120.0),
    "optimum": ("Optimum", "fp32", 0.0, 0.0, 0.0),
    "onnxruntime-fp32": ("ONNX Runtime", "fp32", 2e-7, 5.6, 910.0),
    "onnxruntime-fp16": ("ONNX Runtime fp16", "fp16", 3e-4, 8.1, 760.0),
    "onnxruntime-int8": ("ONNX Runtime int8", "int8", 1.5e-2, 3.4, 520.0),
    "openvino-fp32": ("OpenVINO", "fp32", 3e-7, 5.1, 1010.0),
    "openvino-bf16": ("OpenVINO bf16", "bf16", 5e-3, 5.3, 1015.0),
    "tensorrt-rtx-fp16": ("TensorRT for RTX fp16", "fp16", 0.0, 0.0, 0.0),
}
SKIPPED = {"optimum": OPTIMUM, "tensorrt-rtx-fp16": RTX}
FEW = ("pytorch", "onnxruntime-fp32", "onnxruntime-int8")
EVALUATED = tuple(key for key in ENGINES if key not in ("torch-compile", "onnxruntime-plain", "optimum"))


def entry(key: str, skipped: str | None) -> dict[str, Any]:
    title, precision, *_ = ENGINES[key]
    return {"title": title, "skipped": skipped, "device": "cpu", "precision": precision, "threads": 2}


def sampled(times: np.ndarray) -> dict[str, Any]:
    values = [float(value) for value in times.ravel()]
    mean = sum(values) / len(values)
    return {
        "unit": "s",
        "count": len(values),
        "total": sum(values),
        "mean": mean,
        **{f"p{q}": float(np.percentile(values, q)) for q in (50, 90, 95, 99)},
        "stdev": float(np.std(values)),
        "stdev_": 100 * float(np.std(values)) / mean,
        "values": values,
    }


def timed(times: np.ndarray, utterances: int, speech: float, gflop: float | None = None) -> dict[str, Any]:
    """``times`` (passes, items): each pass answers ``utterances`` with ``speech`` seconds in all."""
    total = float(times.sum())
    found: dict[str, Any] = {
        "latency": sampled(times),
        "throughput": {"unit": "utterances/s", "value": len(times) * utterances / total},
        "rtf": {"unit": "s/s", "value": total / (len(times) * speech)},
    }
    if gflop is not None:
        found |= {"energy": None, "share_of_matrix_rate": gflop * len(times) / total / 120}
    return found


def with_speedups(engines: dict[str, Any], reference: str = "pytorch") -> dict[str, Any]:
    base = engines[reference]["throughput"]
    for engine in engines.values():
        known = base and engine["throughput"]
        engine["speedup"] = engine["throughput"]["value"] / base["value"] if known else None
    return engines


def make_protocol(labels: Sequence[str], true: Sequence[int], speech: float) -> dict[str, Any]:
    return {
        "dataset": "iemocap",
        "title": "iemocap layout, synthetic speech",
        "synthetic": True,
        "corpus_sha256": "0123456789abcdef" * 4,
        "folds": "session",
        "fold": "session-5",
        "protocol": "honest",
        "seed": 0,
        "classes": list(labels),
        "utterances": len(true),
        "utterances_per_class": {label: list(true).count(i) for i, label in enumerate(labels)},
        "speech_seconds": speech,
        "problem_count": 1,
        "problems": [{"file": "/clips/<i>.wav", "line": None, "message": "not found, expected a clip"}],
    }


def calibration(probabilities: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    bins = np.minimum((confidence * 10).astype(int), 9)
    found = [
        {
            "lower": k / 10,
            "upper": (k + 1) / 10,
            "count": int((bins == k).sum()),
            "confidence": float(confidence[bins == k].mean()),
            "accuracy": float(right[bins == k].mean()),
        }
        for k in sorted(set(bins.tolist()))
    ]
    gaps = (each["count"] * abs(each["accuracy"] - each["confidence"]) for each in found)
    return {
        "uar_classes": len(set(true.tolist())),
        "ece": sum(gaps) / len(true),
        "calibration": {"bins": found},
    }


def mcnemar(reference: np.ndarray, engine: np.ndarray) -> dict[str, Any]:
    lost, won = int((reference & ~engine).sum()), int((engine & ~reference).sum())
    tails = sum(comb(lost + won, k) for k in range(min(lost, won) + 1)) / 2 ** (lost + won)
    return {
        "statistic": min(lost, won),
        "p_value": min(1.0, 2 * tails),
        "only_reference_right": lost,
        "only_engine_right": won,
    }


def make_evaluation(
    labels: Sequence[str] = LABELS,
    count: int = 120,
    keys: Sequence[str] = EVALUATED,
    skipped: dict[str, str] | None = None,
    name: Callable[[int], str] = "Ses05F_impro{:03d}".format,
    empty: bool = True,
    changes: bool = True,
) -> dict[str, Any]:
    """``empty``: the last class has no utterance; ``changes``: lower precisions change labels."""
    skipped = SKIPPED if skipped is None else skipped
    random = np.random.default_rng(7)
    true = random.integers(0, len(labels) - empty, count)
    logits = random.normal(0, 1.1, (count, len(labels)))
    logits[np.arange(count), true] += 1.6
    reference = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    speech = random.uniform(1, 6, count)
    answers, engines = {}, {}
    for key in keys:
        _, _, error, cost, _ = ENGINES[key]
        if key in skipped:
            groups = ("accuracy", "parity", "latency", "throughput", "rtf", "speedup")
            engines[key] = entry(key, skipped[key]) | dict.fromkeys(groups)
            continue
        moved = reference + (changes or error < 1e-5) * random.normal(0, error, reference.shape)
        answers[key] = np.clip(moved, 1e-9, 1).astype(np.float32).astype(np.float64)
        times = 1e-3 * cost * speech * (1 + random.gamma(1.2, 0.12, (3, count)))
        accuracy = scores(true.tolist(), answers[key].argmax(axis=1).tolist(), labels)
        accuracy |= calibration(answers[key], true)
        engines[key] = entry(key, None) | {"accuracy": accuracy, "parity": None}
        engines[key] |= timed(times, count, float(speech.sum()))
    with_speedups(engines)
    before = answers.get("pytorch")
    utterances = [
        {
            "id": name(i),
            "audio": f"/clips/{i}&.wav" if i % 7 else None,
            "true": labels[true[i]],
            "seconds": float(speech[i]),
            "tokens": 4 + i % 9,
            "probabilities": {key: answers[key][i].tolist() for key in answers},
        }
        for i in range(count)
    ]
    for key in answers:
        if before is None or key == "pytorch":
            continue
        engines[key]["parity"] = make_parity(before, answers[key], true, labels, utterances) | {
            f"{measure}_difference": engines[key]["accuracy"][measure]
            - engines["pytorch"]["accuracy"][measure]
            for measure in ("war", "uar", "weighted_f1")
        }
    return {
        "created": "2030-01-02T03:04:05+00:00",
        "machine": describe_machine(),
        "protocol": make_protocol(labels, true.tolist(), float(speech.sum())),
        "timing": {
            "batch_size": 1,
            "threads": 2,
            "warmup": 10,
            "passes": 3,
            "other_load": 1.25,
            "description": "How it was timed.",
        },
        "preprocessing": {"latency": sampled(random.uniform(1e-3, 3e-3, count))},
        "reference": "pytorch",
        "engines": engines,
        "utterances": utterances,
    }


def make_parity(
    before: np.ndarray,
    after: np.ndarray,
    true: np.ndarray,
    labels: Sequence[str],
    utterances: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    first, second = before.argmax(axis=1), after.argmax(axis=1)
    ordered = np.sort(before, axis=1)
    near = ordered[:, -1] - ordered[:, -2] <= 2e-5
    changed = np.flatnonzero(first != second).tolist()

    def answered(probabilities: np.ndarray) -> dict[str, Any]:
        shown = dict(zip(labels, probabilities.tolist(), strict=True))
        return {"label": labels[int(probabilities.argmax())], "probabilities": shown}

    return {
        "utterances": len(before),
        "label_agreement": float((first == second).mean()),
        "labels_changed": len(changed),
        "near_tie_margin": 2e-5,
        "near_ties": int(near.sum()),
        "labels_changed_at_near_ties": int(near[changed].sum()),
        "max_probability_difference": float(np.abs(before - after).max()),
        "mean_probability_difference": float(np.abs(before - after).mean()),
        "mcnemar": mcnemar(first == true, second == true),
        "changed": [
            {
                **{key: utterances[i][key] for key in ("id", "audio", "true")},
                "near_tie": bool(near[i]),
                "reference": answered(before[i]),
                "engine": answered(after[i]),
            }
            for i in changed
        ],
    }


def make_speed(random_weights: bool = True, other_load: float | None = 0.05) -> dict[str, Any]:
    random = np.random.default_rng(8)
    engines, cases, parts = {}, [], []
    for key, (_, _, error, _, memory) in ENGINES.items():
        engines[key] = entry(key, SKIPPED.get(key)) | dict.fromkeys(("start", "memory", "parity"))
        if key not in SKIPPED:
            starts = random.uniform(0.8, 1.2, 3) * (31 if key == "torch-compile" else memory / 400)
            engines[key] |= {
                "start": {"unit": "s", "values": starts.tolist(), "p50": float(np.median(starts))},
                "memory": {
                    "unit": "MB",
                    "max_ram": 1.2 * memory,
                    "ram": memory,
                    "private": 0.6 * memory,
                    "max_vram": None,
                },
                "parity": None if key == "pytorch" else {"max_probability_difference": error},
            }
    for batch_size, length in ((1, 1.0), (1, 4.0), (1, 10.0), (8, 4.0)):
        gflop, measured = 0.7 * batch_size * length, {}
        for key, (_, _, _, cost, _) in ENGINES.items():
            times = 1e-3 * cost * 3 * batch_size * length * (1 + random.gamma(1.2, 0.06, (40, 1)))
            groups = ("latency", "throughput", "rtf", "energy", "share_of_matrix_rate")
            empty = dict.fromkeys(groups)
            measured[key] = empty if key in SKIPPED else timed(times, batch_size, batch_size * length, gflop)
        cases.append(
            {
                "batch_size": batch_size,
                "seconds": length,
                "tokens": 16,
                "gflop": gflop,
                "failures": {},
                "engines": with_speedups(measured),
            }
        )
    for part, share in (("audio_encoder", 0.8), ("text_encoder", 0.12), ("cme", 0.07), ("tab_head", 0.01)):
        measured = {}
        for key in ("pytorch", "onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32"):
            times = 1e-3 * ENGINES[key][3] * 12 * share * (1 + random.gamma(1.2, 0.06, (40, 1)))
            measured[key] = timed(times, 1, 4.0, 2.8 * share)
        parts.append(
            {
                "part": part,
                "batch_size": 1,
                "seconds": 4.0,
                "gflop": 2.8 * share,
                "engines": {
                    key: {
                        "max_difference": None if key == "pytorch" else ENGINES[key][2],
                        **{name: engine[name] for name in ("latency", "speedup", "share_of_matrix_rate")},
                    }
                    for key, engine in with_speedups(measured).items()
                },
            }
        )
    return {
        "created": "2030-01-02T04:04:05+00:00",
        "machine": describe_machine(),
        "reference": "pytorch",
        "random_weights": random_weights,
        "parameters": 225_468_931,
        "timing": {
            "threads": 2,
            "warmup": 3,
            "min_seconds": 2.0,
            "other_load": other_load,
            "description": "How speed was timed.",
        },
        "matrix_rate": {"unit": "GFLOP/s", "value": 120.0, "sizes": [512, 1024, 2048]},
        "engines": engines,
        "cases": cases,
        "parts": parts,
    }


def make_batching() -> dict[str, Any]:
    ways = (
        ("one at a time", 1, 1.0, 41.0),
        ("batches of 8, as they come", 8, 2.31, 58.5),
        ("batches of 8, by length", 8, 1.04, 27.2),
    )
    return {
        "created": "2030-01-02T05:04:05+00:00",
        "machine": describe_machine(),
        "dataset": "meld",
        "durations": {"count": 1200, "total_seconds": 3714.5},
        "timing": {"threads": 2, "other_load": 0.1},
        "engine": "onnxruntime",
        "precision": "fp32",
        "ways": [
            {
                "name": name,
                "batch_size": size,
                "padding": padding,
                "seconds": seconds,
                "throughput": {"unit": "utterances/s", "value": 1200 / seconds},
                "speedup": ways[0][3] / seconds,
            }
            for name, size, padding, seconds in ways
        ],
    }


def make_invariance(labels: Sequence[str] = LABELS, beyond: bool = False) -> dict[str, Any]:
    found = {
        "pytorch": (4.1e-7, 1e-5),
        "onnxruntime-fp32": (3.2e-7, 1e-5),
        "onnxruntime-int8": (2.1e-2 if beyond else 8.3e-4, 2e-3),
        "openvino-fp32": (5.5e-7, 1e-5),
        "tensorrt-rtx-fp16": None,
    }
    engines = {}
    for key, figures in found.items():
        engine = {name: value for name, value in entry(key, SKIPPED.get(key)).items() if name != "threads"}
        largest, budget = figures or (None, None)
        shares = {"in random batches": 0.75, "in other orders": 0.5, "with more padding": 1.0}
        engines[key] = engine | {
            "max_difference": largest,
            "ways": None if largest is None else {way: share * largest for way, share in shares.items()},
            "labels_changed": None if largest is None else int(beyond and "int8" in key),
            "budget": budget,
        }
    return {
        "created": "2030-01-02T06:04:05+00:00",
        "machine": describe_machine(),
        "protocol": make_protocol(labels, [0, 1, 2, 0, 1, 2, 0], 21.5),
        "batch_size": 8,
        "seed": 0,
        "engines": engines,
        "published": {
            "title": "wav2vec2 as published",
            "max_difference": 0.131,
            "ways": {"in random batches": 0.131, "in other orders": 0.127, "with more padding": 0.094},
            "labels_changed": 2,
            "hidden_states": {"with_attention_mask": 0.31, "without_attention_mask": 0.62},
        },
    }


def make_training() -> dict[str, Any]:
    ways = (
        ("batches of 2, as they come", [41.2, 40.1, 40.6], 1.36, 0.0),
        ("batches of 16, as they come", [30.5, 29.9, 31.0], 2.81, 0.01),
        ("batches of 16, bucketed", [16.1, 15.8, 15.9], 1.01, 0.02),
        ("batches of 16, bucketed, frozen layers cached", [12.3, 9.8, 9.9], 1.01, 0.015),
    )
    return {
        "created": "2030-01-02T07:04:05+00:00",
        "machine": describe_machine(),
        "protocol": {
            "dataset": "iemocap",
            "title": "iemocap layout, synthetic speech",
            "synthetic": True,
            "corpus_sha256": "0123456789abcdef" * 4,
            "folds": "session",
            "fold": "session-1",
            "protocol": "honest",
            "seed": 0,
            "classes": list(LABELS),
            "utterances": 480,
        },
        "timing": {"threads": 2, "other_load": 0.1},
        "preset": "tiny",
        "epochs": 3,
        "variants": [
            {
                "name": name,
                "precision": "fp32",
                "prepare_seconds": 41.5 if "cached" in name else 0.4,
                "seconds": times,
                "median_seconds": sorted(times)[1],
                "speedup": 40.6 / sorted(times)[1],
                "padding": padding,
                "losses": [1.39 + worse, 1.12 + worse, 0.83 + worse],
                "validation_losses": [1.33 + worse, 1.15 + worse, 0.98 + worse],
                "utterances": 480,
            }
            for name, times, padding, worse in ways
        ],
    }


def make_report(**sections: dict[str, Any]) -> dict[str, Any]:
    """A report of the sections given, of all where none is."""
    return {
        "schema_version": 2,
        "bundle": {
            "name": "tiny",
            "path": "runs/tiny/bundle",
            "created": "2030-01-01T00:00:00+00:00",
            "checkpoint_sha256": "c" * 64,
        },
        **(
            sections
            or {
                "evaluation": make_evaluation(),
                "speed": make_speed(),
                "batching": make_batching(),
                "invariance": make_invariance(),
                "training": make_training(),
            }
        ),
    }


@pytest.fixture(scope="session")
def report() -> dict[str, Any]:
    return make_report()


@pytest.fixture(scope="session")
def report_of() -> Callable[..., dict[str, Any]]:
    """`make_report`, for a report of other sections."""
    return make_report


@pytest.fixture(scope="session")
def hostile_report() -> dict[str, Any]:
    """Two engines, and names that break a page, a table or a terminal that trusts them."""
    evaluation = make_evaluation(
        labels=HOSTILE,
        keys=("pytorch", "onnxruntime-int8"),
        name="utt-{}<script>alert(1)</script>".format,
    )
    return make_report(evaluation=evaluation)


@pytest.fixture(scope="session")
def report_without_pytorch() -> dict[str, Any]:
    why = "PyTorch's side needs torch, which is not installed: pip install 'mtab[train]'"
    return make_report(evaluation=make_evaluation(count=40, keys=FEW, skipped={"pytorch": why}))


@pytest.fixture(scope="session")
def report_without_change() -> dict[str, Any]:
    return make_report(
        evaluation=make_evaluation(count=40, keys=FEW, changes=False), invariance=make_invariance()
    )


@pytest.fixture(scope="session")
def report_beyond_budget() -> dict[str, Any]:
    return make_report(invariance=make_invariance(beyond=True), speed=make_speed(other_load=1.25))


@pytest.fixture(
    scope="session",
    params=[
        "report",
        "hostile_report",
        "report_without_pytorch",
        "report_without_change",
        "report_beyond_budget",
        "batching",
        "training",
    ],
)
def any_report(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each of the above, and the two sections that have no engines alone."""
    if request.param == "batching":
        return make_report(batching=make_batching())
    if request.param == "training":
        return make_report(training=make_training())
    return request.getfixturevalue(request.param)
