"""The learning rate of each parameter: by layers, frozen ones left out."""

import dataclasses
import re

import pytest
import torch

from mtab_train.batch_model import BatchModel
from mtab_train.config import TrainConfig
from mtab_train.optimizer import parameter_groups

from .small_models import AUDIO, LAYER_NORM, TEXT, make

LAYERS = {"num_hidden_layers": 3}
TRAIN = TrainConfig(learning_rate=1.0)


def rates(train: TrainConfig, **changes: object) -> dict[str, float]:
    """The learning rate of every parameter that is trained."""
    model = BatchModel(make(**changes), train)
    groups = parameter_groups(model, train)
    assert groups[0]["lr"] == train.learning_rate
    by_id = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(by_id) == len(trained) == sum(len(group["params"]) for group in groups)
    return {name.removeprefix("model."): by_id[id(p)] for name, p in trained.items()}


def test_one_rate_for_all_is_one_group_in_the_order_of_the_model() -> None:
    model = BatchModel(make(audio_training="conv-frozen"), TRAIN)
    (group,) = parameter_groups(model, TRAIN)
    expected = [p for p in model.parameters() if p.requires_grad]
    assert all(one is other for one, other in zip(group["params"], expected, strict=True))


def test_each_layer_learns_more_slowly_than_the_one_above() -> None:
    found = rates(
        dataclasses.replace(TRAIN, layerwise_lr_decay=0.5),
        audio_config=AUDIO | LAYER_NORM | LAYERS | {"mask_time_prob": 0.5},
        text_config=TEXT | LAYERS,
        use_weighted_layer_sum=True,
    )
    for name, rate in {
        "text_encoder.backbone.embeddings.word_embeddings.weight": 0.0625,
        "text_encoder.backbone.encoder.layer.0.attention.self.query.weight": 0.125,
        "text_encoder.backbone.encoder.layer.1.output.dense.bias": 0.25,
        "text_encoder.backbone.encoder.layer.2.output.dense.bias": 0.5,
        "text_encoder.layer_weights": 1.0,
        "audio_encoder.backbone.masked_spec_embed": 0.0625,
        "audio_encoder.backbone.feature_extractor.conv_layers.0.conv.weight": 0.0625,
        "audio_encoder.backbone.encoder.layers.2.feed_forward.output_dense.weight": 0.5,
        "audio_encoder.backbone.encoder.layer_norm.weight": 1.0,
        "projection.audio.weight": 1.0,
        "head.classifier.weight": 1.0,
    }.items():
        assert found[name] == rate, name
    assert set(found.values()) == {0.0625, 0.125, 0.25, 0.5, 1.0}


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_frozen_layers_are_left_out(layers: int) -> None:
    changes = {
        "audio_config": AUDIO | LAYER_NORM | LAYERS | {"mask_time_prob": 0.5},
        "text_config": TEXT | LAYERS,
        "freeze_layers": layers,
    }
    frozen = {name for name, p in make(**changes).named_parameters() if not p.requires_grad}
    expected = [f"{kind}.{n}." for kind in ("encoder.layer", "encoder.layers") for n in range(layers)]
    if layers:
        expected += ["embeddings.", "feature_extractor.", "feature_projection.", "pos_conv_embed."]
        expected += ["masked_spec_embed"]
    assert {part for part in expected for name in frozen if part in name} == set(expected)
    assert all(any(part in name for part in expected) for name in frozen)


def test_a_step_moves_each_parameter_by_its_own_rate() -> None:
    """AdamW's first step is the learning rate, whatever the gradient."""
    train = dataclasses.replace(TRAIN, learning_rate=1e-3, layerwise_lr_decay=0.5)
    model = BatchModel(make(text_config=TEXT | LAYERS, audio_config=None), train)
    optimizer = torch.optim.AdamW(parameter_groups(model, train), weight_decay=0.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        found = re.search(r"encoder\.layer\.(\d)", name)
        factor = 0.5 ** (3 - int(found[1])) if found else (0.5**4 if "embeddings" in name else 1.0)
        moved = (before[name] - parameter).detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 1e-3 * factor), rtol=1e-2, atol=1e-7)
