"""Dropout against its definition, and in place of every module of PyTorch's."""

import dataclasses

import pytest
import torch
from torch import nn

from mtab_train.dropout import Dropout, draw_cheaply
from mtab_train.model import MulTAB
from mtab_train.start import Start


@pytest.mark.parametrize("probability", [0.1, 0.25, 0.9])
def test_elements_are_0_with_the_probability_and_the_others_keep_the_mean(probability: float) -> None:
    torch.manual_seed(0)
    x = torch.full((999, 1001), 3.0, requires_grad=True)
    dropped = Dropout(probability)(x)
    share = (dropped == 0).float()
    # Five standard deviations of a mean of a million draws, and of one of a thousand.
    deviation = (probability * (1 - probability)) ** 0.5
    assert abs(share.mean().item() - probability) < 5 * deviation / 1_000
    for axis in (0, 1):
        assert (share.mean(dim=axis) - probability).abs().max() < 5 * deviation / 999**0.5
    torch.testing.assert_close(
        dropped[dropped != 0], torch.tensor(3 / (1 - probability)).expand(int((1 - share).sum()))
    )
    # The gradient is the mask's.
    dropped.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * 3, dropped.detach())
    # Neighbours, of one word, know nothing of each other.
    pairs = torch.stack([share[:, :-1].flatten(), share[:, 1:].flatten()])
    assert abs(torch.corrcoef(pairs)[0, 1]) < 0.005


def test_the_same_seed_draws_the_same_and_inference_draws_nothing() -> None:
    layer, x = Dropout(0.5), torch.randn(7, 3)
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    state = torch.get_rng_state()
    assert layer.eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)
    assert Dropout(0.5)(x.bfloat16()).dtype == torch.bfloat16
    assert Dropout(0.5)(torch.empty(0, 3)).shape == (0, 3)


def test_every_dropout_of_a_model_is_replaced_and_keeps_its_probability(start: Start) -> None:
    model = MulTAB.from_config(dataclasses.replace(start.model, dropout=0.3))
    before = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert 0.3 in before.values()
    draw_cheaply(model)
    after = {name: module for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert {name: module.p for name, module in after.items()} == before
    assert {type(module) for module in after.values()} == {Dropout}
