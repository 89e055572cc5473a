"""TIM-Net (Ye et al., 2023, arXiv 2211.08233) as an audio encoder: the rival whose block the TAB changes.

39 cepstra a frame go through a stack of temporal-aware blocks forwards in time and one backwards. What both
make at a scale is summed, averaged over time, and weighed by scale. All of that is linear after the blocks:
it is the mean over frames of a sum over scales. The encoder gives that sum, and the head takes the mean.
"""

import numpy as np
import torch
from torch import Tensor, nn

from mtab_train.acoustic import BANDS, MeasuredEncoder, cosine_transform
from mtab_train.config import TimNetConfig
from mtab_train.masking import MaskedBatchNorm1d, valid_mask


class CausalConvolution(nn.Module):
    """A dilated causal convolution of two taps, (B, S, C) -> (B, S, C); no frame reads a later one.

    At inference it is one linear layer over both taps, side by side. That layer's gradients take most of a
    step on a CPU; those of a convolution with channels last take half as long.
    """

    def __init__(self, size: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.linear = nn.Linear(2 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (0, 0, self.dilation, 0))
        if not self.training:
            return self.linear(torch.cat([padded[:, : x.shape[1]], x], dim=2))
        taps = self.linear.weight.unflatten(1, (2, -1)).transpose(1, 2)
        images = padded.transpose(1, 2)[:, :, None]
        convolved = nn.functional.conv2d(
            images, taps[:, :, None], self.linear.bias, dilation=(1, self.dilation)
        )
        return convolved[:, :, 0].transpose(1, 2)


class SubBlock(nn.Module):
    """Convolution, batch norm, ReLU, spatial dropout (whole channels): (B, S, C) -> (B, S, C)."""

    def __init__(self, size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.convolution = CausalConvolution(size, dilation)
        self.norm = MaskedBatchNorm1d(size)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        # Padding follows the valid frames, and none of them reads it.
        x = self.norm(self.convolution(x).transpose(1, 2), mask)
        return self.dropout(torch.relu(x)).transpose(1, 2)


class DilatedTemporalAwareBlock(nn.Module):
    """TAB as TIM-Net has it: F' = F * sigmoid(two sub-blocks of F), (B, S, C) -> (B, S, C)."""

    def __init__(self, size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.sub_blocks = nn.ModuleList(SubBlock(size, dilation, dropout) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        attention = x
        for sub_block in self.sub_blocks:
            attention = sub_block(attention, mask)
        return x * torch.sigmoid(attention)


class TimNetEncoder(MeasuredEncoder):
    """Waveform -> the sum over scales at each frame of 10 ms; the same alone and in any padded batch."""

    cosines: Tensor

    def __init__(self, config: TimNetConfig) -> None:
        super().__init__(config.hidden_size)
        size = config.hidden_size
        cosines = torch.from_numpy(cosine_transform(np.arange(size)).astype(np.float32))
        self.register_buffer("cosines", cosines, persistent=False)
        self.input_norm = MaskedBatchNorm1d(size, affine=False)
        self.inputs = nn.ModuleList(nn.Linear(size, size) for _ in range(2))
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                DilatedTemporalAwareBlock(size, 2**scale, config.hidden_dropout)
                for scale in range(config.num_scales)
            )
            for _ in range(2)
        )
        self.scale_weights = nn.Parameter(torch.full((config.num_scales,), 1 / config.num_scales))

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of each utterance, (B,) -> (B,); 0 for fewer samples than make one."""
        return self.frames.lengths(lengths)

    def context(self, features: Tensor, frames: Tensor) -> Tensor:
        """Frames (B, S, M + 2) and their number (B,) -> hidden states (B, S, C)."""
        mask = valid_mask(frames.clamp(min=1), features.shape[1])
        cepstra = (features[..., :BANDS] @ self.cosines).transpose(1, 2)
        cepstra = self.input_norm(cepstra, mask).transpose(1, 2)
        streams, totals = (cepstra, _reversed(cepstra, frames)), []
        for layer, blocks, x in zip(self.inputs, self.blocks, streams, strict=True):
            x, total = layer(x), torch.zeros_like(x)
            for weight, block in zip(self.scale_weights, blocks.children(), strict=True):
                x = block(x, mask)
                total = total + weight * x
            totals.append(total)
        forwards, backwards = totals
        return forwards + _reversed(backwards, frames)

    def forward(self, input_values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, samples) and their lengths -> hidden states and their lengths."""
        frames = self.frame_lengths(lengths)
        return self.context(self.features(input_values, lengths), frames), frames


def _reversed(x: Tensor, frames: Tensor) -> Tensor:
    """Each row's valid frames the other way round, padding where it was: (B, S, C) -> (B, S, C)."""
    place = torch.arange(x.shape[1], device=x.device)[None, :]
    mirrored = frames[:, None] - 1 - place
    index = torch.where(mirrored >= 0, mirrored, place)
    return x.gather(1, index[..., None].expand_as(x))
