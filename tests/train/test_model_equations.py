"""Mul-TAB part by part against hand-written arithmetic."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from mtab_train.masking import Interpolation
from mtab_train.model import (
    AlignedFusion,
    CrossAttention,
    CrossModalEncoder,
    Head,
    Projection,
    SelfAttention,
    TemporalAwareBlock,
)

from .small_models import CONFIG, batch, close, random, scramble, variant


def heads(x: Tensor, count: int) -> Tensor:
    """(B, L, d) -> (B, heads, L, d / heads)"""
    return x.unflatten(2, (count, -1)).transpose(1, 2)


def attend(attention: nn.MultiheadAttention, query: Tensor, other: Tensor) -> Tensor:
    """Eqs. 2-4, written out: softmax(Q K' / sqrt(d_k)) V for each head, the heads concatenated, times W."""
    assert attention.in_proj_bias is not None
    projections = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True)
    q, k, v = (
        heads(x @ weight.T + bias, attention.num_heads)
        for x, (weight, bias) in zip((query, other, other), projections, strict=True)
    )
    weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), dim=3)
    return attention.out_proj((weights @ v).transpose(1, 2).flatten(2))


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    deviation = (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
    return centred / deviation * norm.weight + norm.bias


@torch.no_grad()
def test_equation_1_projection() -> None:
    projection: Any = Projection(24, 16)
    x = random(2, 5, 24)
    close(projection(x), x @ projection.weight[:, :, 0].T + projection.bias)


@torch.no_grad()
def test_equations_2_to_5_cross_attention() -> None:
    block = CrossAttention(CONFIG).eval()
    scramble(block)
    query, other = random(2, 5, 16), random(2, 7, 16, seed=1)
    mask = torch.tensor([[True] * 7, [True] * 3 + [False] * 4])
    y = block(query, other, mask)
    close(y[:1], layer_norm(query[:1] + attend(block.attention, query[:1], other[:1]), block.norm))
    close(y[1:], layer_norm(query[1:] + attend(block.attention, query[1:], other[1:, :3]), block.norm))


@torch.no_grad()
def test_equation_6_is_the_mirror_image() -> None:
    block = CrossModalEncoder(CONFIG).eval()
    scramble(block)
    speech, text = random(2, 5, 16), random(2, 7, 16, seed=1)
    speech_mask, text_mask = torch.ones(2, 5, dtype=torch.bool), torch.ones(2, 7, dtype=torch.bool)
    from_speech, from_text = block(speech, speech_mask, text, text_mask)
    first, second = block.speech_to_text, block.text_to_speech
    close(from_speech, layer_norm(speech + attend(first.attention, speech, text), first.norm))
    close(from_text, layer_norm(text + attend(second.attention, text, speech), second.norm))


@torch.no_grad()
def test_self_attention_is_a_post_norm_relu_transformer() -> None:
    block: Any = SelfAttention(24, dataclasses.replace(CONFIG, num_self_attention_layers=2)).eval()
    scramble(block)
    x = random(2, 6, 24)
    y = block(x, torch.tensor([[True] * 6, [True] * 4 + [False] * 2]))
    for row, length in enumerate((6, 4)):
        expected = x[row : row + 1, :length]
        for layer in block.layers:
            expected = layer_norm(expected + attend(layer.self_attn, expected, expected), layer.norm1)
            hidden = torch.relu(layer.linear1(expected))
            expected = layer_norm(expected + layer.linear2(hidden), layer.norm2)
        close(y[row, :length], expected[0])


def test_equation_7_fusion_by_hand() -> None:
    speech = torch.arange(4.0)[None, :, None].expand(1, 4, 16)
    text = torch.tensor([10.0, 20.0, 99.0])[None, :, None].expand(1, 3, 16)
    frames, tokens = torch.tensor([4]), torch.tensor([2])
    fused, lengths = AlignedFusion(CONFIG)(speech, frames, text, tokens)
    assert fused.shape == (1, 4, 32)
    assert fused[0, :, 0].tolist() == [0, 1, 2, 3]
    assert fused[0, :, 16].tolist() == [10, 12.5, 17.5, 20]
    assert lengths.tolist() == [4]
    pooled, lengths = AlignedFusion(dataclasses.replace(CONFIG, fusion_align="pool"))(
        speech, frames, text, tokens
    )
    assert pooled.shape == (1, 1, 32)
    assert (pooled[0, 0, 0].item(), pooled[0, 0, 16].item()) == (1.5, 15)
    assert lengths.tolist() == [1]


@pytest.mark.parametrize(("kernel", "left", "right"), [(1, 0, 0), (2, 0, 1), (3, 1, 1), (4, 1, 2)])
@torch.no_grad()
def test_tab_keeps_the_length_with_one_zero_frame_more_on_the_right(
    kernel: int, left: int, right: int
) -> None:
    block: Any = TemporalAwareBlock(dataclasses.replace(CONFIG, tab_kernel_size=kernel)).eval()
    scramble(block)
    x = random(1, 6, 32)
    attention = x.transpose(1, 2)
    for convolution, norm in zip(block.convolutions, block.norms, strict=True):
        padded = pad(attention, (left, right))
        attention = sum(
            torch.einsum("oc,bct->bot", convolution.weight[:, :, i], padded[:, :, i : i + 6])
            for i in range(kernel)
        )
        attention = attention + convolution.bias[:, None]
        deviation = (norm.running_var + norm.eps).sqrt()[:, None]
        attention = (attention - norm.running_mean[:, None]) / deviation
        attention = torch.relu(attention * norm.weight[:, None] + norm.bias[:, None])
    expected = x / (1 + torch.exp(-attention.transpose(1, 2)))
    close(block(x, torch.ones(1, 6, dtype=torch.bool)), expected)


@torch.no_grad()
def test_head_averages_then_gelu_then_classifies() -> None:
    head = Head(CONFIG)
    x = random(2, 4, 32)
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    embeddings, logits, dimensions = head(x, mask)
    close(embeddings, torch.stack([x[0].mean(dim=0), x[1, 0]]))
    normal = torch.distributions.Normal(0.0, 1.0)
    activated = embeddings * normal.cdf(embeddings)
    close(logits, activated @ head.classifier.weight.T + head.classifier.bias)
    assert dimensions is None
    assert not torch.allclose(logits[0], head.classifier(gelu(x[0]).mean(dim=0)))


@torch.no_grad()
def test_dimensions_are_in_the_units_of_the_ratings() -> None:
    head = Head(dataclasses.replace(CONFIG, dimensions=("arousal", "valence")))
    assert head.dimensions is not None
    head.dimensions.mean.copy_(torch.tensor([3.0, -20.0]))
    head.dimensions.std.copy_(torch.tensor([0.5, 10.0]))
    embeddings, _, dimensions = head(random(3, 4, 32), torch.ones(3, 4, dtype=torch.bool))
    z = gelu(embeddings) @ head.dimensions.weight.T + head.dimensions.bias
    assert dimensions is not None
    close(dimensions, torch.stack([3 + 0.5 * z[:, 0], -20 + 10 * z[:, 1]], dim=1))


@torch.no_grad()
def test_the_whole_is_its_parts_in_order() -> None:
    model = variant("wav2vec2")
    values, audio_lengths, ids, text_lengths = batch([(310, 6)])
    assert model.audio_encoder is not None
    assert model.text_encoder is not None
    assert model.self_attention is not None
    assert model.tab is not None
    speech, frames = model.audio_encoder(values, audio_lengths)
    text = model.text_encoder(ids, text_lengths)
    every_frame = torch.ones(1, int(frames), dtype=torch.bool)
    every_token = torch.ones(1, 6, dtype=torch.bool)
    speech = model.projection["audio"](model.self_attention["audio"](speech, every_frame))
    text = model.projection["text"](model.self_attention["text"](text, every_token))
    speech, text = model.cross_modal(speech, every_frame, text, every_token)
    text = Interpolation()(frames, int(frames), text_lengths, 6) @ text
    embeddings, logits, _ = model.head(model.tab(torch.cat([speech, text], dim=2), every_frame), every_frame)
    output = model(values, audio_lengths, ids, text_lengths)
    close(output.embeddings, embeddings)
    close(output.logits, logits)
    close(output.probabilities, logits.exp() / logits.exp().sum(dim=1, keepdim=True))
