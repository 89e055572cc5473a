"""Padding changes no answer, no gradient and no statistic of Mul-TAB."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from mtab_train.masking import MaskedBatchNorm1d
from mtab_train.model import (
    MulTAB,
    TemporalAwareBlock,
)

from .small_models import (
    CONFIG,
    UTTERANCES,
    VARIANTS,
    Utterance,
    batch,
    close,
    make,
    random,
    scramble,
    variant,
)


@st.composite
def batches(draw: st.DrawFn, missing: bool) -> tuple[list[Utterance], int, int]:
    """Utterances in any order, and columns past the longest."""
    lengths = st.tuples(st.integers(30, 400), st.integers(1, 20))
    kinds = [lengths]
    if missing:
        kinds += [lengths.map(lambda u: (0, u[1])), lengths.map(lambda u: (u[0], 0))]
    utterances = draw(st.lists(st.one_of(kinds), min_size=1, max_size=4))
    samples, tokens = draw(st.integers(0, 150)), draw(st.integers(0, 8))
    return utterances, max(u[0] for u in utterances) + samples, max(u[1] for u in utterances) + tokens


@pytest.mark.parametrize("name", VARIANTS)
@given(data=st.data(), garbage=st.booleans())
@settings(deadline=None, max_examples=8)
@torch.no_grad()
def test_an_answer_is_the_same_alone_and_in_any_batch(name: str, data: st.DataObject, garbage: bool) -> None:
    model = variant(name)
    utterances, samples, tokens = data.draw(batches(missing=model.stand_in is not None))
    batched = model(*batch(utterances, samples, tokens, garbage))
    for row, utterance in enumerate(utterances):
        alone = model(*batch([utterance]))
        torch.testing.assert_close(batched.probabilities[row], alone.probabilities[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(batched.logits[row], alone.logits[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(batched.embeddings[row], alone.embeddings[0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_answers_differ_between_utterances() -> None:
    """The control: an answer that nothing moves would be the same in any batch as well."""
    for name in VARIANTS:
        probabilities = variant(name)(*batch([(310, 6), (150, 12), (90, 3)])).probabilities
        assert (probabilities[0] - probabilities[1]).abs().max() > 1e-3, name
        close(probabilities.sum(dim=1), torch.ones(3))


TARGETS = torch.tensor([2, 0, 1])


def gradients(model: MulTAB, inputs: tuple[Tensor, ...], targets: Tensor) -> dict[str, Tensor]:
    """Of the summed cross-entropy, by parameter."""
    model.zero_grad()
    values, *rest = inputs
    cross_entropy(model(values.double(), *rest).logits, targets, reduction="sum").backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same_gradients(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert any(gradient.any() for gradient in expected.values())
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_of_a_padded_batch_are_the_sum_of_those_alone(name: str) -> None:
    """With batch norm as at inference, the one part that is meant to see the whole batch."""
    model = make(**VARIANTS[name]).double().train()
    for norm in model.modules():
        if isinstance(norm, MaskedBatchNorm1d):
            norm.eval()
    utterances = UTTERANCES if model.stand_in is None else [*UTTERANCES[:1], (0, 14), (201, 0)]
    batched = gradients(model, batch(utterances, 400, 20), TARGETS)
    alone = [
        gradients(model, batch([utterance]), TARGETS[row : row + 1])
        for row, utterance in enumerate(utterances)
    ]
    same_gradients(batched, {name: sum(each[name] for each in alone) for name in batched})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", VARIANTS)
def test_what_lies_in_the_padding_moves_no_gradient_and_no_statistic(name: str) -> None:
    """Training as it is, batch norm over the batch included."""
    utterances = UTTERANCES if not VARIANTS[name].get("modality_dropout") else [(310, 6), (0, 14), (201, 0)]
    found, statistics = [], []
    for inputs in (batch(utterances), batch(utterances, 400, 20), batch(utterances, 555, 25, garbage=True)):
        model = make(**VARIANTS[name]).double().train()
        found.append(gradients(model, inputs, TARGETS))
        statistics.append({key: value for key, value in model.state_dict().items() if "running" in key})
    for other in (1, 2):
        same_gradients(found[other], found[0])
        torch.testing.assert_close(statistics[other], statistics[0])


def test_batch_statistics_are_those_of_the_valid_frames() -> None:
    """The first layer of a TAB in training against `BatchNorm1d` over the frames of each utterance alone."""
    block = TemporalAwareBlock(dataclasses.replace(CONFIG, num_tab_layers=1)).train()
    scramble(block)
    x, lengths = random(3, 7, 32), [7, 1, 4]
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    convolved = [
        block.convolutions[0](pad(row[None, :n].transpose(1, 2), (0, 1)))[0].T
        for row, n in zip(x, lengths, strict=True)
    ]
    norm = nn.BatchNorm1d(32)
    norm.load_state_dict(block.norms[0].state_dict())
    y = block(x, mask)[mask]
    expected = x[mask] * torch.sigmoid(torch.relu(norm(torch.cat(convolved))))
    close(y, expected)
    torch.testing.assert_close(block.norms[0].state_dict(), norm.state_dict())


@pytest.mark.parametrize("utterances", [[(310, 6)], [(30, 1)], [(49, 3)]])
@pytest.mark.parametrize("name", ["wav2vec2", "pooled", "text only"])
def test_a_last_batch_of_one_trains(name: str, utterances: list[Utterance]) -> None:
    model = make(**VARIANTS[name]).train()
    output = model(*batch(utterances, 400, 20))
    cross_entropy(output.logits, TARGETS[:1]).backward()
    assert output.probabilities.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert all(value.isfinite().all() for value in model.state_dict().values())
