"""What ``mtab-bench robustness`` measures: how much less often a model is right on spoilt inputs."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mtab.data import corpus_hash
from mtab.model import Model
from mtab.preprocess import Features
from mtab.progress import track
from mtab_bench.distortions import Condition, conditions, wrong_words
from mtab_bench.sections.breakdown import RESAMPLES, Estimate, resampled
from mtab_bench.test_set import LoadedTestSet

CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Robust:
    """WAR and UAR under a condition, and by how much they are above those of the clean utterances.

    The intervals are a paired bootstrap's: the same utterances are drawn clean and spoilt.
    """

    condition: str
    war: float
    uar: float
    war_difference: Estimate
    uar_difference: Estimate


@dataclass(frozen=True, slots=True)
class Robustness:
    """Clean first, then every condition, for ``utterances`` answered by one engine; ``seed`` makes the noise.

    ``part``, ``left_out`` and ``overlap`` are as in `mtab_bench.test_set.LoadedTestSet`.
    """

    corpus: str
    part: str
    corpus_sha256: str
    left_out: dict[str, int]
    overlap: int | None
    engine: str
    precision: str
    seed: int
    utterances: int
    conditions: tuple[Robust, ...]


def measure_robustness(model: Model, test: LoadedTestSet, seed: int = 0) -> Robustness:
    """Answer the utterances as they are, and under each of `mtab_bench.distortions.conditions`.

    What befalls an utterance depends on ``seed``, the condition and the utterance's place alone.
    """
    labels = model.labels
    true = np.array([labels.index(utterance.label) for utterance in test.utterances])
    # The first draw is of each utterance once: the scores themselves.
    random = np.random.default_rng(seed)
    drawn = np.vstack([np.arange(len(true)), random.integers(len(true), size=(RESAMPLES, len(true)))])

    def scored(name: str, features: Iterable[Features]) -> np.ndarray:
        shown = track(features, name, "utterances", len(true))
        predicted = [labels.index(model.answer([each])[0].label) for each in shown]
        return np.stack(resampled(true, np.array(predicted), drawn))

    clean = scored(CLEAN, test.features)
    scores = {CLEAN: clean}
    spoiler = _Spoiler(model, test, seed)
    for condition in spoiler.conditions:
        scores[condition.name] = scored(condition.name, spoiler.features(condition))
    return Robustness(
        corpus=test.corpus.title,
        part=test.part,
        corpus_sha256=corpus_hash(test.utterances),
        left_out=test.left_out,
        overlap=test.overlap,
        engine=model.engine.name,
        precision=model.engine.precision,
        seed=seed,
        utterances=len(true),
        conditions=tuple(_robust(name, found, clean) for name, found in scores.items()),
    )


def _robust(name: str, scores: np.ndarray, clean: np.ndarray) -> Robust:
    """Of WAR and UAR (2, draws), the first draw being the utterances themselves."""
    moved = scores - clean
    low, high = np.percentile(moved[:, 1:], [2.5, 97.5], axis=1)
    war, uar = (Estimate(*map(float, each)) for each in zip(moved[:, 0], low, high, strict=True))
    return Robust(name, float(scores[0, 0]), float(scores[1, 0]), war, uar)


class _Spoiler:
    """Makes what a model takes of the utterances under a condition."""

    def __init__(self, model: Model, test: LoadedTestSet, seed: int) -> None:
        self.preprocess, self.utterances, self.seed = model.preprocess, test.utterances, seed
        self.clip = lru_cache(maxsize=256)(self._clip)
        features = test.features
        self.heard = [i for i, each in enumerate(features) if each.input_values is not None]
        self.vocabulary = sorted({word for each in test.utterances for word in (each.text or "").split()})
        reads = any(each.input_ids is not None for each in features)
        self.conditions = conditions(self._voice, listens=bool(self.heard), reads=reads)

    def features(self, condition: Condition) -> Iterator[Features]:
        """Each utterance's, one after another."""
        heard = set(self.heard)
        for number, utterance in enumerate(self.utterances):
            random = np.random.default_rng([self.seed, zlib.crc32(condition.name.encode()), number])
            audio, text = self.clip(number) if number in heard else None, utterance.text
            if audio is not None and condition.sound is not None:
                audio = condition.sound(audio, random).astype(np.float32)
            if text is not None and condition.word_error_rate:
                text = wrong_words(text, condition.word_error_rate, self.vocabulary, random)
            yield self.preprocess(audio, text)

    def _clip(self, number: int) -> np.ndarray:
        """Samples before they are normalised, float32 (n,)."""
        start, end = self.utterances[number].span
        return self.preprocess.samples(self.utterances[number].audio, start=start, end=end)

    def _voice(self, random: np.random.Generator) -> np.ndarray:
        return self.clip(self.heard[random.integers(len(self.heard))])
