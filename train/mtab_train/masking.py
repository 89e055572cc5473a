"""Arithmetic over padded batches in which padding never reaches a valid frame.

Lengths are int64 of shape (batch,); a mask is bool of shape (batch, time), true where a frame is valid. Sums
over time are in float32 under mixed precision too: half precision cannot count to the frames of a long clip.
What sums is a module, so that a graph's nodes carry its name and an export can keep them in float32.
"""

import math

import torch
from torch import Tensor, nn


def valid_mask(lengths: Tensor, size: int) -> Tensor:
    """Mask of shape (batch, size) that is true before each row's length."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


class MaskedMean(nn.Module):
    """Mean over the valid frames: (batch, time, channels) -> (batch, channels)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weights = mask[..., None].float()
        return (x * weights).sum(dim=1) / weights.sum(dim=1)


class MaskedMax(nn.Module):
    """Largest value over the valid frames: (batch, time, channels) -> (batch, channels)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)


def masked_group_norm(x: Tensor, lengths: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Per-channel `GroupNorm` over the valid frames of x, (batch, channels, time), and 0 behind them.

    wav2vec2-base normalises its first convolution with one group a channel, so its statistics run over time
    alone; each utterance is normalised by itself, as it would be alone.
    """
    # This is the largest tensor of training, and PyTorch's own norm passes over it far less often than sums
    # under a mask would.
    rows = [
        torch.group_norm(
            row[None, :, :length].to(norm.weight.dtype), norm.num_groups, norm.weight, norm.bias, norm.eps
        )
        for row, length in zip(x, lengths.tolist(), strict=True)
    ]
    return torch.cat([nn.functional.pad(row, (0, x.shape[2] - row.shape[2])) for row in rows])


class MaskedGroupNorm(nn.Module):
    """`masked_group_norm` of a convolution's answer x, (batch, channels, time), by what the convolution read.

    At inference x is the largest tensor of all, and an engine that needs no statistics of it can make it a
    part at a time. ``kernel`` is the convolution's.
    """

    basis: Tensor

    def __init__(self, kernel: int) -> None:
        super().__init__()
        time, frequency = torch.arange(kernel)[None, :], torch.arange(kernel)[:, None]
        cosines = torch.cos(math.pi / kernel * (time + 0.5) * frequency)
        self.register_buffer("basis", cosines / cosines.norm(dim=1, keepdim=True), persistent=False)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        norm: nn.GroupNorm,
        samples: Tensor,
        convolution: nn.Conv1d,
    ) -> Tensor:
        """x, which is ``convolution(samples)``, normalised; ``samples`` are float32 (batch, 1, time)."""
        weights = mask[:, None, :].float()
        mean, variance = self._moments(samples, weights, convolution)
        scale = torch.rsqrt(variance + norm.eps) * norm.weight[None, :, None]
        return x * scale + (norm.bias[None, :, None] - mean * scale)

    def _moments(self, samples: Tensor, weights: Tensor, convolution: nn.Conv1d) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel, (batch, channels, 1), from the moments of what it reads.

        A channel is a weighted sum of a kernel's samples, so that its variance is a quadratic form in their
        covariance. Neighbouring samples of speech are nearly equal and filters take their differences, which
        would cancel in float32; their cosine transform hardly correlates.
        """
        count = weights.sum(dim=2, keepdim=True)
        parts = nn.functional.conv1d(samples, self.basis[:, None], stride=convolution.stride)
        mean = (parts * weights).sum(dim=2, keepdim=True) / count
        centred = (parts - mean) * weights
        covariance = centred @ centred.transpose(1, 2) / count
        filters = convolution.weight[:, 0] @ self.basis.T
        variance = ((filters @ covariance) * filters).sum(dim=2, keepdim=True).clamp(min=0)
        mean = filters @ mean
        return mean if convolution.bias is None else mean + convolution.bias[:, None], variance


class MaskedBatchNorm1d(nn.BatchNorm1d):
    """`BatchNorm1d` whose training statistics are taken over valid frames only.

    A batch with a single valid frame has no variance: it is normalised by the running statistics and leaves
    them as they are.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(batch, channels, time), (batch, time) -> (batch, channels, time)."""
        if not self.training:
            return super().forward(x)
        every = x.transpose(1, 2).flatten(0, 1)
        # Rows by their numbers: by a mask itself it takes twice as long.
        valid = mask.flatten().nonzero()[:, 0]
        padded = len(valid) < len(every)
        frames = every.index_select(0, valid) if padded else every
        if len(frames) > 1:
            frames = super().forward(frames)
        else:
            frames = nn.functional.batch_norm(
                frames,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                training=False,
                eps=self.eps,
            )
        if padded:
            frames = frames.new_zeros(every.shape).index_copy(0, valid, frames)
        return frames.unflatten(0, mask.shape).transpose(1, 2)


class Interpolation(nn.Module):
    """Linear interpolation between two sequences as one matrix a row: (batch, to_size, from_size), float32.

    Frame i of n_to reads position p = (i + 1/2) n_from / n_to - 1/2 of the other sequence, clamped to
    [0, n_from - 1]; position j weighs max(0, 1 - |p - j|), so padding past n_from - 1 weighs nothing.
    """

    def forward(self, to_lengths: Tensor, to_size: int, from_lengths: Tensor, from_size: int) -> Tensor:
        frame = torch.arange(to_size, device=to_lengths.device, dtype=torch.float32)[None, :]
        position = (frame + 0.5) * from_lengths[:, None].float() / to_lengths[:, None].float() - 0.5
        position = torch.minimum(position.clamp(min=0), from_lengths[:, None].float() - 1)
        column = torch.arange(from_size, device=to_lengths.device, dtype=torch.float32)
        return (1 - (position[..., None] - column).abs()).clamp(min=0)
