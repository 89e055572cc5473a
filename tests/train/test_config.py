"""What a model and its training are made of: the paper's values, JSON there and back, and what is refused."""

import dataclasses
import json
from typing import Any

import pytest

from mtab.config import from_dict, to_dict
from mtab.errors import ConfigError
from mtab.preprocess import PreprocessorConfig
from mtab_train.config import PRESETS, ModelConfig, TrainConfig

TINY = PRESETS["tiny"].model


def through_json(config: Any) -> Any:
    return from_dict(type(config), json.loads(json.dumps(to_dict(config))), "config.json")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    preset = PRESETS[name]
    assert through_json(preset.model) == preset.model
    assert through_json(preset.train) == preset.train


def test_every_field_survives_json() -> None:
    model = dataclasses.replace(
        TINY,
        labels=("no", "yes"),
        audio_model="audio/model",
        text_model="/text/model",
        audio_training="frozen",
        text_training="frozen",
        fusion_align="pool",
        num_self_attention_layers=0,
        num_tab_layers=1,
        tab_kernel_size=3,
        dropout=0.25,
        modality_dropout=0.5,
        use_weighted_layer_sum=True,
    )
    assert through_json(model) == model
    assert through_json(dataclasses.replace(TINY, text_config=None)).text_config is None
    assert through_json(dataclasses.replace(TINY, freeze_layers=1)).freeze_layers == 1
    train = TrainConfig(max_seconds=12.5, max_grad_norm=1.0, class_weights="balanced", mixed_precision="bf16")
    train = dataclasses.replace(train, layerwise_lr_decay=0.9, lora_rank=4, lora_alpha=8.0)
    assert through_json(train) == train


def test_base_trains_as_the_paper_does() -> None:
    model, train = PRESETS["base"].model, PRESETS["base"].train
    assert (train.epochs, train.batch_size, train.learning_rate) == (100, 2, 5e-5)
    assert (train.warmup_ratio, train.max_grad_norm, train.max_seconds) == (0, None, None)
    assert (model.hidden_size, model.num_attention_heads, model.num_self_attention_layers) == (768, 8, 2)
    assert (model.dropout, model.num_tab_layers, model.fused_size) == (0.1, 3, 1536)
    assert (model.audio_training, model.text_training) == ("conv-frozen", "frozen")
    assert train.protocol == "honest"


@pytest.mark.parametrize(
    ("changes", "modalities", "supported", "fused_size"),
    [
        ({}, ("audio", "text"), (("audio", "text"),), 256),
        ({"modality_dropout": 0.1}, ("audio", "text"), (("audio", "text"), ("audio",), ("text",)), 256),
        ({"text_config": None}, ("audio",), (("audio",),), 128),
        ({"audio_config": None}, ("text",), (("text",),), 128),
    ],
)
def test_modalities(changes: dict[str, Any], modalities: Any, supported: Any, fused_size: int) -> None:
    config = dataclasses.replace(TINY, **changes)
    assert config.modalities == modalities
    assert config.supported_modalities == supported
    assert config.fused_size == fused_size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["one"]}, "labels are"),
        ({"labels": ["one", "one"]}, "labels are"),
        ({"labels": "anger"}, "field 'labels' is 'anger' (str)"),
        ({"labels": [1, 2]}, "field 'labels[0]' is 1 (int), expected str"),
        ({"audio_config": None, "text_config": None}, "at least one encoder"),
        ({"audio_config": {"model_type": "roberta"}}, "audio_config.model_type is 'roberta'"),
        ({"audio_config": {}}, "audio_config.model_type is None, expected one of wav2vec2, hubert, wavlm"),
        ({"text_config": {"model_type": "wavlm"}}, "text_config.model_type is 'wavlm'"),
        ({"text_config": "roberta-base"}, "field 'text_config' is 'roberta-base' (str)"),
        ({"audio_training": "half"}, "'audio_training' is 'half', expected one of 'frozen', 'conv-frozen'"),
        ({"text_training": "conv-frozen"}, "field 'text_training'"),
        ({"fusion_align": "stretch"}, "field 'fusion_align'"),
        ({"hidden_size": 100}, "hidden_size is 100, expected a multiple of 8"),
        ({"hidden_size": 128.0}, "field 'hidden_size' is 128.0 (float), expected int"),
        ({"hidden_size": True}, "field 'hidden_size' is True (bool), expected int"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0, expected at least 1"),
        ({"num_attention_heads": -8}, "num_attention_heads is -8, expected at least 1"),
        ({"tab_kernel_size": 0}, "tab_kernel_size is 0"),
        ({"num_tab_layers": -1}, "num_tab_layers is -1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": "0.1"}, "field 'dropout' is '0.1' (str), expected float"),
        ({"modality_dropout": -0.1}, "modality_dropout is -0.1"),
        ({"modality_dropout": 0.1, "text_config": None}, "modality_dropout needs both"),
        ({"hiden_size": 128}, "unknown field 'hiden_size'; known: labels, audio_config"),
    ],
)
def test_model_configurations_that_are_refused(changes: dict[str, Any], message: str) -> None:
    check_refused(ModelConfig, to_dict(TINY) | changes, message)


@pytest.mark.parametrize("field", ["labels", "audio_config", "text_config"])
def test_a_missing_field_is_named(field: str) -> None:
    values = to_dict(TINY)
    del values[field]
    check_refused(ModelConfig, values, f"field '{field}' is missing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"warmup_ratio": 1}, "warmup_ratio is 1"),
        ({"max_grad_norm": 0}, "max_grad_norm is 0"),
        ({"max_seconds": 0}, "max_seconds is 0"),
        ({"max_seconds": -3.5}, "max_seconds is -3.5, expected more than 0"),
        ({"max_seconds": "10"}, "field 'max_seconds' is '10' (str)"),
        ({"protocol": "best"}, "field 'protocol'"),
        ({"mixed_precision": "int8"}, "field 'mixed_precision'"),
        ({"ctc_weight": -0.1}, "ctc_weight is -0.1, expected at least 0"),
        ({"label_smoothing": 0.1}, "unknown field 'label_smoothing'"),
    ],
)
def test_training_configurations_that_are_refused(changes: dict[str, Any], message: str) -> None:
    check_refused(TrainConfig, to_dict(TrainConfig()) | changes, message)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dataclasses.replace(TINY, labels=("one",)),
        lambda: TrainConfig(epochs=0),
        lambda: TrainConfig(learning_rate=float("nan")),
        lambda: TrainConfig(max_seconds=float("inf")),
        lambda: TrainConfig(seed=2**32),
        lambda: PreprocessorConfig(sampling_rate=8000),
    ],
)
def test_a_configuration_made_in_code_raises_the_same_kind(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def check_refused(cls: type, values: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_dict(cls, values, "some/config.json")
    assert str(error.value).startswith("some/config.json: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_only_a_transformer_has_is_refused_elsewhere() -> None:
    compact = dataclasses.replace(PRESETS["compact"].model, text_config=None)
    for changes in ({"freeze_layers": 1}, {"use_weighted_layer_sum": True}):
        with pytest.raises(ConfigError, match="expected a transformer encoder"):
            dataclasses.replace(compact, **changes)
    assert compact.trained_encoders == ()
    assert TINY.trained_encoders == ("audio", "text")
