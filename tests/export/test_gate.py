"""The gate measures what it says: worked by hand, and against graphs that are known to be off."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mtab.data import Corpus
from mtab.errors import DataError
from mtab.graphs import Budget
from mtab.preprocess import Features, Preprocessor
from mtab.sample import Sample, read_sample
from mtab_export.gate import accuracy_change, arithmetic, certify, is_emulated

LABELS = ("high", "low")
BOTH = (("audio", "text"),)
BUDGET = Budget(max_difference=1e-3, min_agreement=1.0)


@pytest.fixture(scope="module")
def sample(tone_bundle: Path, tones: Corpus) -> Sample:
    return read_sample(tones, tones.utterances, Preprocessor.from_folder(tone_bundle), BOTH, 10)


def answers(probabilities: np.ndarray) -> dict[str, np.ndarray]:
    return {"logits": np.log(probabilities), "probabilities": probabilities}


def test_the_sample_is_drawn_evenly(sample: Sample, tones: Corpus, tone_bundle: Path) -> None:
    assert len(sample.features) == len(sample.utterances) == 10
    assert sample.utterances[0] == tones.utterances[0]
    assert sample.utterances[-1] == tones.utterances[-1]
    mute = [dataclasses.replace(utterance, text=None) for utterance in tones.utterances]
    with pytest.raises(DataError, match="none of 36 utterances can be read"):
        read_sample(tones, mute, Preprocessor.from_folder(tone_bundle), BOTH, 10)


def test_a_batch_that_changes_an_answer_is_found(sample: Sample) -> None:
    """An engine that answers alone as the reference does, and leans by 0.01 in a batch."""
    p = np.linspace(0.55, 0.95, len(sample.features))
    reference = answers(np.stack([p, 1 - p], axis=1))
    index = {id(features): i for i, features in enumerate(sample.features)}

    def answer(features: Sequence[Features]) -> dict[str, np.ndarray]:
        lean = 0.01 if len(features) > 1 else 0.0
        rows = reference["probabilities"][[index[id(f)] for f in features]] - [lean, -lean]
        return answers(rows)

    verdict = certify(answer, reference, sample, LABELS, BUDGET, 4, "by hand")
    certificate = verdict.certificate
    assert certificate.max_probability_difference == 0
    assert certificate.max_batched_difference == pytest.approx(0.01)
    assert certificate.max_invariance_difference == pytest.approx(0.01)
    assert certificate.label_agreement == 1
    assert certificate.accuracy is not None
    assert certificate.accuracy.war.change == 0
    assert (certificate.arithmetic, certificate.corpus) == ("by hand", sample.corpus.root.name)
    assert len(verdict.failures) == 2
    assert all("in batches" in failure or "batched" in failure for failure in verdict.failures)


def test_a_corpus_of_other_labels_has_no_accuracy(sample: Sample) -> None:
    reference = answers(np.full((len(sample.features), 2), 0.5))

    def answer(features: Sequence[Features]) -> dict[str, np.ndarray]:
        return answers(np.full((len(features), 2), 0.5))

    verdict = certify(answer, reference, sample, ("joy", "anger"), BUDGET, 4, "by hand")
    assert verdict.certificate.accuracy is None
    assert verdict.failures == ()


def test_accuracy_change_by_hand() -> None:
    """Four of class a, one of b; the graph loses one of a and wins b."""
    true = ["a", "a", "a", "a", "b"]
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    before = np.array([right, right, right, wrong, right])
    after = np.array([right, right, wrong, wrong, wrong])
    change = accuracy_change(true, before, after, ["a", "b"])
    assert change.war.pytorch == pytest.approx(3 / 5)
    assert change.war.graph == pytest.approx(3 / 5)
    assert change.uar.pytorch == pytest.approx((3 / 4 + 0) / 2)
    assert change.uar.graph == pytest.approx((2 / 4 + 1) / 2)
    assert change.uar.change == pytest.approx(3 / 8)
    low, high = change.war.interval
    assert low < 0 < high


def test_no_change_has_no_interval() -> None:
    rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    change = accuracy_change(["a", "b", "b"], rows, rows, ["a", "b"])
    assert change.war.interval == change.uar.interval == (0, 0)


def test_a_cpu_would_hide_an_overflow() -> None:
    assert is_emulated("fp16", "cpu")
    assert is_emulated("bf16", "cpu")
    assert not is_emulated("fp16", "cuda")
    assert not is_emulated("int8", "cpu")
    assert "rounded to fp16" in arithmetic("fp16", "cpu")
    assert arithmetic("fp16", "cuda:1") == "ONNX Runtime on cuda:1"
