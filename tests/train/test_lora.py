"""Low-rank adapters: they begin as nothing, alone are trained, and are merged into plain weights."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from mtab.data import Corpus
from mtab.errors import ConfigError
from mtab_train.batch_model import BatchModel
from mtab_train.checkpoint import load_model, read_tensors
from mtab_train.config import TrainConfig
from mtab_train.lora import merge_adapters, without_adapters
from mtab_train.run import open_run, run_corpus
from mtab_train.start import Start, continue_run
from mtab_train.trainer import Trainer

from .small_models import BERT, DATA2VEC, DISTILBERT, HUBERT, UTTERANCES, WAVLM, batch, close, make
from .training import begin, fit

ENCODERS: dict[str, dict[str, Any]] = {
    "wav2vec2 and roberta": {},
    "hubert and bert": {"audio_config": HUBERT, "text_config": BERT},
    "data2vec-audio and distilbert": {"audio_config": DATA2VEC, "text_config": DISTILBERT},
}
TRAIN = TrainConfig(lora_rank=2, lora_alpha=6.0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ENCODERS)
def test_adapters_are_trained_and_merged(name: str) -> None:
    plain, model = make(**ENCODERS[name]), make(**ENCODERS[name])
    BatchModel(model, TRAIN)
    inputs = batch(UTTERANCES)
    close(model(*inputs).logits, plain(*inputs).logits)

    trained = {key for key, p in model.named_parameters() if p.requires_grad and "_encoder." in key}
    # Queries and values of one layer of each encoder, a low-rank pair each.
    assert len(trained) == 2 * 2 * 2
    assert all(".lora_A." in key or ".lora_B." in key for key in trained)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):  # the gradient of A is zero as long as B is
        optimizer.zero_grad()
        cross_entropy(model(*inputs).logits, torch.tensor([2, 0, 1])).backward()
        optimizer.step()
    with torch.no_grad():
        expected = model(*inputs).logits
        assert (expected - plain(*inputs).logits).abs().max() > 1e-3
        merged = without_adapters(model)
        close(merged(*inputs).logits, expected)
        close(model(*inputs).logits, expected)
    state = merged.state_dict()
    assert {key: p.shape for key, p in state.items()} == {k: p.shape for k, p in plain.state_dict().items()}
    # W + alpha / rank * B A, as the paper writes it.
    pairs = {key.removesuffix(".lora_A.default.weight") for key in trained if ".lora_A." in key}
    adapted, tensors = {f"{pair}.weight" for pair in pairs}, model.state_dict()
    for pair in pairs:
        a, b = (tensors[f"{pair}.lora_{which}.default.weight"] for which in "AB")
        close(state[f"{pair}.weight"], plain.state_dict()[f"{pair}.weight"] + 6.0 / 2 * b @ a)
    for key, tensor in plain.state_dict().items():
        if "_encoder." in key and key not in adapted:
            assert torch.equal(state[key], tensor), key
    merge_adapters(model)
    close(model(*inputs).logits, expected)


def test_without_adapters_a_model_is_itself() -> None:
    model = make()
    assert without_adapters(model) is model


def test_frozen_layers_and_encoders_get_none() -> None:
    model = make(text_config=BERT | {"num_hidden_layers": 3}, audio_training="frozen", freeze_layers=2)
    BatchModel(model, TRAIN)
    adapted = {key for key, _ in model.named_parameters() if ".lora_" in key}
    assert len(adapted) == 4
    assert all("text_encoder.backbone.encoder.layer.2." in key for key in adapted)


def test_adapters_without_an_effect_are_refused() -> None:
    with pytest.raises(ConfigError, match="no effect in a wavlm encoder"):
        BatchModel(make(audio_config=WAVLM), TRAIN)
    with pytest.raises(ConfigError, match="lora_rank is 2, expected a transformer encoder that is"):
        BatchModel(make(text_training="frozen", audio_config=None), TRAIN)


def test_a_run_keeps_merged_weights_and_is_resumed_with_adapters(
    tmp_path: Path, start: Start, tones: Corpus
) -> None:
    model = dataclasses.replace(start.model, use_weighted_layer_sum=True)
    start = dataclasses.replace(start, model=model)
    changes = {"lora_rank": 2, "layerwise_lr_decay": 0.5, "epochs": 3, "learning_rate": 1e-2}
    results = fit(tmp_path / "whole", start, tones, **changes)
    run = begin(tmp_path / "stopped", start, tones, **changes)
    before = read_tensors(run.folder / "checkpoints" / "epoch-0000" / "model.safetensors")

    trainer = Trainer(run, tones, "cpu")
    for number, _ in enumerate(trainer.epochs(), start=1):
        if number == 2:
            break
    Trainer(open_run(run.folder), run_corpus(run), "cpu").fit()
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)

    # Nothing of the encoders moved but what has an adapter, and that by its product alone.
    assert set(one) == set(load_model(run.folder).state_dict())
    for name, tensor in one.items():
        if "_encoder.backbone." in name and not any(part in name for part in ("query", "value", "q_", "v_")):
            assert torch.equal(tensor, before[f"model.{name}"]), name
    moved = (
        one["text_encoder.backbone.encoder.layer.0.attention.self.query.weight"]
        - before["model.text_encoder.backbone.encoder.layer.0.attention.self.query.base_layer.weight"]
    )
    assert torch.linalg.matrix_rank(moved, rtol=1e-4) == 2
    trained = results["parameters"]["text_encoder"]["trained"]
    assert trained == 2 * 2 * (16 + 16) + 2  # two pairs of rank 2 and the sum's two weights

    more = continue_run(run.folder, 4)
    assert Trainer(more, tones, "cpu").fit().epochs == 4


def test_averaged_adapters_are_merged_too(tmp_path: Path, start: Start, tones: Corpus) -> None:
    fit(tmp_path / "run", start, tones, lora_rank=2, ema_decay=0.5, epochs=1)
    assert set(load_file(tmp_path / "run" / "model.safetensors")) == set(
        load_model(tmp_path / "run").state_dict()
    )


def test_what_a_trained_model_answers_is_what_was_scored(tmp_path: Path, start: Start, tones: Corpus) -> None:
    """The answers with adapters, as training evaluated them, against the merged weights."""
    start = dataclasses.replace(start, train=dataclasses.replace(start.train, protocol="paper"))
    results = fit(tmp_path / "run", start, tones, lora_rank=2, epochs=2)
    assert results["test"]["war"] == results["selection"]["war"]
    assert results["test"]["loss"] == pytest.approx(results["selection"]["loss"], abs=1e-5)
