"""Mul-TAB whole: its size, what is trained of it, a missing modality, the temperature, loading."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import HubertConfig, HubertModel, RobertaConfig, RobertaForMaskedLM

from mtab.errors import ConfigError
from mtab_train.config import PRESETS
from mtab_train.encoders import with_encoders
from mtab_train.model import (
    MulTAB,
    SelfAttention,
    count_parameters,
)

from .small_models import AUDIO, CONFIG, HUBERT, TEXT, UTTERANCES, batch, close, make, scramble, variant

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
