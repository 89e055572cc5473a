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
from mtab.types import Part, Precision

Answers = Mapping[str, np.ndarray]
"""``logits`` and ``probabilities``, (utterances, classes) each."""

Forward = Callable[[Sequence[Features]], Answers]
"""One padded batch through a model."""


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
        failures = []
        for what, difference, worst in (
            ("unbatched", self.max_probability_difference, self.worst),
            (f"in batches of {self.batch_size}", self.max_batched_difference, self.worst_batched),
            ("between batched and unbatched", self.max_invariance_difference, self.worst_invariance),
        ):
            if not difference <= budget.max_difference:  # NaN is a failure too
                failures.append(
                    f"a probability differs by {difference:.2g} {what} (utterance {names[worst]} of "
                    f"{self.utterances}), expected at most {budget.max_difference:.2g}"
                )
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
) -> Parity:
    """Compare ``candidate`` with the ``reference`` answers to ``features``.

    Each utterance is asked for unbatched, and in batches ordered by ``seed``. See `compare`. Raises
    `DataError` without a single utterance.
    """
    unbatched = answer_unbatched(candidate, features)
    return compare(
        reference, unbatched, answer_batched(candidate, features, batch_size, seed), budget, batch_size
    )


def compare(
    expected: Answers, unbatched: Answers, batched: Answers, budget: Budget, batch_size: int = 8
) -> Parity:
    """Hold a candidate's answers, both ways, against the reference's for the same utterances.

    Of the ``budget`` counts what it takes for a near tie.
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
        name: np.concatenate([each[name] for each in answers])[place] for name in ("logits", "probabilities")
    }
