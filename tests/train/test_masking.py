"""Masked arithmetic against the same arithmetic on the valid frames alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mtab_train.masking import (
    Interpolation,
    MaskedBatchNorm1d,
    MaskedMean,
    masked_group_norm,
    valid_mask,
)

LENGTHS = torch.tensor([7, 1, 4])
SIZE = 9


def padded(channels: int, seed: int = 0) -> Tensor:
    """(3, channels, 9) float64 with the lengths above and large values in the padding."""
    x = torch.randn(3, channels, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.where(valid_mask(LENGTHS, SIZE)[:, None], x, 1e3 * x + 5)


def test_valid_mask() -> None:
    expected = [[True, True, False], [False, False, False], [True, True, True]]
    assert valid_mask(torch.tensor([2, 0, 5]), 3).tolist() == expected


def test_mean_is_over_valid_frames() -> None:
    x = padded(5).transpose(1, 2)
    expected = torch.stack([row[:length].mean(dim=0) for row, length in zip(x, LENGTHS, strict=True)])
    torch.testing.assert_close(MaskedMean()(x, valid_mask(LENGTHS, SIZE)), expected)


def test_group_norm_is_over_valid_frames() -> None:
    norm = nn.GroupNorm(4, 4).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = padded(4)
    y = masked_group_norm(x, LENGTHS, norm)
    for row, (alone, length) in enumerate(zip(x, LENGTHS.tolist(), strict=True)):
        # Without the module's check, which refuses a single frame.
        expected = torch.group_norm(alone[None, :, :length], 4, norm.weight, norm.bias, norm.eps)
        torch.testing.assert_close(y[row, :, :length], expected[0])
        assert not y[row, :, length:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_neither_overflows_nor_miscounts(dtype: torch.dtype) -> None:
    frames = 42_001  # what 210,000 samples leave after the first convolution
    x = (3 + 4 * torch.randn(1, 2, frames, generator=torch.Generator().manual_seed(0))).to(dtype)
    mask = torch.ones(1, frames, dtype=torch.bool)
    norm = nn.GroupNorm(2, 2)
    normalised = masked_group_norm(x, torch.tensor([frames]), norm)
    torch.testing.assert_close(normalised, norm(x.float()), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        MaskedMean()(x.transpose(1, 2), mask), x.float().mean(dim=2), atol=1e-4, rtol=1e-4
    )


def valid_frames(x: Tensor) -> Tensor:
    """(3, channels, 9) -> (valid frames, channels)"""
    return torch.cat([row[:, :length].T for row, length in zip(x, LENGTHS.tolist(), strict=True)])


def test_batch_norm_is_that_of_the_concatenated_valid_frames() -> None:
    masked, plain = MaskedBatchNorm1d(4).double(), nn.BatchNorm1d(4).double()
    nn.init.normal_(masked.weight)
    nn.init.normal_(masked.bias)
    plain.load_state_dict(masked.state_dict())
    mask = valid_mask(LENGTHS, SIZE)
    weights = torch.randn(int(LENGTHS.sum()), 4, dtype=torch.float64)
    for seed in range(3):
        x, frames = padded(4, seed).requires_grad_(), valid_frames(padded(4, seed)).requires_grad_()
        y, expected = valid_frames(masked(x, mask)), plain(frames)
        torch.testing.assert_close(y, expected)
        (y * weights).sum().backward()
        (expected * weights).sum().backward()
        assert x.grad is not None
        torch.testing.assert_close(valid_frames(x.grad), frames.grad)
        assert not x.grad[~mask[:, None].expand_as(x)].any()
    torch.testing.assert_close(masked.weight.grad, plain.weight.grad)
    torch.testing.assert_close(masked.bias.grad, plain.bias.grad)
    torch.testing.assert_close(masked.state_dict(), plain.state_dict())
    x = padded(4, seed=9)
    torch.testing.assert_close(valid_frames(masked.eval()(x, mask)), plain.eval()(valid_frames(x)))


def test_batch_norm_without_padding_is_torchs() -> None:
    masked, plain = MaskedBatchNorm1d(4).double(), nn.BatchNorm1d(4).double()
    x = padded(4)
    y = masked(x, torch.ones(3, SIZE, dtype=torch.bool))
    torch.testing.assert_close(y, plain(x))
    torch.testing.assert_close(masked.state_dict(), plain.state_dict())


def test_batch_norm_of_a_single_frame_uses_the_running_statistics_and_keeps_them() -> None:
    norm = MaskedBatchNorm1d(4).double()
    norm(padded(4), valid_mask(LENGTHS, SIZE))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x, mask = padded(4, seed=1)[1:2], valid_mask(LENGTHS, SIZE)[1:2]
    trained = norm(x, mask)
    torch.testing.assert_close(norm.state_dict(), before)
    torch.testing.assert_close(trained[..., :1], norm.eval()(x, mask)[..., :1])


def test_interpolation_by_hand() -> None:
    def weights(to_length: int, from_length: int) -> list[list[float]]:
        return Interpolation()(torch.tensor([to_length]), 4, torch.tensor([from_length]), 3)[0].tolist()

    # Twice as many frames as tokens: positions -1/4 (clamped to 0), 1/4, 3/4, 5/4 (clamped to 1).
    assert weights(4, 2) == [[1, 0, 0], [0.75, 0.25, 0], [0.25, 0.75, 0], [0, 1, 0]]
    # As many: frame i reads token i. One token: every frame reads it.
    assert weights(3, 3)[:3] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert weights(4, 1) == [[1, 0, 0]] * 4
    # Fewer: the frame reads the middle.
    assert weights(1, 2)[0] == [0.5, 0.5, 0]
    assert weights(1, 3)[0] == [0, 1, 0]


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32 - 1)
)
@settings(deadline=None, max_examples=50)
def test_interpolation_is_that_of_numpy(
    to_length: int, from_length: int, to_padding: int, from_padding: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=from_length + from_padding)
    weights = Interpolation()(
        torch.tensor([to_length]), to_length + to_padding, torch.tensor([from_length]), len(values)
    )[0].numpy()
    position = (np.arange(to_length) + 0.5) * from_length / to_length - 0.5
    expected = np.interp(position, np.arange(from_length), values[:from_length])
    np.testing.assert_allclose((weights @ values)[:to_length], expected, atol=1e-4)
    np.testing.assert_allclose(weights[:to_length].sum(axis=1), 1, atol=1e-5)
    assert not weights[:to_length, from_length:].any()
