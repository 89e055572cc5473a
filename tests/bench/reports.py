"""Reports with every section, made by the sections' own constructors from invented answers and times."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mtab.data import Utterance
from mtab.graphs import BUDGETS, Budget
from mtab.parity import Answers
from mtab.timing import Ratio
from mtab_bench.backends import Backend
from mtab_bench.rates import MachineRates, MatrixRate
from mtab_bench.report import BundleRecord, Report, new_report
from mtab_bench.sections.accuracy import Accuracy, BackendParity
from mtab_bench.sections.batching import Batching, Durations, Strategy
from mtab_bench.sections.breakdown import break_down
from mtab_bench.sections.evaluation import EvaluatedBackend, EvaluatedUtterance, Evaluation
from mtab_bench.sections.invariance import (
    COMPANY,
    HiddenStates,
    Invariance,
    InvariantBackend,
    Movement,
    Published,
)
from mtab_bench.sections.parts import Part, PartBackend
from mtab_bench.sections.samples import Latency, Quantity, Timed
from mtab_bench.sections.section import Conditions, Machine, Problem, Protocol, Section
from mtab_bench.sections.speed import CaseBackend, Speed, SpeedBackend, SpeedCase
from mtab_bench.sections.start import Start, StartMemory
from mtab_bench.sections.training import TimedRecipe, Training, speedup

LABELS = ("anger", "joy", "neutral", "sadness")
HOSTILE = ("anger", "<b>joy</b>", "neutral & | co", 'sad"`*ness')
RTX = "no GPU that TensorRT for RTX can use: nvidia-smi was not found"
OPTIMUM = "needs optimum, which is not installed: pip install optimum-onnx"
WHY = "How it was timed."
# Key: title, precision, error of a probability, ms for a second of speech, resident MB.
BACKENDS: dict[str, tuple[str, str, float, float, float]] = {
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
EVALUATED = tuple(key for key in BACKENDS if key not in ("torch-compile", "onnxruntime-plain", "optimum"))


def backend(key: str) -> Backend:
    title, precision, *_ = BACKENDS[key]
    return Backend(key, title, "bundle", "", "cpu", precision, 2)  # pyright: ignore[reportArgumentType]


def conditions(other_load: float | None = 0.05) -> Conditions:
    return Conditions(2, other_load, other_load is not None and other_load > 0.2, WHY)


def ratio(key: str, disturbed: bool = False) -> Ratio | None:
    """Of the reference's cost and the backend's."""
    if key == "pytorch":
        return None
    value = BACKENDS["pytorch"][3] / BACKENDS[key][3]
    return Ratio(value, 0.97 * value, 1.04 * value, disturbed)


def answers_of(probabilities: np.ndarray) -> Answers:
    """With the logits that have these probabilities."""
    return {"logits": np.log(probabilities), "probabilities": probabilities}


def parity_of(
    reference: np.ndarray,
    probabilities: np.ndarray,
    utterances: Sequence[Utterance],
    labels: Sequence[str],
    budget: Budget,
) -> BackendParity:
    """Of a backend that answers the same in batches."""
    before, after = answers_of(reference), answers_of(probabilities)
    return BackendParity.of(before, after, after, utterances, labels, budget)


def protocol(labels: Sequence[str], true: Sequence[int], speech: float, **changes: object) -> Protocol:
    found = Protocol(
        dataset="iemocap",
        title="iemocap layout, synthetic speech",
        synthetic=True,
        corpus_sha256="0123456789abcdef" * 4,
        folds="session",
        fold="session-5",
        protocol="honest",
        seed=0,
        classes=tuple(labels),
        utterances=len(true),
        utterances_per_class={label: list(true).count(i) for i, label in enumerate(labels)},
        speech_seconds=speech,
        problem_count=1,
        problems=(Problem("/clips/<i>.wav", None, "not found, expected a clip"),),
    )
    return replace(found, **changes)


def make_evaluation(
    labels: Sequence[str] = LABELS,
    count: int = 120,
    keys: Sequence[str] = EVALUATED,
    skipped: dict[str, str] | None = None,
    name: Callable[[int], str] = "Ses05F_impro{:03d}".format,
    empty: bool = True,
    changes: bool = True,
    other_load: float | None = 1.25,
    signal: float = 1.6,
    **others: object,
) -> Evaluation:
    """``empty``: the last class has no utterance; ``changes``: lower precisions change labels.

    ``signal`` is by how much the true class leads, 0 for a model at chance; ``others`` replace fields.
    """
    skipped = SKIPPED if skipped is None else skipped
    random = np.random.default_rng(7)
    true = random.integers(0, len(labels) - empty, count)
    logits = random.normal(0, 1.1, (count, len(labels)))
    logits[np.arange(count), true] += signal
    reference = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    speech = random.uniform(1, 6, count)
    utterances = [
        Utterance(name(i), f"/clips/{i}&.wav" if i % 7 else None, "text", labels[true[i]])
        for i in range(count)
    ]
    answers, found = {}, {}
    conditioned = conditions(other_load)
    for key in keys:
        if key in skipped:
            found[key] = EvaluatedBackend.of(backend(key), skipped[key])
            continue
        _, precision, error, cost, _ = BACKENDS[key]
        moved = reference + (changes or error < 1e-5) * random.normal(0, error, reference.shape)
        answers[key] = np.clip(moved, 1e-9, 1).astype(np.float32).astype(np.float64)
        times = 1e-3 * cost * speech * (1 + random.gamma(1.2, 0.12, (3, count)))
        compared = key != "pytorch" and "pytorch" in answers
        found[key] = EvaluatedBackend.of(
            backend(key),
            accuracy=Accuracy.of(answers[key], true, labels),
            parity=parity_of(answers["pytorch"], answers[key], utterances, labels, BUDGETS[precision])
            if compared
            else None,
            timed=Timed.of(
                times,
                speech=float(speech.mean()),
                speedup=ratio(key, conditioned.disturbed) if compared else None,
                repeated=0.98 * times[0],
            ),
            medians=tuple(np.median(times, axis=0).tolist()),
        )
    main = next(key for key in keys if key in answers)
    evaluation = Evaluation(
        created="2030-01-02T03:04:05+00:00",
        machine=Machine.here(),
        protocol=protocol(labels, true.tolist(), float(speech.sum())),
        timing=conditioned,
        preprocessing=Latency.of(random.uniform(1e-3, 3e-3, count)),
        reference="pytorch",
        backends=found,
        utterances=tuple(
            EvaluatedUtterance(
                each.id,
                each.audio if each.audio is None else str(each.audio),
                each.label,
                float(speech[i]),
                4 + i % 9,
                {key: tuple(answers[key][i].tolist()) for key in answers},
            )
            for i, each in enumerate(utterances)
        ),
        broken_down=main,
        breakdowns=break_down(
            true,
            answers[main].argmax(axis=1),
            [f"speaker {i % 3}" for i in range(count)],
            ["female" if i % 2 else "male" for i in range(count)],
            speech.tolist(),
            [None] * count,
        ),
    )
    return replace(evaluation, **others)


def make_speed(random_weights: bool = True, other_load: float | None = 0.05) -> Speed:
    random = np.random.default_rng(8)
    conditioned = conditions(other_load)

    def timed(key: str, batch_size: int, seconds: float, share: float = 1.0) -> Timed:
        cost = 1e-3 * BACKENDS[key][3] * 3 * batch_size * seconds * share
        times = cost * (1 + random.gamma(1.2, 0.06, 40))
        speedup = ratio(key, conditioned.disturbed)
        return Timed.of(times, batch_size, batch_size * seconds, speedup, 0.97 * times[:12])

    backends = {}
    for key, (_, _, error, _, memory) in BACKENDS.items():
        if key in SKIPPED:
            backends[key] = SpeedBackend.of(backend(key), SKIPPED[key])
            continue
        starts = random.uniform(0.8, 1.2, 3) * (31 if key == "torch-compile" else memory / 400)
        backends[key] = SpeedBackend.of(
            backend(key),
            start=Start("s", tuple(starts.tolist()), float(np.median(starts)), float(3 * starts[0])),
            memory=StartMemory("MB", 1.2 * memory, memory, 0.6 * memory, None, 0.4 * memory),
            max_probability_difference=None if key == "pytorch" else error,
        )
    cases = tuple(
        SpeedCase(
            batch_size,
            seconds,
            16,
            0.7 * batch_size * seconds,
            {
                key: CaseBackend()
                if key in SKIPPED
                else CaseBackend(
                    timed=timed(key, batch_size, seconds),
                    share_of_matrix_rate=0.21,
                    share_of_memory_rate=0.07,
                )
                for key in BACKENDS
            },
        )
        for batch_size, seconds in ((1, 1.0), (1, 4.0), (1, 10.0), (8, 4.0))
    )
    parts = tuple(
        Part(
            part,
            1,
            4.0,
            2.8 * share,
            {},
            {
                key: PartBackend(
                    timed(key, 1, 4.0, share), None if key == "pytorch" else BACKENDS[key][2], 0.33 * share
                )
                for key in ("pytorch", "onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32")
            },
        )
        for part, share in (("audio_encoder", 0.8), ("text_encoder", 0.12), ("cme", 0.07), ("tab_head", 0.01))
    )
    return Speed(
        created="2030-01-02T04:04:05+00:00",
        machine=Machine.here(),
        protocol=None,
        timing=conditioned,
        reference="pytorch",
        random_weights=random_weights,
        parameters=225_468_931,
        weights=186_868_739,
        min_seconds=2.0,
        rates=MachineRates(
            2,
            {
                "fp32": MatrixRate("GFLOP/s", 120.0, "ONNX Runtime"),
                "int8": MatrixRate("GFLOP/s", 480.0, "PyTorch"),
            },
            Quantity("GB/s", 20.0),
        ),
        backends=backends,
        cases=cases,
        parts=parts,
    )


def make_batching(disturbed: bool = False) -> Batching:
    strategies = (
        ("one at a time", 1, 1.0, 41.0),
        ("batches of 8, as they come", 8, 2.31, 58.5),
        ("batches of 8, by length", 8, 1.04, 27.2),
    )
    first = strategies[0][3]
    return Batching(
        created="2030-01-02T05:04:05+00:00",
        machine=Machine.here(),
        protocol=None,
        timing=conditions(1.3 if disturbed else 0.1),
        dataset="meld",
        durations=Durations(1200, 3714.5),
        engine="onnxruntime",
        precision="fp32",
        strategies=tuple(
            Strategy(
                name,
                size,
                padding,
                taken,
                Quantity("utterances/s", 1200 / taken),
                Ratio(first / taken, 0.98 * first / taken, 1.03 * first / taken, disturbed)
                if number
                else None,
            )
            for number, (name, size, padding, taken) in enumerate(strategies)
        ),
    )


def make_invariance(labels: Sequence[str] = LABELS, beyond: bool = False) -> Invariance:
    found = {
        "pytorch": (4.1e-7, 1e-5),
        "onnxruntime-fp32": (3.2e-7, 1e-5),
        "onnxruntime-int8": (2.1e-2 if beyond else 8.3e-4, 2e-3),
        "openvino-fp32": (5.5e-7, 1e-5),
    }
    backends = {
        key: InvariantBackend.of(
            backend(key),
            movement=Movement(
                largest,
                {company: share * largest for company, share in zip(COMPANY, (0.75, 0.5, 1.0), strict=True)},
                int(beyond and "int8" in key),
            ),
            budget=budget,
        )
        for key, (largest, budget) in found.items()
    }
    published = Movement(0.131, dict(zip(COMPANY, (0.131, 0.127, 0.094), strict=True)), 2)
    return Invariance(
        created="2030-01-02T06:04:05+00:00",
        machine=Machine.here(),
        protocol=protocol(labels, [0, 1, 2, 0, 1, 2, 0], 21.5),
        timing=None,
        batch_size=8,
        seed=0,
        backends=backends | {"tensorrt-rtx-fp16": InvariantBackend.of(backend("tensorrt-rtx-fp16"), RTX)},
        published=Published("wav2vec2 as published", published, HiddenStates(0.31, 0.62)),
    )


def make_training() -> Training:
    recipes = (
        ("batches of 2, as they come", (41.2, 40.1, 40.6), 1.36, 0.0),
        ("batches of 16, as they come", (30.5, 29.9, 31.0), 2.81, 0.01),
        ("batches of 16, bucketed", (16.1, 15.8, 15.9), 1.01, 0.02),
        ("batches of 16, bucketed, frozen layers cached", (12.3, 9.8, 9.9), 1.01, 0.015),
    )
    return Training(
        created="2030-01-02T07:04:05+00:00",
        machine=Machine.here(),
        protocol=protocol(LABELS, [0, 1, 2, 3] * 120, 0.0, fold="session-1", problem_count=0, problems=()),
        timing=conditions(0.1),
        preset="tiny",
        epochs=3,
        recipes=tuple(
            TimedRecipe(
                name=name,
                precision="fp32",
                seconds=times,
                median_seconds=sorted(times)[1],
                speedup=speedup(recipes[0][1], times, False) if number else None,
                prepare_seconds=41.5 if "cached" in name else 0.4,
                padding=padding,
                losses=(1.39 + worse, 1.12 + worse, 0.83 + worse),
                validation_losses=(1.33 + worse, 1.15 + worse, 0.98 + worse),
                waiting=0.003,
            )
            for number, (name, times, padding, worse) in enumerate(recipes)
        ),
    )


def make_report(*sections: Section) -> Report:
    """A report of the sections given, of all where none is."""
    bundle = BundleRecord("tiny", "runs/tiny/bundle", "2030-01-01T00:00:00+00:00", "c" * 64)
    every = (make_evaluation, make_speed, make_batching, make_invariance, make_training)
    return new_report(bundle, *(sections or (make() for make in every)))
