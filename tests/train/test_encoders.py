"""The encoders against the published transformers implementation, alone and in padded batches; loading."""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    HubertModel,
    PreTrainedModel,
    RobertaForMaskedLM,
    RobertaModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WavLMModel,
)

from mtab.config import from_dict, to_dict
from mtab.errors import ConfigError
from mtab.files import read_json, write_json
from mtab_train.config import AUDIO_ENCODERS, PRESETS, TEXT_ENCODERS, ModelConfig
from mtab_train.encoders import (
    AudioEncoder,
    TextEncoder,
    encoder_config,
    read_encoder_config,
    with_encoders,
)

# Three convolutions: the first frame reads 30 samples, each next one 20 more.
SMALL = {
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_length": 2,
    "feat_proj_dropout": 0.1,
}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
AUDIO: dict[str, dict[str, Any]] = {
    "wav2vec2": {"model_type": "wav2vec2"} | SMALL,
    "wav2vec2-layer": {"model_type": "wav2vec2"} | SMALL | LAYER_NORM,
    "wav2vec2-adapter": {"model_type": "wav2vec2", "adapter_attn_dim": 8} | SMALL | LAYER_NORM,
    "wav2vec2-odd-kernel": {"model_type": "wav2vec2"} | SMALL | {"num_conv_pos_embeddings": 7},
    "hubert": {"model_type": "hubert", "feat_proj_layer_norm": False} | SMALL,
    "hubert-layer": {"model_type": "hubert"} | SMALL | LAYER_NORM,
    "wavlm": {"model_type": "wavlm", "num_buckets": 16, "max_bucket_distance": 20} | SMALL,
    "wavlm-layer": {"model_type": "wavlm", "num_buckets": 16, "max_bucket_distance": 20} | SMALL | LAYER_NORM,
}
TEXT = {
    "model_type": "roberta",
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "type_vocab_size": 1,
}


def scramble(model: torch.nn.Module, seed: int = 0) -> None:
    """Weights with an effect: as initialised, biases are zero and most matrices small."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


@cache
def published(name: str) -> PreTrainedModel:
    """The transformers model with its own forward pass and default attention."""
    torch.manual_seed(0)
    model = AutoModel.from_config(encoder_config(AUDIO.get(name, TEXT)))
    scramble(model)
    return model.eval()


@cache
def audio_encoder(name: str) -> AudioEncoder:
    encoder = AudioEncoder.from_config(AUDIO[name])
    encoder.backbone.load_state_dict(published(name).state_dict())
    return encoder.eval()


def waves(lengths: list[int], size: int, padding: float = 0.0) -> tuple[Tensor, Tensor]:
    """(batch, size) of noise, the same for the same length, and the lengths."""
    x = torch.full((len(lengths), size), padding)
    for row, length in zip(x, lengths, strict=True):
        row[:length] = torch.randn(length, generator=torch.Generator().manual_seed(length))
    return x, torch.tensor(lengths)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


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
def text_encoder() -> TextEncoder:
    encoder = TextEncoder.from_config(TEXT)
    encoder.backbone.load_state_dict(published("roberta").state_dict(), strict=False)
    return encoder.eval()


def tokens(lengths: list[int], size: int) -> tuple[Tensor, Tensor]:
    """(batch, size) of token ids (2 ... 59), the same for the same length; padding (1) after the length."""
    ids = torch.ones(len(lengths), size, dtype=torch.int64)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(2, 60, (length,), generator=torch.Generator().manual_seed(length))
    return ids, torch.tensor(lengths)


@torch.no_grad()
def test_unpadded_text_equals_the_published_forward_pass() -> None:
    assert text_encoder().max_tokens == 38
    for length in (1, 17, 38):
        ids, lengths = tokens([length, length], length)
        close(text_encoder()(ids, lengths), published("roberta")(ids).last_hidden_state)


@given(st.lists(st.integers(1, 25), min_size=1, max_size=4), st.integers(0, 13))
@settings(deadline=None, max_examples=10)
@torch.no_grad()
def test_padded_text_equals_the_utterance_alone(lengths: list[int], extra: int) -> None:
    hidden = text_encoder()(*tokens(lengths, max(lengths) + extra))
    for row, length in enumerate(lengths):
        close(hidden[row, :length], published("roberta")(tokens([length], length)[0]).last_hidden_state[0])


# Loading


CHECKPOINTS: dict[str, tuple[type[PreTrainedModel], dict[str, Any]]] = {
    "wav2vec2": (Wav2Vec2Model, AUDIO["wav2vec2"]),
    "wav2vec2 with a CTC head": (Wav2Vec2ForCTC, AUDIO["wav2vec2-layer"]),
    "hubert": (HubertModel, AUDIO["hubert"]),
    "wavlm": (WavLMModel, AUDIO["wavlm"]),
    "roberta": (RobertaModel, TEXT),
    "roberta with a language-model head": (RobertaForMaskedLM, TEXT),
}


def save(folder: Path, cls: type[PreTrainedModel], values: dict[str, Any]) -> PreTrainedModel:
    model = cls(encoder_config(values))
    scramble(model)
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("name", CHECKPOINTS)
@torch.no_grad()
def test_a_checkpoint_folder_loads(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    cls, values = CHECKPOINTS[name]
    saved = save(tmp_path, cls, values)
    body = getattr(saved, saved.base_model_prefix, saved)
    capfd.readouterr()
    if values is TEXT:
        encoder = TextEncoder.from_config(read_encoder_config(str(tmp_path), TEXT_ENCODERS), str(tmp_path))
        ids, lengths = tokens([9], 9)
        hidden, expected = encoder.eval()(ids, lengths), body(ids).last_hidden_state
    else:
        encoder = AudioEncoder.from_config(read_encoder_config(str(tmp_path), AUDIO_ENCODERS), str(tmp_path))
        x, lengths = waves([333], 333)
        hidden, expected = encoder.eval()(x, lengths)[0], body(x).last_hidden_state
    assert hidden.dtype == torch.float32
    close(hidden, expected)
    assert "newly initialized" not in "".join(capfd.readouterr())


def test_the_tensor_names_of_older_checkpoints_load(tmp_path: Path) -> None:
    """As published: the positional convolution's weight norm by its old names, nothing for SpecAugment."""
    save(tmp_path, Wav2Vec2ForCTC, AUDIO["wav2vec2"])
    values = read_encoder_config(str(tmp_path), AUDIO_ENCODERS)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["wav2vec2.masked_spec_embed"]
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        name = "wav2vec2.encoder.pos_conv_embed.conv."
        tensors[name + old] = tensors.pop(f"{name}parametrizations.weight.{new}")
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    weight = AudioEncoder.from_config(
        values, str(tmp_path)
    ).backbone.encoder.pos_conv_embed.conv.parametrizations
    torch.testing.assert_close(weight.weight.original0.data, tensors[name + "weight_g"])
    torch.testing.assert_close(weight.weight.original1.data, tensors[name + "weight_v"])


def test_options_of_the_configuration_win_over_those_of_the_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, Wav2Vec2Model, AUDIO["wav2vec2"] | {"layerdrop": 0.1})
    values = read_encoder_config(str(tmp_path), AUDIO_ENCODERS) | {
        "layerdrop": 0.0,
        "apply_spec_augment": False,
    }
    backbone = AudioEncoder.from_config(values, str(tmp_path)).backbone
    assert (backbone.config.layerdrop, backbone.config.apply_spec_augment) == (0.0, False)


def test_a_half_precision_checkpoint_becomes_float32(tmp_path: Path) -> None:
    Wav2Vec2Model(Wav2Vec2Config(**AUDIO["wav2vec2"])).half().save_pretrained(tmp_path)
    values = read_encoder_config(str(tmp_path), AUDIO_ENCODERS)
    assert "16" in values["dtype"]
    for weights in (str(tmp_path), None):
        parameters = AudioEncoder.from_config(values, weights).parameters()
        assert {parameter.dtype for parameter in parameters} == {torch.float32}


def test_with_encoders_takes_the_configuration_of_the_checkpoints(tmp_path: Path) -> None:
    save(tmp_path / "audio", HubertModel, AUDIO["hubert"])
    save(tmp_path / "text", RobertaModel, TEXT)
    base = PRESETS["base"].model
    config = with_encoders(base, str(tmp_path / "audio"), str(tmp_path / "text"))
    assert config.audio_config is not None
    assert config.text_config is not None
    assert AUDIO["hubert"].items() <= config.audio_config.items()
    assert TEXT.items() <= config.text_config.items()
    assert (config.audio_model, config.text_model) == (str(tmp_path / "audio"), str(tmp_path / "text"))
    assert from_dict(ModelConfig, to_dict(config), "config.json") == config
    assert with_encoders(base) == base
    assert with_encoders(base, text_model=str(tmp_path / "text")).audio_config == base.audio_config
    assert (
        dataclasses.replace(
            config,
            audio_config=base.audio_config,
            text_config=base.text_config,
            audio_model=base.audio_model,
            text_model=base.text_model,
        )
        == base
    )


def refused(message: str, source: Path, values: dict[str, Any] = AUDIO["wav2vec2"]) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        AudioEncoder.from_config(values, str(source))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(source))


def test_checkpoints_that_are_refused(tmp_path: Path) -> None:
    refused("no such encoder, expected a hub id or a local folder", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    refused("no such encoder", tmp_path / "empty")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    refused("no such encoder", tmp_path / "broken")

    BertModel(BertConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=4)).save_pretrained(
        tmp_path / "bert"
    )
    refused("is a 'bert' model, expected one of wav2vec2", tmp_path / "bert")
    save(tmp_path / "hubert", HubertModel, AUDIO["hubert"])
    refused("is a 'hubert' model, expected one of wav2vec2", tmp_path / "hubert")
    with pytest.raises(ConfigError, match="is a 'hubert' model, expected one of roberta"):
        with_encoders(PRESETS["tiny"].model, text_model=str(tmp_path / "hubert"))

    folder = tmp_path / "wav2vec2"
    save(folder, Wav2Vec2Model, AUDIO["wav2vec2"])
    refused("its weights cannot be loaded", folder, AUDIO["wav2vec2"] | {"hidden_size": 32})
    refused("lacks 'encoder.layers.2", folder, AUDIO["wav2vec2"] | {"num_hidden_layers": 3})
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused("its weights cannot be loaded", folder)
    weights.unlink()
    refused("its weights cannot be loaded", folder)


def test_code_of_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    folder = tmp_path / "checkpoint"
    saved = save(folder, Wav2Vec2Model, AUDIO["wav2vec2"])
    (folder / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    config = read_json(folder / "config.json")
    config["auto_map"] = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    write_json(folder / "config.json", config)
    values = read_encoder_config(str(folder), AUDIO_ENCODERS)
    for weights in (str(folder), None):
        assert type(AudioEncoder.from_config(values, weights).backbone) is Wav2Vec2Model

    write_json(folder / "config.json", config | {"model_type": "newer"})
    refused("no such encoder", folder)
    # A pickle runs code when it is opened; only safetensors are.
    write_json(folder / "config.json", config)
    (folder / "model.safetensors").unlink()
    torch.save(saved.state_dict(), folder / "pytorch_model.bin")
    refused("its weights cannot be loaded", folder)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": "wide"}, "wav2vec2 encoder: .*'hidden_size' expected int"),
        ({"conv_dim": [16]}, "wav2vec2 encoder: .*conv_dim"),
        ({"num_attention_heads": 5}, "wav2vec2 encoder: .*num_heads"),
    ],
)
def test_configurations_of_no_encoder_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        AudioEncoder.from_config(AUDIO["wav2vec2"] | values)
    assert "\n" not in str(error.value)
