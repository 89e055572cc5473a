"""TIM-Net's stacks against a second writing of them with plain convolutions, and against padding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mtab_train.config import PRESETS, TimNetConfig
from mtab_train.model import MulTAB
from mtab_train.tim_net import CausalConvolution, TimNetEncoder

SMALL = TimNetConfig(hidden_size=5, num_scales=3)


def made() -> TimNetEncoder:
    torch.manual_seed(0)
    encoder = TimNetEncoder(SMALL).eval()
    for name, buffer in encoder.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-1, 1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    nn.init.uniform_(encoder.scale_weights, 0.1, 1)
    return encoder


def as_convolution(layer: CausalConvolution, x: Tensor) -> Tensor:
    """(1, C, S) -> (1, C, S), with zeros before the first frame."""
    size = layer.linear.out_features
    weight = torch.stack([layer.linear.weight[:, :size], layer.linear.weight[:, size:]], dim=2)
    padded = nn.functional.pad(x, (layer.dilation, 0))
    return nn.functional.conv1d(padded, weight, layer.linear.bias, dilation=layer.dilation)


@torch.no_grad()
def test_the_sum_over_scales_is_tim_nets() -> None:
    encoder = made()
    clip = torch.randn(1, 6_000) * 0.1
    states, (count,) = encoder(clip, torch.tensor([6_000]))
    cepstra = encoder.features(clip, torch.tensor([6_000]))[..., :64] @ encoder.cosines
    x = nn.functional.batch_norm(
        cepstra.transpose(1, 2), encoder.input_norm.running_mean, encoder.input_norm.running_var
    )
    streams = []
    for inputs, blocks, turn in zip(
        encoder.inputs, encoder.blocks, (lambda s: s, lambda s: s.flip(2)), strict=True
    ):
        stream, outputs = nn.functional.conv1d(turn(x), inputs.weight[..., None], inputs.bias), []
        for block in blocks:
            gate = stream
            for sub_block in block.sub_blocks:
                gate = torch.relu(
                    sub_block.norm(
                        as_convolution(sub_block.convolution, gate),
                        torch.ones(1, int(count), dtype=torch.bool),
                    )
                )
            stream = stream * torch.sigmoid(gate)
            outputs.append(turn(stream))
        streams.append(outputs)
    expected = sum(w * (one + other) for w, one, other in zip(encoder.scale_weights, *streams, strict=True))
    torch.testing.assert_close(states[0].T, expected[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("frames", [3, 40])
def test_a_convolution_in_training_is_the_one_of_inference(frames: int) -> None:
    """Also where the dilation is longer than the utterance; its gradients too."""
    torch.manual_seed(0)
    layer, gradient, found = CausalConvolution(5, 4), torch.randn(2, frames, 5), []
    for mode in (True, False):
        x = torch.linspace(-1, 1, 10 * frames).reshape(2, frames, 5).requires_grad_()
        answered = layer.train(mode)(x)
        grads = torch.autograd.grad(answered, [x, *layer.parameters()], gradient)
        found.append((answered, *grads))
    torch.testing.assert_close(found[0], found[1])


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(400, 9_000), min_size=1, max_size=4), st.integers(0, 2_000))
@torch.no_grad()
def test_padding_changes_nothing(lengths: list[int], extra: int) -> None:
    encoder = made()
    random = np.random.default_rng(0)
    batch = torch.full((len(lengths), max(lengths) + extra), 2.0)
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = torch.from_numpy(random.normal(size=length) * 0.1)
    states, count = encoder(batch, torch.tensor(lengths))
    for i, length in enumerate(lengths):
        alone, (frames,) = encoder(batch[i : i + 1, :length], torch.tensor([length]))
        assert frames == count[i]
        torch.testing.assert_close(states[i, :frames], alone[0], atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_the_preset_adds_nothing_but_linear_layers() -> None:
    """Logits of a clip are linear in the mean of the encoder's frames."""
    torch.manual_seed(0)
    model = MulTAB.from_config(PRESETS["tim-net"].model).eval()
    assert model.audio_encoder is not None
    clip, length = torch.randn(1, 8_000) * 0.1, torch.tensor([8_000])
    states, _ = model.audio_encoder(clip, length)
    projection = model.projection["audio"]
    pooled = states.mean(dim=1) @ projection.weight[..., 0].T + projection.bias
    expected = pooled @ model.head.classifier.weight.T + model.head.classifier.bias
    torch.testing.assert_close(model(clip, length).logits, expected, atol=1e-5, rtol=1e-4)
