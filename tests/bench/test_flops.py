"""Arithmetic counted, beside layers worked out by hand."""

import pytest
import torch
from torch import nn

from mtab_bench.flops import count_flops


def test_a_linear_layer_and_a_convolution() -> None:
    x = torch.zeros(3, 5, 8)
    assert count_flops(lambda: nn.Linear(8, 16)(x)) == 2 * 3 * 5 * 8 * 16
    convolution = nn.Conv1d(8, 6, 3, groups=2)
    # 10 samples give 8; each output reads 3 samples of the 4 channels of its group.
    assert count_flops(lambda: convolution(torch.zeros(3, 8, 10))) == 2 * 3 * 8 * 6 * 4 * 3


def test_what_is_fused_at_inference_is_counted() -> None:
    batch, length, width, inner = 2, 7, 16, 24
    layer = nn.TransformerEncoderLayer(width, 4, inner, batch_first=True).eval()
    projections = 4 * 2 * batch * length * width * width
    attention = 2 * 2 * batch * length * length * width
    feed_forward = 2 * 2 * batch * length * width * inner
    mask = torch.zeros(batch, length, dtype=torch.bool)
    counted = count_flops(lambda: layer(torch.zeros(batch, length, width), src_key_padding_mask=mask))
    assert counted == projections + attention + feed_forward
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("batch", [1, 3])
def test_arithmetic_grows_with_the_batch(batch: int) -> None:
    layer = nn.Linear(4, 4)
    assert count_flops(lambda: layer(torch.zeros(batch, 4))) == batch * count_flops(
        lambda: layer(torch.zeros(1, 4))
    )
