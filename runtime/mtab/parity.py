"""Whether two engines answer alike, utterance by utterance, alone and among others in padded batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mtab.errors import DataError
from mtab.graphs import HIDDEN, PROBABILITIES
from mtab.preprocess import Features

Answers = Mapping[str, np.ndarray]
"""``logits`` and ``probabilities``, (utterances, classes) each."""

Answer = Callable[[Sequence[Features]], Answers]
"""One padded batch through a model."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How a candidate's answers differ from a reference's, each utterance of the reference alone.

    Differences are of probabilities. Alone and in padded batches the candidate is held against the
    reference; invariance is the candidate in batches against itself alone. ``max_logits_used`` is the share
    of their tolerance that the worst logits take up, more than 1 being outside it.
    ``relative_logits_difference`` is the largest difference of a logit as a share of the largest logit.

    Utterances are counted from 0. ``changed`` and ``near_ties`` get another label, alone or in a batch; at
    ``near_ties`` the reference's two likeliest classes are no further apart than the tolerance can close.
    ``label_agreement`` counts both as changed.
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
    changed: tuple[int, ...]
    near_ties: tuple[int, ...]

    def failures(
        self,
        max_difference: float = PROBABILITIES.atol,
        min_agreement: float = 1.0,
        names: Sequence[str] | None = None,
    ) -> list[str]:
        """What exceeds the budget, a line each; nothing if the candidate may stand in for the reference.

        A label that changes at a near-tie is not held against ``min_agreement``. ``names`` are what to call
        the utterances (None: by their number).
        """
        names = names or [str(i) for i in range(self.utterances)]
        failures = []
        for what, difference, worst in (
            ("alone", self.max_probability_difference, self.worst),
            (f"in batches of {self.batch_size}", self.max_batched_difference, self.worst_batched),
            ("between batched and alone", self.max_invariance_difference, self.worst_invariance),
        ):
            if not difference <= max_difference:  # NaN is a failure too
                failures.append(
                    f"a probability differs by {difference:.2g} {what} (utterance {names[worst]} of "
                    f"{self.utterances}), expected at most {max_difference:.2g}"
                )
        if 1 - len(self.changed) / self.utterances < min_agreement:
            failures.append(
                f"{len(self.changed)} of {self.utterances} labels change, not at a near-tie (first utterance "
                f"{names[self.changed[0]]}), expected agreement of at least {min_agreement:.2%}"
            )
        return failures


def measure_parity(
    reference: Answer,
    candidate: Answer,
    features: Sequence[Features],
    batch_size: int = 8,
    seed: int = 0,
    tolerance: float = PROBABILITIES.atol,
) -> Parity:
    """Compare ``candidate`` with ``reference`` on ``features``, alone and in batches ordered by ``seed``.

    See `compare`. Raises `DataError` without a single utterance.
    """
    return compare(
        answers_alone(reference, features),
        answers_alone(candidate, features),
        answers_in_batches(candidate, features, batch_size, seed),
        batch_size,
        tolerance,
    )


def compare(
    expected: Answers,
    alone: Answers,
    batched: Answers,
    batch_size: int = 8,
    tolerance: float = PROBABILITIES.atol,
) -> Parity:
    """Hold a candidate's answers, ``alone`` and ``batched``, against the reference's for the same utterances.

    A lead of twice ``tolerance`` or less is a near-tie, because the tolerance can take from the first class
    and give to the second.
    """
    probabilities = expected["probabilities"].astype(np.float64)
    differences = np.abs(alone["probabilities"] - probabilities)
    by_utterance = differences.max(axis=1)
    by_utterance_batched = np.abs(batched["probabilities"] - probabilities).max(axis=1)
    by_utterance_invariance = np.abs(batched["probabilities"] - alone["probabilities"]).max(axis=1)
    labels = probabilities.argmax(axis=1)
    changed = np.any([found["probabilities"].argmax(axis=1) != labels for found in (alone, batched)], axis=0)
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    near_tie = first - second <= 2 * tolerance
    logits_used = [HIDDEN.used(found["logits"], expected["logits"]).max() for found in (alone, batched)]
    logits = expected["logits"].astype(np.float64)
    moved = max(np.abs(found["logits"] - logits).max() for found in (alone, batched))
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
        changed=tuple(np.flatnonzero(changed & ~near_tie).tolist()),
        near_ties=tuple(np.flatnonzero(changed & near_tie).tolist()),
    )


def answers_alone(answer: Answer, features: Sequence[Features]) -> Answers:
    """The answers for each of ``features`` alone. Raises `DataError` without a single utterance."""
    return _answers(answer, features, range(len(features)), 1)


def answers_in_batches(
    answer: Answer, features: Sequence[Features], batch_size: int = 8, seed: int = 0
) -> Answers:
    """The answers in padded batches drawn at random by ``seed``, in the order of ``features``."""
    order = np.random.default_rng(seed).permutation(len(features))
    return _answers(answer, features, order, batch_size)


def _answers(
    answer: Answer, features: Sequence[Features], order: Sequence[int] | np.ndarray, batch_size: int
) -> Answers:
    """The answers for ``features``, each in its place, asked for in batches along ``order``."""
    if not features:
        raise DataError("no utterance to compare, expected at least one")
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    answers = [answer([features[i] for i in part]) for part in parts]
    place = np.argsort(order)
    return {
        name: np.concatenate([each[name] for each in answers])[place] for name in ("logits", "probabilities")
    }
