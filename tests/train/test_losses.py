"""The losses, against their definitions written out and against published libraries."""

import math

import audmetric
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from mtab.data import Utterance
from mtab_train.batches import class_weights
from mtab_train.examples import Example
from mtab_train.losses import (
    CHARACTERS,
    CharacterCtc,
    CorpusCrossEntropy,
    Distillation,
    concordance_loss,
    likeness_loss,
    spell,
    supervised_contrastive,
)

from .small_models import UTTERANCES, batch, make

CORPORA = (0, 0, 2, 2, 2)
"""Two classes of one corpus, three of another."""


def test_corpus_cross_entropy_by_hand() -> None:
    """Logits of 0 and ln 3 are shares of 1/4 and 3/4; what the other corpus's classes get is no matter."""
    logits = torch.tensor([[0, math.log(3), 50, -2, 7], [9, 9, 0, 0, math.log(2)]], requires_grad=True)
    loss = CorpusCrossEntropy(CORPORA, None, 0.0)(logits, torch.tensor([1, 4]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    loss.backward()
    assert logits.grad is not None
    expected = [[1 / 8, -1 / 8, 0, 0, 0], [0, 0, 1 / 8, 1 / 8, -1 / 4]]
    np.testing.assert_allclose(logits.grad, expected, atol=1e-7)
    assert (logits.grad[[0, 0, 0, 1, 1], [2, 3, 4, 0, 1]] == 0).all()
    # Smoothed over its own two: half of each.
    loss = CorpusCrossEntropy(CORPORA, None, 1.0)(logits[:1], torch.tensor([1]))
    assert loss.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.floats(0, 0.9), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_corpus_cross_entropy_is_torchs_of_each_corpus(
    labels: list[int], smoothing: float, seed: int
) -> None:
    """The mean over the corpora of torch's own loss on their classes, by the weights of their utterances."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(labels), 5, generator=random)
    weights, true = 0.5 + torch.rand(5, generator=random), torch.tensor(labels)
    expected = 0.0
    for own in (slice(0, 2), slice(2, 5)):
        rows = (true >= own.start) & (true < own.stop)
        if rows.any():
            of_one = torch.nn.CrossEntropyLoss(weights[own], label_smoothing=smoothing)
            part = of_one(logits[rows][:, own], true[rows] - own.start)
            expected += float(part * weights[true[rows]].sum() / weights[true].sum())
    found = CorpusCrossEntropy(CORPORA, weights, smoothing)(logits, true)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_a_corpus_teaches_nothing_about_the_classes_of_another() -> None:
    model = make(labels=("a/x", "a/y", "b/x", "b/y"), classifier_heads="corpus")
    loss = CorpusCrossEntropy(model.config.corpora, None, 0.1)
    loss(model(*batch(UTTERANCES)).logits, torch.tensor([0, 1, 1])).backward()
    gradient = model.head.classifier.weight.grad
    assert gradient is not None
    assert (gradient[2:] == 0).all()
    assert (gradient[:2].abs().max(dim=1).values > 1e-3).all()


def test_balanced_class_weights_are_scikit_learns_of_each_corpus() -> None:
    labels = [0, 0, 0, 1, 2, 4, 4, 4, 4, 2]
    utterance = Utterance("u", None, "Hi", "x")
    examples = [Example(utterance, label, (None, None), 0, 1, {}) for label in labels]
    joint = compute_class_weight("balanced", classes=np.array([0, 1, 2, 4]), y=labels)
    weights = class_weights(examples, (0,) * 5)
    np.testing.assert_allclose(weights[[0, 1, 2, 4]], joint * 4 / 5, rtol=1e-6)
    first = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels[:4])
    second = compute_class_weight("balanced", classes=np.array([2, 4]), y=labels[4:])
    # An absent class counts among those of its corpus, and weighs 1 itself.
    expected = [*first, second[0] * 2 / 3, 1, second[1] * 2 / 3]
    np.testing.assert_allclose(class_weights(examples, CORPORA), expected, rtol=1e-6)


def test_concordance_loss_by_hand() -> None:
    """Means 2 and 3, variances 2/3 and 8/3, covariance 4/3: CCC = (8/3) / (10/3 + 1) = 8/13."""
    found, true = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [3.0], [5.0]])
    assert concordance_loss(found, true).item() == pytest.approx(1 - 8 / 13)


def test_concordance_loss_takes_what_is_defined() -> None:
    """The second dimension has one rating, the third the same twice, the fourth none."""
    nan = float("nan")
    found = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    true = torch.tensor([[1.0, nan, 3.3, nan], [2, nan, 3.3, nan], [nan, 5, nan, nan], [4, nan, nan, nan]])
    loss = concordance_loss(found, true)
    loss.backward()
    known = [0, 1, 3]
    expected = audmetric.concordance_cc(true[known, 0].numpy(), found.detach()[known, 0].numpy())
    assert loss.item() == pytest.approx(1 - expected, abs=1e-6)
    assert found.grad is not None
    assert found.grad[known, 0].abs().min() > 0
    assert (found.grad[:, 1:] == 0).all()
    assert found.grad[2, 0] == 0
    nothing = concordance_loss(found, torch.full((4, 4), nan))
    assert nothing.item() == 0
    nothing.backward()
    assert found.grad.isfinite().all()


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 9), st.integers(1, 3), st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 1e3]))
def test_concordance_loss_is_the_libraries_in_any_units(
    rows: int, dimensions: int, seed: int, scale: float
) -> None:
    random = np.random.default_rng(seed)
    found, true = scale * random.normal(size=(2, rows, dimensions)) + 2 * scale
    cccs = [audmetric.concordance_cc(true[:, i], found[:, i]) for i in range(dimensions)]
    loss = concordance_loss(torch.tensor(found), torch.tensor(true))
    assert loss.item() == pytest.approx(1 - np.mean(cccs), abs=1e-4)


def test_concordance_loss_has_the_gradient_of_finite_differences() -> None:
    random = torch.Generator().manual_seed(3)
    found = torch.randn(6, 2, generator=random)
    true = torch.randn(6, 2, generator=random)
    true[0, 1] = float("nan")
    leaf = found.clone().requires_grad_()
    concordance_loss(leaf, true).backward()
    assert leaf.grad is not None
    step = 1e-2
    for row, column in np.ndindex(6, 2):
        moved = torch.zeros(6, 2)
        moved[row, column] = step
        slope = (concordance_loss(found + moved, true) - concordance_loss(found - moved, true)) / (2 * step)
        assert leaf.grad[row, column].item() == pytest.approx(slope.item(), abs=2e-4)


def by_hand(embeddings: np.ndarray, labels: list[int], t: float) -> float:
    """The equation, an anchor at a time."""
    z = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    terms = []
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        if positives:
            whole = sum(math.exp(z[i] @ z[a] / t) for a in range(len(z)) if a != i)
            terms.append(-np.mean([math.log(math.exp(z[i] @ z[p] / t) / whole) for p in positives]))
    return float(np.mean(terms)) if terms else 0.0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(0, 1000))
def test_contrastive_loss_is_the_equation(labels: list[int], seed: int) -> None:
    embeddings = np.random.default_rng(seed).normal(size=(len(labels), 5))
    tensor = torch.tensor(embeddings, requires_grad=True)
    loss = supervised_contrastive(tensor, torch.tensor(labels), 0.5)
    assert loss.item() == pytest.approx(by_hand(embeddings, labels, 0.5), abs=1e-5)
    loss.backward()
    assert tensor.grad is not None
    assert tensor.grad.isfinite().all()


def test_letters() -> None:
    assert [CHARACTERS[i - 1] for i in spell("  I can't,  Zoë! 7")] == list("I|CAN'T|ZOE|")
    assert spell("") == spell("123") == []


def test_ctc_of_a_single_path_by_hand() -> None:
    """One frame and one letter: the only path is that letter."""
    torch.manual_seed(0)
    head = CharacterCtc(4)
    speech = torch.randn(1, 1, 4)
    found = head(speech, torch.tensor([1]), torch.tensor([[3]]), torch.tensor([1]))
    expected = -head.classifier(speech)[0, 0].log_softmax(dim=0)[3]
    torch.testing.assert_close(found, expected)


def test_what_cannot_be_spelled_does_not_count_and_padding_neither() -> None:
    torch.manual_seed(0)
    head = CharacterCtc(4)
    speech = torch.randn(4, 6, 4, requires_grad=True)
    frames, lengths = torch.tensor([6, 0, 2, 5]), torch.tensor([2, 2, 5, 0])
    letters = torch.randint(1, 20, (4, 5))
    whole = head(speech, frames, letters, lengths)
    alone = head(speech[:1], frames[:1], letters[:1, :2], lengths[:1])
    torch.testing.assert_close(whole, alone)
    whole.backward()
    assert speech.grad is not None
    assert speech.grad.isfinite().all()
    assert not speech.grad[1:].any()


def test_a_batch_without_a_letter() -> None:
    loss = CharacterCtc(4)(
        torch.randn(2, 6, 4), torch.tensor([6, 4]), torch.zeros(2, 0).long(), torch.tensor([0, 0])
    )
    assert loss.item() == 0


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0, 1.0])])
def test_distillation_is_between_labels_and_the_teacher(weight: torch.Tensor | None) -> None:
    """Nothing of the teacher is PyTorch's cross-entropy, nothing of the labels its KL divergence."""
    torch.manual_seed(0)
    logits, teacher = torch.randn(6, 3), 3 * torch.randn(6, 3)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    annotated, nobody = torch.ones(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)

    def loss(share: float, annotated: torch.Tensor) -> float:
        return Distillation(share, 2.0, weight, 0.1)(logits, labels, annotated, teacher).item()

    plain = nn.CrossEntropyLoss(weight, label_smoothing=0.1)(logits, labels).item()
    each = nn.functional.kl_div(
        (logits / 2).log_softmax(dim=1), (teacher / 2).softmax(dim=1), reduction="none"
    ).sum(dim=1)
    shares = torch.ones(6) if weight is None else weight[labels]
    taught = (4 * (each * shares).sum() / shares.sum()).item()
    assert loss(0.0, annotated) == pytest.approx(plain)
    assert loss(1.0, annotated) == pytest.approx(taught)
    assert loss(0.25, annotated) == pytest.approx(0.75 * plain + 0.25 * taught)
    # Whose label is the teacher's own guess learns no more than the guess's odds.
    assert loss(0.25, nobody) == pytest.approx(taught)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), utterances=st.integers(3, 12), scale=st.floats(1e-2, 1e2))
def test_likeness_knows_no_rotation_scale_or_origin(seed: int, utterances: int, scale: float) -> None:
    torch.manual_seed(seed)
    teacher = torch.randn(utterances, 5)
    rotation, _ = torch.linalg.qr(torch.randn(8, 8))
    same = scale * nn.functional.pad(teacher, (0, 3)) @ rotation + torch.randn(8)
    assert likeness_loss(same, teacher).item() == pytest.approx(0, abs=1e-4)
    # As the paper writes it, with centring matrices.
    other = torch.randn(utterances, 4)
    centring = torch.eye(utterances) - 1 / utterances
    k, m = (centring @ x @ x.T @ centring for x in (other, teacher))
    cka = torch.trace(k @ m) / (torch.trace(k @ k) * torch.trace(m @ m)).sqrt()
    assert likeness_loss(other, teacher).item() == pytest.approx(1 - cka.item(), abs=1e-4)


def test_a_batch_that_is_all_the_same_teaches_no_likeness() -> None:
    embeddings = torch.ones(4, 3, requires_grad=True)
    loss = likeness_loss(embeddings, torch.randn(4, 2))
    loss.backward()
    assert loss.item() == 0
    assert embeddings.grad is not None
    assert torch.equal(embeddings.grad, torch.zeros(4, 3))
