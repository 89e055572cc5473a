"""Encoders from checkpoints: what loads, what is refused, and that no code of theirs is run."""

import dataclasses
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertForPreTraining,
    BertModel,
    Data2VecAudioForCTC,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2Model,
    HubertModel,
    PreTrainedModel,
    RobertaForMaskedLM,
    RobertaModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WavLMModel,
    XLMRobertaModel,
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

from .small_encoders import AUDIO, TEXT, close, scramble, tokens, waves

CHECKPOINTS: dict[str, tuple[type[PreTrainedModel], dict[str, Any]]] = {
    "wav2vec2": (Wav2Vec2Model, AUDIO["wav2vec2"]),
    "wav2vec2 with a CTC head": (Wav2Vec2ForCTC, AUDIO["wav2vec2-layer"]),
    "hubert": (HubertModel, AUDIO["hubert"]),
    "wavlm": (WavLMModel, AUDIO["wavlm"]),
    "data2vec-audio with a CTC head": (Data2VecAudioForCTC, AUDIO["data2vec-audio"]),
    "bert": (BertModel, TEXT["bert"]),
    "bert with its heads": (BertForPreTraining, TEXT["bert"]),
    "distilbert with a language-model head": (DistilBertForMaskedLM, TEXT["distilbert"]),
    "roberta": (RobertaModel, TEXT["roberta"]),
    "roberta with a language-model head": (RobertaForMaskedLM, TEXT["roberta"]),
    "xlm-roberta": (XLMRobertaModel, TEXT["xlm-roberta"]),
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
    if values["model_type"] in TEXT_ENCODERS:
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


@torch.no_grad()
def test_the_tensor_names_of_the_first_berts_load(tmp_path: Path) -> None:
    """As bert-base-uncased was published: LayerNorm's gamma and beta, and positions that are no weight."""
    saved = save(tmp_path, BertForPreTraining, TEXT["bert"])
    (tmp_path / "model.safetensors").unlink()
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = {
        re.sub("|".join(old), lambda found: old[found[0]], name): tensor
        for name, tensor in saved.state_dict().items()
    }
    assert "bert.embeddings.LayerNorm.gamma" in tensors
    tensors["bert.embeddings.position_ids"] = torch.arange(40)[None]
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    ids, lengths = tokens([9], 9)
    encoder = TextEncoder.from_config(TEXT["bert"], str(tmp_path)).eval()
    close(encoder(ids, lengths), saved.bert(ids).last_hidden_state)


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
    save(tmp_path / "text", RobertaModel, TEXT["roberta"])
    base = PRESETS["base"].model
    config = with_encoders(base, str(tmp_path / "audio"), str(tmp_path / "text"))
    assert config.audio_config is not None
    assert config.text_config is not None
    assert AUDIO["hubert"].items() <= config.audio_config.items()
    assert TEXT["roberta"].items() <= config.text_config.items()
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

    GPT2Model(GPT2Config(n_embd=24, n_layer=1, n_head=4)).save_pretrained(tmp_path / "gpt2")
    refused("is a 'gpt2' model, expected one of wav2vec2", tmp_path / "gpt2")
    save(tmp_path / "hubert", HubertModel, AUDIO["hubert"])
    refused("is a 'hubert' model, expected one of wav2vec2", tmp_path / "hubert")
    with pytest.raises(ConfigError, match="is a 'hubert' model, expected one of bert"):
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
    save(folder, Wav2Vec2Model, AUDIO["wav2vec2"])
    (folder / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    config = read_json(folder / "config.json")
    config["auto_map"] = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    write_json(folder / "config.json", config)
    values = read_encoder_config(str(folder), AUDIO_ENCODERS)
    for weights in (str(folder), None):
        assert type(AudioEncoder.from_config(values, weights).backbone) is Wav2Vec2Model

    write_json(folder / "config.json", config | {"model_type": "newer"})
    refused("no such encoder", folder)
    assert not ran.exists()


class Opener:
    """What a pickle can do to the one who opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("legacy", [False, True])
@torch.no_grad()
def test_a_pytorch_model_of_tensors_alone_loads(tmp_path: Path, legacy: bool) -> None:
    """As HuBERT and WavLM are published; the files of before torch 1.6 too."""
    saved = save(tmp_path, HubertModel, AUDIO["hubert"])
    (tmp_path / "model.safetensors").unlink()
    torch.save(saved.state_dict(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    x, lengths = waves([333], 333)
    encoder = AudioEncoder.from_config(AUDIO["hubert"], str(tmp_path)).eval()
    close(encoder(x, lengths)[0], saved(x).last_hidden_state)


@torch.no_grad()
def test_safetensors_are_preferred(tmp_path: Path) -> None:
    saved = save(tmp_path, HubertModel, AUDIO["hubert"])
    torch.save({}, tmp_path / "pytorch_model.bin")
    x, lengths = waves([333], 333)
    encoder = AudioEncoder.from_config(AUDIO["hubert"], str(tmp_path)).eval()
    close(encoder(x, lengths)[0], saved(x).last_hidden_state)


def test_a_pickle_of_objects_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    ran, folder = tmp_path / "ran", tmp_path / "checkpoint"
    saved = save(folder, Wav2Vec2Model, AUDIO["wav2vec2"])
    (folder / "model.safetensors").unlink()
    weights = folder / "pytorch_model.bin"
    harmful = saved.state_dict() | {"more": Opener(ran)}
    for legacy in (False, True):
        torch.save(harmful, weights, _use_new_zipfile_serialization=not legacy)
        refused("pytorch_model.bin holds io.open, expected tensors alone", folder)
    # In shards.
    name = "pytorch_model-00001-of-00001.bin"
    weights.rename(folder / name)
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(saved.state_dict(), name)}
    write_json(folder / "pytorch_model.bin.index.json", index)
    refused("holds io.open", folder)
    (folder / "pytorch_model.bin.index.json").unlink()
    # No file of torch's at all.
    weights.write_bytes(pickle.dumps(Opener(ran)))
    refused("holds other things, expected tensors alone", folder)
    weights.write_bytes(b"no pickle")
    refused("holds other things, expected tensors alone", folder)
    torch.save([1, 2], weights)
    refused("cannot be loaded", folder)
    assert not ran.exists()
    # The control: it would have.
    torch.save(harmful, weights)
    torch.load(weights, weights_only=False)
    assert ran.exists()


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
