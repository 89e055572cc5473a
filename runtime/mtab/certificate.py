"""What an export proved of a graph, as ``manifest.json`` keeps it; `mtab_export.gate` measures it."""

from dataclasses import dataclass

import numpy as np

from mtab.graphs import Budget


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """A score in 0..1 by PyTorch and by the graph, how far it moved, and the 95 % interval of that."""

    pytorch: float
    graph: float
    change: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """What a graph costs in weighted (WAR) and unweighted average recall (UAR)."""

    war: ScoreChange
    uar: ScoreChange


@dataclass(frozen=True, slots=True)
class DimensionChange:
    """How far a graph moves the dimensions: as `mtab.parity.DimensionParity`, utterances by their names."""

    max_difference: float
    max_batched_difference: float
    max_invariance_difference: float
    worst: str
    worst_batched: str
    worst_invariance: str

    @property
    def largest(self) -> float:
        """The largest of the three differences; NaN if one is."""
        return float(
            np.max((self.max_difference, self.max_batched_difference, self.max_invariance_difference))
        )


@dataclass(frozen=True, slots=True)
class Certificate:
    """A graph's answers held against PyTorch's, and what they were allowed to cost.

    The figures are those of `mtab.parity.Parity`, utterances by their names. ``arithmetic`` is what computed
    the answers. ``accuracy`` is None where the utterances have other labels than the model's. ``corpus`` is
    the title of what was measured on, ``corpus_sha256`` the `mtab.data.corpus_hash` of its utterances.
    ``versions``, ``cpu`` and ``instruction_sets`` are those of the machine, as `mtab.machine` describes it;
    ``export_seconds`` is what writing the graph took, None for several in sequence. ``near_tie_lead`` is None
    in older bundles, whose ``near_ties`` are only those where the label changed. ``dimensions`` is None for a
    model without them.
    """

    utterances: int
    batch_size: int
    max_probability_difference: float
    mean_probability_difference: float
    max_batched_difference: float
    max_invariance_difference: float
    worst: str
    worst_batched: str
    worst_invariance: str
    max_logits_used: float
    relative_logits_difference: float
    label_agreement: float
    changed: tuple[str, ...]
    near_ties: tuple[str, ...]
    budget: Budget
    arithmetic: str
    accuracy: AccuracyChange | None
    corpus: str
    synthetic: bool
    corpus_sha256: str
    created: str
    versions: dict[str, str]
    cpu: str
    instruction_sets: tuple[str, ...] | None
    export_seconds: float | None = None
    changed_near_ties: tuple[str, ...] = ()
    near_tie_lead: float | None = None
    dimensions: DimensionChange | None = None


@dataclass(frozen=True, slots=True)
class AttentionCertificate:
    """A graph's attention held against PyTorch's: the largest difference of each output.

    ``differences`` are those of an utterance by itself, ``batched_differences`` those in padded batches of
    ``batch_size``; of ``utterances`` from ``corpus``, in every combination of modalities that the model
    answers from.
    """

    utterances: int
    batch_size: int
    differences: dict[str, float]
    batched_differences: dict[str, float]
    corpus: str
    created: str
