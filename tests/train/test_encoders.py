"""The encoders against the published transformers implementation, alone and in padded batches."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    AutoModel,
    PreTrainedModel,
)

from mtab.errors import ConfigError
from mtab_train.encoders import (
    AudioEncoder,
    Encoder,
    TextEncoder,
    encoder_config,
)

from .small_encoders import AUDIO, SMALL, TEXT, close, scramble, tokens, waves


@cache
def published(name: str) -> PreTrainedModel:
    """The transformers model with its own forward pass and default attention."""
    torch.manual_seed(0)
    model = AutoModel.from_config(encoder_config((AUDIO | TEXT)[name]))
    scramble(model)
    return model.eval()


@cache
def audio_encoder(name: str) -> AudioEncoder:
    encoder = AudioEncoder.from_config(AUDIO[name])
    encoder.backbone.load_state_dict(published(name).state_dict())
    return encoder.eval()


@pytest.mark.parametrize("name", AUDIO)
@torch.no_grad()
def test_unpadded_audio_equals_the_published_forward_pass(name: str) -> None:
    for lengths in ([30], [601], [333, 333]):
        x, sizes = waves(lengths, lengths[0])
        hidden, frames = audio_encoder(name)(x, sizes)
        expected = published(name)(x).last_hidden_state
        assert frames.tolist() == [expected.shape[1]] * len(lengths)
        close(hidden, expected)


@torch.no_grad()
def test_the_published_forward_pass_lets_padding_in() -> None:
    """The control: what `test_padded_audio_equals_the_utterance_alone` would find without the masks."""
    x, lengths = waves([201, 601], 601)
    mask = torch.arange(601) < lengths[:, None]
    batched = published("wav2vec2")(x, attention_mask=mask.long()).last_hidden_state
    alone = published("wav2vec2")(x[:1, :201]).last_hidden_state
    assert (batched[0, : alone.shape[1]] - alone[0]).abs().max() > 0.05


@pytest.mark.parametrize("name", AUDIO)
@given(
    lengths=st.lists(st.integers(30, 400), min_size=1, max_size=4),
    extra=st.integers(0, 130),
    padding=st.sampled_from([0.0, 3.0]),
)
@settings(deadline=None, max_examples=8)
@torch.no_grad()
def test_padded_audio_equals_the_utterance_alone(
    name: str, lengths: list[int], extra: int, padding: float
) -> None:
    encoder = audio_encoder(name)
    hidden, frames = encoder(*waves(lengths, max(lengths) + extra, padding))
    for row, length in enumerate(lengths):
        alone = published(name)(waves([length], length)[0]).last_hidden_state[0]
        assert frames[row] == len(alone)
        close(hidden[row, : frames[row]], alone)


def test_frames_are_those_of_the_published_implementation() -> None:
    encoder = AudioEncoder.from_config(
        {"model_type": "wav2vec2"}
        | SMALL
        | {"conv_dim": [4] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
    )
    assert encoder.min_samples == 400
    lengths = torch.arange(400, 3000)
    expected = encoder.backbone._get_feat_extract_output_lengths(lengths)
    assert torch.equal(encoder.frame_lengths(lengths), expected)
    assert not encoder.frame_lengths(torch.arange(400)).any()


@torch.no_grad()
def test_an_utterance_without_audio_disturbs_nobody() -> None:
    for name in AUDIO:
        encoder = audio_encoder(name)
        x, lengths = waves([301, 0, 29], 301, padding=2.0)
        hidden, frames = encoder(x, lengths)
        assert frames.tolist() == [14, 0, 0]
        assert hidden.isfinite().all()
        close(hidden[0], published(name)(x[:1]).last_hidden_state[0])


@pytest.mark.parametrize("name", AUDIO)
def test_training_mode_masks_and_drops_valid_frames_only(name: str) -> None:
    """SpecAugment, dropout and layer drop as configured; padding still has no gradient."""
    encoder = AudioEncoder.from_config(AUDIO[name] | {"layerdrop": 0.5, "mask_time_prob": 0.5})
    encoder.train()
    x, lengths = waves([601, 130, 30, 0], 640, padding=2.0)
    x.requires_grad_()
    outputs = []
    for seed in range(4):
        torch.manual_seed(seed)
        hidden, frames = encoder(x, lengths)
        outputs.append(hidden[0])
        hidden[torch.arange(hidden.shape[1]) < frames[:, None]].square().sum().backward()
    assert x.grad is not None
    assert x.grad[0, :600].any()
    for row, length in enumerate(lengths.tolist()):
        assert not x.grad[row, length:].any()
    assert not torch.equal(outputs[0], outputs[1])


def test_specaugment_masks_each_utterance_by_its_own_length() -> None:
    """At least two spans among the six frames of a short clip, wherever those of the long one lie."""
    encoder = AudioEncoder.from_config(AUDIO["wav2vec2"] | {"feat_proj_dropout": 0.0}).train()
    seen: list[Tensor] = []
    encoder.backbone.encoder.pos_conv_embed.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    for seed in range(10):
        np.random.seed(seed)
        encoder(*waves([3000, 130], 3000))
        masked = (seen[-1] == encoder.backbone.masked_spec_embed).all(dim=2)
        assert masked[0].any()
        assert masked[1, :6].sum() >= 2
        assert not seen[-1][1, 6:].any()


def test_clips_shorter_than_a_span_of_specaugment_train() -> None:
    encoder = AudioEncoder.from_config(AUDIO["wav2vec2"] | {"mask_time_length": 10, "mask_time_prob": 0.5})
    hidden, frames = encoder.train()(*waves([60, 40], 60))
    assert frames.tolist() == [2, 1]
    assert hidden.isfinite().all()


def test_adapters_and_batch_norm_are_refused() -> None:
    for name, option in (("wav2vec2", "add_adapter"), ("hubert", "conv_pos_batch_norm")):
        with pytest.raises(ConfigError, match=option):
            AudioEncoder.from_config(AUDIO[name] | {option: True})


@cache
def text_encoder(name: str) -> TextEncoder:
    encoder = TextEncoder.from_config(TEXT[name])
    encoder.backbone.load_state_dict(published(name).state_dict(), strict=False)
    return encoder.eval()


@pytest.mark.parametrize("name", TEXT)
@torch.no_grad()
def test_unpadded_text_equals_the_published_forward_pass(name: str) -> None:
    encoder = text_encoder(name)
    assert encoder.max_tokens == (38 if "roberta" in name else 40)
    for length in (1, 17, encoder.max_tokens):
        ids, lengths = tokens([length, length], length)
        close(encoder(ids, lengths), published(name)(ids).last_hidden_state)


@pytest.mark.parametrize("name", TEXT)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=4), st.integers(0, 13))
@settings(deadline=None, max_examples=10)
@torch.no_grad()
def test_padded_text_equals_the_utterance_alone(name: str, lengths: list[int], extra: int) -> None:
    hidden = text_encoder(name)(*tokens(lengths, max(lengths) + extra))
    for row, length in enumerate(lengths):
        close(hidden[row, :length], published(name)(tokens([length], length)[0]).last_hidden_state[0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"position_embedding_type": "relative_key"},
            "bert encoder: position_embedding_type is 'relative",
        ),
        ({"is_decoder": True}, "bert encoder: is_decoder is True, expected False"),
        ({"pad_token_id": None}, "bert encoder: pad_token_id is null"),
    ],
)
def test_text_encoders_of_another_kind_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TextEncoder.from_config(TEXT["bert"] | values)


@pytest.mark.parametrize("name", [*AUDIO, *TEXT])
@torch.no_grad()
def test_a_weighted_sum_is_over_the_published_hidden_states(name: str) -> None:
    x, lengths = waves([333, 201], 333) if name in AUDIO else tokens([17, 5], 17)
    kind = AudioEncoder if name in AUDIO else TextEncoder
    encoder = kind.from_config((AUDIO | TEXT)[name], use_weighted_layer_sum=True).eval()
    encoder.backbone.load_state_dict(published(name).state_dict(), strict=False)
    assert encoder.layer_weights is not None
    encoder.layer_weights.copy_(torch.tensor([0.3, -1.0, 0.5]))
    output = encoder(x, lengths)
    for row, length in enumerate(lengths):
        answer = published(name)(x[row : row + 1, :length], output_hidden_states=True)
        # The last layer's as the encoder answers them: transformers 5 gives them before the last LayerNorm.
        states = (*answer.hidden_states[:-1], answer.last_hidden_state)
        shares = torch.tensor([0.3, -1.0, 0.5]).exp()
        expected = sum(s * state for s, state in zip(shares / shares.sum(), states, strict=True))
        hidden = output[0] if name in AUDIO else output
        close(hidden[row, : expected.shape[1]], expected[0])


@pytest.mark.parametrize("name", [*AUDIO, *TEXT])
def test_parameters_are_as_deep_as_what_reaches_them(name: str) -> None:
    """What has a gradient when a layer's input is cut off is above it."""
    kind = AudioEncoder if name in AUDIO else TextEncoder
    encoder: Encoder = kind.from_config((AUDIO | TEXT)[name]).eval()
    x, lengths = waves([333], 333) if name in AUDIO else tokens([17], 17)
    for number, layer in enumerate(encoder.layers, start=1):
        encoder.zero_grad()
        handle = layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].detach(), *inputs[1:]))
        output = encoder(x, lengths)
        (output[0] if name in AUDIO else output).square().sum().backward()
        handle.remove()
        for parameter_name, parameter in encoder.backbone.named_parameters():
            # WavLM's position bias is of the first layer, and goes to the others beside the hidden states.
            if parameter.grad is not None and "rel_attn_embed" not in parameter_name:
                assert encoder.depth(parameter_name) >= number, parameter_name
    deepest = {encoder.depth(parameter_name) for parameter_name, _ in encoder.backbone.named_parameters()}
    assert deepest == {0, 1, 2} | ({3} if name.endswith(("-layer", "-adapter")) else set())
