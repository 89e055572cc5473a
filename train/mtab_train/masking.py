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


class MaskedGroupNorm(nn.Module):
    """Per-channel `GroupNorm` over the valid frames of x, (batch, channels, time).

    wav2vec2-base normalises its first convolution with one group a channel, so its statistics run over time
    alone; on an unpadded batch this equals ``norm(x)``. ``kernel`` is that of a convolution from whose input
    the statistics may be taken instead.
    """

    basis: Tensor

    def __init__(self, kernel: int = 1) -> None:
        super().__init__()
        time, frequency = torch.arange(kernel)[None, :], torch.arange(kernel)[:, None]
        cosines = torch.cos(math.pi / kernel * (time + 0.5) * frequency)
        self.register_buffer("basis", cosines / cosines.norm(dim=1, keepdim=True), persistent=False)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        norm: nn.GroupNorm,
        samples: Tensor | None = None,
        convolution: nn.Conv1d | None = None,
    ) -> Tensor:
        """``x`` normalised; given that it is ``convolution(samples)``, without a pass over it for statistics.

        ``samples`` are float32 (batch, 1, time). At inference x is the largest tensor of all, and an engine
        that needs no statistics of it can make it a part at a time.
        """
        weights = mask[:, None, :].float()
        count = weights.sum(dim=2, keepdim=True)
        if samples is not None and convolution is not None:
            mean, variance = self._of_convolution(samples, weights, count, convolution)
            scale = torch.rsqrt(variance + norm.eps) * norm.weight[None, :, None]
            return x * scale + (norm.bias[None, :, None] - mean * scale)
        centred = x - (x * weights).sum(dim=2, keepdim=True) / count
        variance = (centred.square() * weights).sum(dim=2, keepdim=True) / count
        normalised = centred * torch.rsqrt(variance + norm.eps)
        return normalised * norm.weight[None, :, None] + norm.bias[None, :, None]

    def _of_convolution(
        self, samples: Tensor, weights: Tensor, count: Tensor, convolution: nn.Conv1d
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel, (batch, channels, 1), from the moments of what it reads.

        A channel is a weighted sum of a kernel's samples, so that its variance is a quadratic form in their
        covariance. Neighbouring samples of speech are nearly equal and filters take their differences, which
        would cancel in float32; their cosine transform hardly correlates.
        """
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
        frames = every.index_select(0, valid)
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
        normalised = frames.new_zeros(every.shape).index_copy(0, valid, frames)
        return normalised.unflatten(0, mask.shape).transpose(1, 2)


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
