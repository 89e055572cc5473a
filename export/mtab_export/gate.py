"""The gate: what a graph's answers on real utterances must be for it to be written to a bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np

from mtab.certificate import AccuracyChange, Certificate, DimensionChange, ScoreChange
from mtab.data import corpus_hash
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.graphs import Budget, GraphSpec
from mtab.machine import describe_machine
from mtab.parity import (
    NO_DIMENSIONS,
    Answers,
    Deviations,
    DimensionParity,
    Forward,
    answer_both_ways,
    compare,
)
from mtab.sample import Sample

RESAMPLES = 1000


class Engine(Protocol):
    """What computes a graph: `mtab.engines.base.Engine`, or a part in PyTorch."""

    def run(self, inputs: Mapping[str, np.ndarray], /) -> dict[str, np.ndarray]:
        """The graph's outputs by name; ``inputs`` may hold more than it takes."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured, as the manifest keeps it, and what of it is over budget, a line each."""

    certificate: Certificate
    failures: tuple[str, ...]


def certify(
    candidate: Forward,
    reference: Answers,
    sample: Sample,
    labels: Sequence[str],
    budget: Budget,
    batch_size: int,
    computed: str,
    deviations: Deviations = NO_DIMENSIONS,
) -> Verdict:
    """Hold a graph's answers against PyTorch's ``reference`` answers for the utterances of ``sample``.

    ``reference`` holds ``logits`` and ``probabilities`` (utterances, classes), each utterance unbatched;
    ``labels`` are the model's classes; ``computed`` is the `arithmetic` of the answers; ``deviations`` are as
    in `mtab.parity.compare`.
    """
    unbatched, batched = answer_both_ways(candidate, sample.features, batch_size)
    parity = compare(reference, unbatched, batched, budget, batch_size, deviations)
    names, true = sample.names, [utterance.label for utterance in sample.utterances]
    machine = describe_machine()
    sets = machine["instruction_sets"]
    certificate = Certificate(
        utterances=parity.utterances,
        batch_size=parity.batch_size,
        max_probability_difference=parity.max_probability_difference,
        mean_probability_difference=parity.mean_probability_difference,
        max_batched_difference=parity.max_batched_difference,
        max_invariance_difference=parity.max_invariance_difference,
        worst=names[parity.worst],
        worst_batched=names[parity.worst_batched],
        worst_invariance=names[parity.worst_invariance],
        max_logits_used=parity.max_logits_used,
        relative_logits_difference=parity.relative_logits_difference,
        label_agreement=parity.label_agreement,
        changed=tuple(names[i] for i in parity.changed),
        near_ties=tuple(names[i] for i in parity.near_ties),
        changed_near_ties=tuple(names[i] for i in parity.changed_near_ties),
        near_tie_lead=parity.near_tie_lead,
        budget=budget,
        arithmetic=computed,
        accuracy=accuracy_change(true, reference["probabilities"], unbatched["probabilities"], labels)
        if set(true) <= set(labels)
        else None,
        corpus=sample.corpus.title,
        synthetic=sample.corpus.synthetic,
        corpus_sha256=corpus_hash(sample.utterances),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=machine["versions"],
        cpu=machine["cpu"],
        instruction_sets=None if sets is None else tuple(sets),
        dimensions=None if (moved := parity.dimensions) is None else _named(moved, names),
    )
    return Verdict(certificate, tuple(parity.failures(budget, names)))


def _named(moved: DimensionParity, names: Sequence[str]) -> DimensionChange:
    return DimensionChange(
        max_difference=moved.max_difference,
        max_batched_difference=moved.max_batched_difference,
        max_invariance_difference=moved.max_invariance_difference,
        worst=names[moved.worst],
        worst_batched=names[moved.worst_batched],
        worst_invariance=names[moved.worst_invariance],
    )


def is_emulated(precision: str, device: str) -> bool:
    """Whether the gate runs a graph with every tensor rounded to its precision, rather than the graph.

    ONNX Runtime's CPU provider computes fp16 in float32, which hides an overflow, and has no bf16.
    """
    return precision in ("fp16", "bf16") and device == "cpu"


def arithmetic(precision: str, device: str) -> str:
    """What a certificate says of how its answers were computed."""
    if is_emulated(precision, device):
        return f"float32, every tensor rounded to {precision}, ONNX Runtime on cpu"
    return f"ONNX Runtime on {device}"


def open_graph(path: Path, spec: GraphSpec, precision: str, device: str, scratch: Path) -> OnnxRuntimeEngine:
    """A graph as the gate runs it; ``scratch`` takes the files that this needs, while the engine lives.

    Raises `EngineError` if the graph cannot be run on ``device``, or is not what ``spec`` says.
    """
    if is_emulated(precision, device):
        # Here, because it takes onnx, which nothing else of verifying does.
        from mtab_export.precision import emulate

        emulate(path, scratch / f"emulated_{path.name}")
        path = scratch / f"emulated_{path.name}"
    engine = OnnxRuntimeEngine(path, device)
    engine.require(spec)
    return engine


def accuracy_change(
    true: Sequence[str], before: np.ndarray, after: np.ndarray, labels: Sequence[str]
) -> AccuracyChange:
    """WAR and UAR by PyTorch's probabilities (N, C) and by a graph's, and how far they moved.

    Each ``change`` comes with the 95 % interval of a bootstrap that draws utterances, the same for both: what
    the change might have been on other recordings of this kind.
    """
    classes = np.array([labels.index(label) for label in true])
    right = np.stack([p.argmax(axis=1) == classes for p in (before, after)]).astype(np.float64)
    drawn = np.random.default_rng(0).integers(len(true), size=(RESAMPLES, len(true)))
    hits = right[:, drawn]
    war = hits[1].mean(axis=1) - hits[0].mean(axis=1)
    members = classes[drawn] == np.unique(classes)[:, None, None]
    sizes = members.sum(axis=2)
    with np.errstate(invalid="ignore"):
        recalls = [(members * hit).sum(axis=2) / sizes for hit in hits]
    # A class that a draw has no utterance of takes no part in its mean.
    uar = np.nanmean(recalls[1] - recalls[0], axis=0)

    def change(scores: Sequence[float], changes: np.ndarray) -> ScoreChange:
        pytorch, graph = scores
        low, high = np.percentile(changes, [2.5, 97.5]).tolist()
        return ScoreChange(pytorch, graph, graph - pytorch, (low, high))

    present = [classes == label for label in np.unique(classes)]
    unweighted = [float(np.mean([each[members].mean() for members in present])) for each in right]
    return AccuracyChange(change(right.mean(axis=1).tolist(), war), change(unweighted, uar))
