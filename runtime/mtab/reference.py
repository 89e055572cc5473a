"""``reference.json``: PyTorch's answers at export, to hold a graph against where there is no PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mtab.bundle import Bundle
from mtab.config import load_config
from mtab.data import Corpus, Utterance, corpus_hash
from mtab.errors import DataError

REFERENCE = "reference.json"


@dataclass(frozen=True, slots=True)
class Reference:
    """What PyTorch answered for each of ``utterances`` alone: logits and probabilities by class, dimensions.

    ``dataset`` is the reader of the corpus, ``corpus`` its title, ``columns`` as in `mtab.data.Corpus`;
    ``corpus_sha256`` is `mtab.data.corpus_hash` of the utterances.
    """

    dataset: str
    corpus: str
    corpus_sha256: str
    utterances: tuple[str, ...]
    logits: tuple[tuple[float, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]
    columns: dict[str, str] = field(default_factory=dict)
    dimensions: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        for name, rows in self._answers.items():
            if len(rows) != len(self.utterances):
                raise ValueError(
                    f"{len(rows)} {name}, expected one for each of {len(self.utterances)} utterances"
                )

    def answers(self, utterances: Sequence[Utterance]) -> dict[str, np.ndarray]:
        """``logits`` and ``probabilities`` for some of the utterances, (utterances, classes) float64.

        Of a model that has them, ``dimensions`` (utterances, dimensions) too.
        """
        row = {name: i for i, name in enumerate(self.utterances)}
        rows = [row[utterance.id] for utterance in utterances]
        return {name: np.array(answers)[rows] for name, answers in self._answers.items()}

    @property
    def _answers(self) -> dict[str, tuple[tuple[float, ...], ...]]:
        answers = {"logits": self.logits, "probabilities": self.probabilities}
        return answers if self.dimensions is None else answers | {"dimensions": self.dimensions}


def make_reference(
    corpus: Corpus,
    utterances: Sequence[Utterance],
    logits: np.ndarray,
    probabilities: np.ndarray,
    dimensions: np.ndarray | None = None,
) -> Reference:
    """PyTorch's answers (utterances, classes), and dimensions, for some utterances of a corpus."""
    return Reference(
        dataset=corpus.name,
        corpus=corpus.title,
        corpus_sha256=corpus_hash(tuple(utterances)),
        utterances=tuple(utterance.id for utterance in utterances),
        logits=tuple(map(tuple, logits.tolist())),
        probabilities=tuple(map(tuple, probabilities.tolist())),
        columns=dict(corpus.columns),
        dimensions=None if dimensions is None else tuple(map(tuple, dimensions.tolist())),
    )


def load_reference(bundle: Bundle) -> Reference:
    """The answers that a bundle holds. Raises `BundleError` if it has none."""
    return load_config(Reference, bundle.path(REFERENCE))


def referenced_utterances(reference: Reference, corpus: Corpus) -> tuple[Utterance, ...]:
    """Those utterances of ``corpus`` that the answers are for, in their order.

    Raises `DataError` if one is not there, or the recordings or transcripts are not those of the export.
    """
    by_id = {utterance.id: utterance for utterance in corpus.utterances}
    if missing := [name for name in reference.utterances if name not in by_id]:
        raise DataError(
            f"{corpus.place}: lacks utterance {missing[0]!r}, expected those of {reference.corpus}"
        )
    utterances = tuple(by_id[name] for name in reference.utterances)
    if (found := corpus_hash(utterances)) != reference.corpus_sha256:
        raise DataError(
            f"{corpus.place}: has changed since the export (content {found[:12]}…, expected "
            f"{reference.corpus_sha256[:12]}…)"
        )
    return utterances
