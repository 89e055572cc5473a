"""Mul-TAB part by part against hand-written arithmetic, and whole: size, padding, gradients, loading."""

import dataclasses
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, pad
from transformers import HubertConfig, HubertModel, RobertaConfig, RobertaForMaskedLM

from mtab.errors import ConfigError
from mtab_train.config import PRESETS, ModelConfig
from mtab_train.encoders import with_encoders
from mtab_train.masking import Interpolation, MaskedBatchNorm1d
from mtab_train.model import (
    AlignedFusion,
    CrossAttention,
    CrossModalEncoder,
    Head,
    MulTAB,
    Projection,
    SelfAttention,
    TemporalAwareBlock,
    count_parameters,
)

# Three convolutions: the first frame reads 30 samples, each next one 20 more.
AUDIO: dict[str, Any] = {
    "model_type": "wav2vec2",
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
}
HUBERT: dict[str, Any] = AUDIO | {"model_type": "hubert"}
WAVLM: dict[str, Any] = AUDIO | {"model_type": "wavlm", "num_buckets": 16, "max_bucket_distance": 20}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
TEXT: dict[str, Any] = {
    "model_type": "roberta",
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "type_vocab_size": 1,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
# Neither encoder is as wide as the model: their self-attention has the encoder's width.
CONFIG = ModelConfig(
    labels=("anger", "joy", "neutral"),
    audio_config=AUDIO,
    text_config=TEXT,
    audio_training="full",
    text_training="full",
    hidden_size=16,
    num_attention_heads=4,
    intermediate_size=32,
    num_self_attention_layers=1,
    dropout=0.0,
)
VARIANTS: dict[str, dict[str, Any]] = {
    "wav2vec2": {},
    "wav2vec2-layer": {"audio_config": AUDIO | LAYER_NORM},
    "hubert": {"audio_config": HUBERT},
    "wavlm": {"audio_config": WAVLM},
    "no TAB": {"num_tab_layers": 0},
    "odd kernel": {"tab_kernel_size": 3},
    "no MHA": {"num_self_attention_layers": 0},
    "two layers of MHA": {"num_self_attention_layers": 2},
    "audio only": {"text_config": None},
    "text only": {"audio_config": None},
    "pooled": {"fusion_align": "pool"},
    "missing modalities": {"modality_dropout": 0.3},
    "missing modalities, pooled": {"modality_dropout": 0.3, "fusion_align": "pool"},
    "missing modalities, wavlm": {"modality_dropout": 0.3, "audio_config": WAVLM},
}


def scramble(model: nn.Module, seed: int = 0) -> None:
    """Weights and statistics with an effect: as initialised, most biases are zero and matrices small."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        for norm in model.modules():
            if isinstance(norm, MaskedBatchNorm1d):
                norm.running_mean = 0.3 * torch.randn(norm.num_features, generator=generator)
                norm.running_var = 0.5 + torch.rand(norm.num_features, generator=generator)


def make(**changes: Any) -> MulTAB:
    """The same weights for the same changes, at inference."""
    torch.manual_seed(0)
    model = MulTAB.from_config(dataclasses.replace(CONFIG, **changes))
    scramble(model)
    return model.eval()


@cache
def variant(name: str) -> MulTAB:
    return make(**VARIANTS[name])


Utterance = tuple[int, int]  # samples and tokens; 0 of a modality that is missing


def batch(
    utterances: Sequence[Utterance], samples: int = 0, tokens: int = 0, garbage: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A padded batch of at least so many columns; an utterance's content depends on its lengths alone."""
    audio_lengths, text_lengths = torch.tensor(utterances).T
    values = torch.zeros(len(utterances), max(30, samples, int(audio_lengths.max())))
    ids = torch.ones(len(utterances), max(1, tokens, int(text_lengths.max())), dtype=torch.int64)
    if garbage:
        values.normal_(2, 5, generator=torch.Generator().manual_seed(99))
        ids.random_(2, 60, generator=torch.Generator().manual_seed(99))
    for row, (n, t) in enumerate(utterances):
        generator = torch.Generator().manual_seed(1000 * n + t)
        values[row, :n] = torch.randn(n, generator=generator)
        ids[row, :t] = torch.randint(2, 60, (t,), generator=generator)
    return values, audio_lengths, ids, text_lengths


# The size


def test_base_has_the_size_of_the_paper() -> None:
    with torch.device("meta"):
        model = MulTAB.from_config(PRESETS["base"].model)
    assert count_parameters(model) == {
        "audio_encoder": {"total": 94_371_712, "trained": 90_171_264, "frozen": 4_200_448},
        "text_encoder": {"total": 124_055_040, "trained": 0, "frozen": 124_055_040},
        "self_attention": {"total": 28_351_488, "trained": 28_351_488, "frozen": 0},
        "projection": {"total": 1_181_184, "trained": 1_181_184, "frozen": 0},
        "cross_modal": {"total": 4_727_808, "trained": 4_727_808, "frozen": 0},
        "tab": {"total": 14_169_600, "trained": 14_169_600, "frozen": 0},
        "head": {"total": 6_148, "trained": 6_148, "frozen": 0},
    }
    without_text = [p for name, p in model.named_parameters() if not name.startswith("text_encoder.")]
    assert sum(p.numel() for p in without_text) == 142_807_940


def test_base_is_that_of_the_parts_in_the_paper() -> None:
    """Independent of the code: the sizes of the layers that the paper names, by arithmetic."""
    d, ffn, classes = 768, 3072, 4

    def linear(n: int, m: int) -> int:
        return n * m + m

    attention = 4 * linear(d, d)
    norm = 2 * d
    layer = attention + linear(d, ffn) + linear(ffn, d) + 2 * norm
    tab = 3 * (2 * (2 * d) ** 2 + 2 * d + 2 * (2 * d))
    parts = 2 * 2 * layer + 2 * linear(d, d) + 2 * (attention + norm) + tab + linear(2 * d, classes)
    assert 94_371_712 + parts == 142_807_940


def test_tiny_has_a_few_million_parameters() -> None:
    counts = count_parameters(MulTAB.from_config(PRESETS["tiny"].model))
    assert 2_000_000 < sum(part["total"] for part in counts.values()) < 4_000_000
    assert not any(part["frozen"] for part in counts.values())


@pytest.mark.parametrize("audio_training", ["frozen", "conv-frozen", "full"])
@pytest.mark.parametrize("text_training", ["frozen", "full"])
def test_what_is_trained(audio_training: str, text_training: str) -> None:
    model = make(audio_training=audio_training, text_training=text_training, modality_dropout=0.1)
    for name, parameter in model.named_parameters():
        frozen = (
            (name.startswith("text_encoder.") and text_training == "frozen")
            or (name.startswith("audio_encoder.") and audio_training == "frozen")
            or ("feature_extractor." in name and audio_training == "conv-frozen")
        )
        assert parameter.requires_grad is not frozen, name
    model.train()
    assert model.audio_encoder is not None
    assert model.text_encoder is not None
    assert model.audio_encoder.training is (audio_training != "frozen")
    assert model.text_encoder.training is (text_training != "frozen")
    assert model.head.training
    assert not any(module.training for module in model.eval().modules())


def test_every_trained_parameter_learns_and_no_frozen_one() -> None:
    model = make(modality_dropout=0.1, audio_training="conv-frozen", text_training="frozen").train()
    output = model(*batch([(200, 5), (0, 3), (300, 0)]))
    cross_entropy(output.logits, torch.tensor([0, 1, 2])).backward()
    for name, parameter in model.named_parameters():
        learns = parameter.grad is not None and bool(parameter.grad.any())
        assert learns is parameter.requires_grad, name


def test_layers_of_self_attention_start_from_weights_of_their_own() -> None:
    block: Any = SelfAttention(16, dataclasses.replace(CONFIG, num_self_attention_layers=2))
    first, second = block.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_an_encoder_that_the_heads_do_not_divide_is_refused() -> None:
    wide = AUDIO | {"hidden_size": 30}
    with pytest.raises(ConfigError, match=r"30 .*multiple of .*4"):
        make(audio_config=wide)
    assert make(audio_config=wide, num_self_attention_layers=0)(*batch([(99, 3)])).logits.shape == (1, 3)


# Equation by equation


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


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    deviation = (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
    return centred / deviation * norm.weight + norm.bias


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


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
    embeddings, logits = head(x, mask)
    close(embeddings, torch.stack([x[0].mean(dim=0), x[1, 0]]))
    normal = torch.distributions.Normal(0.0, 1.0)
    close(logits, (embeddings * normal.cdf(embeddings)) @ head.classifier.weight.T + head.classifier.bias)
    assert not torch.allclose(logits[0], head.classifier(gelu(x[0]).mean(dim=0)))


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
    embeddings, logits = model.head(model.tab(torch.cat([speech, text], dim=2), every_frame), every_frame)
    output = model(values, audio_lengths, ids, text_lengths)
    close(output.embeddings, embeddings)
    close(output.logits, logits)
    close(output.probabilities, logits.exp() / logits.exp().sum(dim=1, keepdim=True))


# A missing modality


@torch.no_grad()
def test_a_missing_modality_is_the_stand_in_as_long_as_the_other() -> None:
    model = variant("missing modalities")
    assert model.audio_encoder is not None
    assert model.text_encoder is not None
    assert model.stand_in is not None
    values, audio_lengths, ids, text_lengths = batch([(310, 0), (0, 6)])
    output = model(values, audio_lengths, ids, text_lengths)

    speech, frames = model.audio_encoder(values[:1], audio_lengths[:1])
    stand_in = model.stand_in["text"].expand(1, int(frames), 32)
    close(output.logits[:1], model.classify(*model.fuse(speech, frames, stand_in, frames)).logits)

    text = model.text_encoder(ids[1:, :6], text_lengths[1:])
    stand_in = model.stand_in["audio"].expand(1, 6, 24)
    tokens = torch.tensor([6])
    close(output.logits[1:], model.classify(*model.fuse(stand_in, tokens, text, tokens)).logits)


@torch.no_grad()
def test_what_lies_in_a_missing_modality_is_not_read() -> None:
    model = variant("missing modalities")
    utterances = [(310, 0), (0, 6), (29, 6), (90, 3)]
    clean, garbage = model(*batch(utterances)), model(*batch(utterances, garbage=True))
    close(clean.probabilities, garbage.probabilities)
    # 29 samples make no frame: as good as none.
    close(clean.probabilities[1:2], model(*batch([(0, 6)])).probabilities)


# Padding


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


UTTERANCES: list[Utterance] = [(310, 6), (95, 14), (201, 1)]
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


# Calibration


def test_the_temperature_divides_the_logits_of_the_probabilities_alone() -> None:
    model = make()
    inputs = batch(UTTERANCES)
    plain = model(*inputs)
    torch.testing.assert_close(plain.probabilities, plain.logits.softmax(dim=1))
    model.temperature.fill_(2.5)
    output = model(*inputs)
    assert torch.equal(output.logits, plain.logits)
    assert torch.equal(output.embeddings, plain.embeddings)
    powers = plain.probabilities ** (1 / 2.5)
    close(output.probabilities, powers / powers.sum(dim=1, keepdim=True))
    assert "temperature" not in model.state_dict()
    assert model.temperature.dtype == torch.float32


# Loading


def test_encoders_are_loaded_and_the_rest_is_random(tmp_path: Path) -> None:
    hubert = HubertModel(HubertConfig(**HUBERT))
    roberta = RobertaForMaskedLM(RobertaConfig(**TEXT))
    scramble(hubert)
    scramble(roberta)
    hubert.save_pretrained(tmp_path / "hubert")
    roberta.save_pretrained(tmp_path / "roberta")
    config = with_encoders(CONFIG, str(tmp_path / "hubert"), str(tmp_path / "roberta"))
    model = MulTAB.from_pretrained(config)
    assert model.audio_encoder is not None
    assert model.text_encoder is not None
    torch.testing.assert_close(model.audio_encoder.backbone.state_dict(), hubert.state_dict())
    torch.testing.assert_close(model.text_encoder.backbone.state_dict(), roberta.roberta.state_dict())
    assert model(*batch(UTTERANCES)).logits.shape == (3, 3)

    audio_only = MulTAB.from_pretrained(dataclasses.replace(config, text_config=None))
    assert audio_only.text_encoder is None
    rebuilt = MulTAB.from_config(config)
    assert rebuilt.state_dict().keys() == model.state_dict().keys()
    assert rebuilt.audio_encoder is not None
    name = "feature_projection.projection.weight"
    assert not torch.equal(rebuilt.audio_encoder.backbone.state_dict()[name], hubert.state_dict()[name])


def test_an_encoder_without_a_source_is_random(tmp_path: Path) -> None:
    roberta = RobertaForMaskedLM(RobertaConfig(**TEXT))
    roberta.save_pretrained(tmp_path)
    model = MulTAB.from_pretrained(with_encoders(CONFIG, text_model=str(tmp_path)))
    assert model.audio_encoder is not None
    assert model.text_encoder is not None
    torch.testing.assert_close(model.text_encoder.backbone.state_dict(), roberta.roberta.state_dict())


def test_a_missing_checkpoint_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such encoder") as error:
        MulTAB.from_pretrained(dataclasses.replace(CONFIG, audio_model=str(tmp_path / "nowhere")))
    assert "\n" not in str(error.value)
