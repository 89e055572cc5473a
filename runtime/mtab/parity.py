"""Whether two backends answer alike, utterance by utterance, unbatched and among others in padded batches.

Export, ``verify``, ``tune`` and the bench all judge by `budget_of` and `Parity.failures`: what passes in one
passes in the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mtab.bundle import Bundle
from mtab.errors import DataError
from mtab.graphs import BUDGETS, FUSED, HIDDEN, Budget
from mtab.preprocess import Features, Preprocessor
from mtab.progress import progress
from mtab.types import Dimension, Part, Precision

Answers = Mapping[str, np.ndarray]
"""``logits`` and ``probabilities``, (utterances, classes) each; ``dimensions`` of a model that has them."""

Deviations = Mapping[Dimension, float]
"""The standard deviation of each dimension's ratings in training, in the order of the answers."""
NO_DIMENSIONS: Deviations = {}

Forward = Callable[[Sequence[Features]], Answers]
"""One padded batch through a model."""


@dataclass(frozen=True, slots=True)
class DimensionParity:
    """The largest differences of a dimension, in standard deviations of its ratings in training.

    What they are between, and how utterances are counted, is as in `Parity`.
    """

    max_difference: float
    max_batched_difference: float
    max_invariance_difference: float
    worst: int
    worst_batched: int
    worst_invariance: int


@dataclass(frozen=True, slots=True)
class Parity:
    """How a candidate's answers differ from a reference's, each utterance of the reference unbatched.

    Differences are of probabilities. Unbatched and in padded batches the candidate is held against the
    reference; invariance is the candidate in batches against itself unbatched. ``max_logits_used`` is the
    share of their tolerance that the worst logits take up, more than 1 being outside it.
    ``relative_logits_difference`` is the largest difference of a logit as a share of the largest logit.

    Utterances are counted from 0. ``near_ties`` are those whose two likeliest classes the reference tells
    apart by no more than ``near_tie_lead``. A label has changed if it did unbatched or in a batch:
    ``changed_near_ties`` at a near tie, ``changed`` elsewhere. ``label_agreement`` counts both.
    ``dimensions`` is None for a model without them.
    """

    utterances: int
    batch_size: int
    max_probability_difference: float
    mean_probability_difference: float
    max_batched_difference: float
    max_invariance_difference: float
    worst: int
    worst_batched: int
    worst_invariance: int
    max_logits_used: float
    relative_logits_difference: float
    label_agreement: float
    near_tie_lead: float
    changed: tuple[int, ...]
    near_ties: tuple[int, ...]
    changed_near_ties: tuple[int, ...]
    dimensions: DimensionParity | None = None

    @property
    def max_difference(self) -> float:
        """The largest of the three differences; NaN if one is."""
        return float(
            np.max(
                (self.max_probability_difference, self.max_batched_difference, self.max_invariance_difference)
            )
        )

    def failures(self, budget: Budget, names: Sequence[str] | None = None) -> list[str]:
        """What exceeds the budget, a line each; nothing if the candidate may stand in for the reference.

        ``names`` are what to call the utterances (None: by their number).
        """
        names = names or [str(i) for i in range(self.utterances)]
        ways = ("unbatched", f"in batches of {self.batch_size}", "between batched and unbatched")
        moved = [
            (self.max_probability_difference, self.worst),
            (self.max_batched_difference, self.worst_batched),
            (self.max_invariance_difference, self.worst_invariance),
        ]
        failures = [
            f"a probability differs by {difference:.2g} {way} (utterance {names[worst]} of "
            f"{self.utterances}), expected at most {budget.max_difference:.2g}"
            for way, (difference, worst) in zip(ways, moved, strict=True)
            if not difference <= budget.max_difference  # NaN is a failure too
        ]
        most = budget.max_dimension_difference
        if (rated := self.dimensions) is not None:
            moved = [
                (rated.max_difference, rated.worst),
                (rated.max_batched_difference, rated.worst_batched),
                (rated.max_invariance_difference, rated.worst_invariance),
            ]
            failures += [
                f"a dimension differs by {difference:.2g} standard deviations {way} (utterance "
                f"{names[worst]} of {self.utterances}), expected at most {most:.2g}"
                for way, (difference, worst) in zip(ways, moved, strict=True)
                if not difference <= most
            ]
        if 1 - len(self.changed) / self.utterances < budget.min_agreement:
            failures.append(
                f"{len(self.changed)} of {self.utterances} labels change, not at a near tie (first utterance "
                f"{names[self.changed[0]]}), expected agreement of at least {budget.min_agreement:.2%}"
            )
        if len(self.changed_near_ties) > (exempt := budget.exempt(self.utterances)):
            count, first = len(self.changed_near_ties), names[self.changed_near_ties[0]]
            failures.append(
                f"{count} of {self.utterances} labels change at near ties, a lead of up to "
                f"{self.near_tie_lead:.2g} (first utterance {first}), expected at most {exempt}"
            )
        return failures


def budget_of(bundle: Bundle, precision: Precision, part: Part = FUSED.name) -> Budget:
    """What a precision may cost: as the export granted it to the bundle's graph of it, else as usual."""
    graph = bundle.manifest.graph(part, precision)
    return BUDGETS[precision] if graph is None else graph.certificate.budget


def measure_parity(
    reference: Answers,
    candidate: Forward,
    features: Sequence[Features],
    budget: Budget,
    batch_size: int = 8,
    seed: int = 0,
    deviations: Deviations = NO_DIMENSIONS,
) -> Parity:
    """Compare ``candidate`` with the ``reference`` answers to ``features``.

    Each utterance is asked for unbatched, and in batches ordered by ``seed``. See `compare`. Raises
    `DataError` without a single utterance.
    """
    unbatched = answer_unbatched(candidate, features)
    batched = answer_batched(candidate, features, batch_size, seed)
    return compare(reference, unbatched, batched, budget, batch_size, deviations)


def compare(
    expected: Answers,
    unbatched: Answers,
    batched: Answers,
    budget: Budget,
    batch_size: int = 8,
    deviations: Deviations = NO_DIMENSIONS,
) -> Parity:
    """Hold a candidate's answers, both ways, against the reference's for the same utterances.

    Of the ``budget`` counts what it takes for a near tie. ``deviations`` are the model's, as
    `mtab.bundle.BundleConfig.deviations`; empty for a model without dimensions.
    """
    probabilities = expected["probabilities"].astype(np.float64)
    differences = np.abs(unbatched["probabilities"] - probabilities)
    by_utterance = differences.max(axis=1)
    by_utterance_batched = np.abs(batched["probabilities"] - probabilities).max(axis=1)
    by_utterance_invariance = np.abs(batched["probabilities"] - unbatched["probabilities"]).max(axis=1)
    labels = probabilities.argmax(axis=1)
    both = unbatched, batched
    changed = np.any([found["probabilities"].argmax(axis=1) != labels for found in both], axis=0)
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    near_tie = first - second <= budget.near_tie_lead
    logits_used = [HIDDEN.used(found["logits"], expected["logits"]).max() for found in both]
    logits = expected["logits"].astype(np.float64)
    moved = max(np.abs(found["logits"] - logits).max() for found in both)
    return Parity(
        utterances=len(probabilities),
        batch_size=batch_size,
        max_probability_difference=float(by_utterance.max()),
        mean_probability_difference=float(differences.mean()),
        max_batched_difference=float(by_utterance_batched.max()),
        max_invariance_difference=float(by_utterance_invariance.max()),
        worst=int(by_utterance.argmax()),
        worst_batched=int(by_utterance_batched.argmax()),
        worst_invariance=int(by_utterance_invariance.argmax()),
        max_logits_used=float(max(logits_used)),
        relative_logits_difference=float(moved / max(np.abs(logits).max(), np.finfo(np.float64).tiny)),
        label_agreement=float(1 - changed.mean()),
        near_tie_lead=budget.near_tie_lead,
        changed=tuple(np.flatnonzero(changed & ~near_tie).tolist()),
        near_ties=tuple(np.flatnonzero(near_tie).tolist()),
        changed_near_ties=tuple(np.flatnonzero(changed & near_tie).tolist()),
        dimensions=_compare_dimensions(expected, unbatched, batched, deviations) if deviations else None,
    )


def _compare_dimensions(
    expected: Answers, unbatched: Answers, batched: Answers, deviations: Deviations
) -> DimensionParity:
    reference, alone, among = (
        each["dimensions"].astype(np.float64) / list(deviations.values())
        for each in (expected, unbatched, batched)
    )
    pairs = ((alone, reference), (among, reference), (among, alone))
    by_utterance = [np.abs(found - other).max(axis=1) for found, other in pairs]
    difference, batched_difference, invariance_difference = (float(each.max()) for each in by_utterance)
    worst, worst_batched, worst_invariance = (int(each.argmax()) for each in by_utterance)
    return DimensionParity(
        max_difference=difference,
        max_batched_difference=batched_difference,
        max_invariance_difference=invariance_difference,
        worst=worst,
        worst_batched=worst_batched,
        worst_invariance=worst_invariance,
    )


def forward(run: Callable[[dict[str, np.ndarray]], Answers], preprocess: Preprocessor) -> Forward:
    """A model's forward pass from what computes a padded batch of ``preprocess``."""
    return lambda features: run(preprocess.collate(features))


def answer_unbatched(forward: Forward, features: Sequence[Features]) -> Answers:
    """The answers for each of ``features`` alone. Raises `DataError` without a single utterance."""
    return _answers(forward, features, range(len(features)), 1)


def answer_batched(
    forward: Forward, features: Sequence[Features], batch_size: int = 8, seed: int = 0
) -> Answers:
    """The answers in padded batches drawn at random by ``seed``, in the order of ``features``."""
    order = np.random.default_rng(seed).permutation(len(features))
    return _answers(forward, features, order, batch_size)


def answer_both_ways(
    forward: Forward, features: Sequence[Features], batch_size: int = 8, desc: str = "comparing"
) -> tuple[Answers, Answers]:
    """`answer_unbatched` and `answer_batched`, and ``desc`` with how far they are."""
    with progress(desc, 2 * len(features), "utterances") as shown:

        def counted(batch: Sequence[Features]) -> Answers:
            answers = forward(batch)
            shown.update(len(batch))
            return answers

        return answer_unbatched(counted, features), answer_batched(counted, features, batch_size)


def _answers(
    forward: Forward, features: Sequence[Features], order: Sequence[int] | np.ndarray, batch_size: int
) -> Answers:
    """The answers for ``features``, each in its place, asked for in batches along ``order``."""
    if not features:
        raise DataError("no utterance to compare, expected at least one")
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    answers = [forward([features[i] for i in part]) for part in parts]
    place = np.argsort(order)
    return {
        name: np.concatenate([each[name] for each in answers])[place]
        for name in ("logits", "probabilities", "dimensions")
        if name in answers[0]
    }
