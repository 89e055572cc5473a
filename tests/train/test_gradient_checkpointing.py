"""Layers computed again in the backward pass: the same gradients, with dropout too, and less that is kept."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from mtab.data import Corpus
from mtab_train.batch_model import BatchModel
from mtab_train.config import BASE, WAV2VEC2_BASE_960H, ModelConfig, TrainConfig
from mtab_train.model import MulTAB
from mtab_train.run import open_run, run_corpus
from mtab_train.start import Start
from mtab_train.trainer import Trainer

from .small_models import (
    AUDIO,
    BERT,
    CONFIG,
    DATA2VEC,
    DISTILBERT,
    HUBERT,
    LAYER_NORM,
    TEXT,
    UTTERANCES,
    WAVLM,
    batch,
)
from .training import begin, fit

DROPPED = {"hidden_dropout": 0.2, "activation_dropout": 0.2, "attention_dropout": 0.2, "num_hidden_layers": 2}
WORDS = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2, "num_hidden_layers": 2}
MODELS: dict[str, dict[str, Any]] = {
    "wav2vec2 and roberta": {"audio_config": AUDIO | DROPPED, "text_config": TEXT | WORDS},
    "wav2vec2 that drops layers": {"audio_config": AUDIO | DROPPED | LAYER_NORM | {"layerdrop": 0.5}},
    "hubert and bert": {"audio_config": HUBERT | DROPPED, "text_config": BERT | WORDS},
    "wavlm and weighted sums": {"audio_config": WAVLM | DROPPED, "use_weighted_layer_sum": True},
    "data2vec-audio and distilbert": {
        "audio_config": DATA2VEC | DROPPED,
        "text_config": DISTILBERT | {"dropout": 0.2, "attention_dropout": 0.2, "n_layers": 2},
    },
    "frozen convolutions and layers": {"audio_training": "conv-frozen", "freeze_layers": 1},
}


def gradients(config: ModelConfig, train: TrainConfig, bf16: bool = False) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = BatchModel(MulTAB.from_config(config), train).train()
    values, audio_lengths, ids, text_lengths = batch(UTTERANCES)
    labels = torch.tensor([2, 0, 1])
    inputs = {"input_values": values, "audio_lengths": audio_lengths, "labels": labels}
    inputs |= {"input_ids": ids, "text_lengths": text_lengths}
    with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
        loss = cross_entropy(model(inputs).output.logits.float(), labels)
    loss.backward()
    # Running statistics too: nothing may count twice.
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None} | dict(
        model.named_buffers()
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("how", ["float32", "bf16", "adapters"])
def test_the_gradients_are_those_of_layers_that_are_kept(name: str, how: str) -> None:
    if how == "adapters" and "wavlm" in name:
        pytest.skip("WavLM takes no adapters")
    config = dataclasses.replace(CONFIG, dropout=0.2, **MODELS[name])
    train = TrainConfig(lora_rank=2 if how == "adapters" else 0)
    kept = gradients(config, train, how == "bf16")
    again = gradients(config, dataclasses.replace(train, gradient_checkpointing=True), how == "bf16")
    assert kept.keys() == again.keys()
    assert max(gradient.abs().max().item() for gradient in kept.values()) > 1e-3
    for key, gradient in kept.items():
        torch.testing.assert_close(again[key], gradient, atol=1e-6, rtol=1e-6, msg=lambda m, k=key: k + m)


def test_a_run_reaches_the_same_weights_accumulated_and_resumed(
    tmp_path: Path, start: Start, tones: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))
    changes: dict[str, Any] = {"epochs": 2, "gradient_accumulation_steps": 2, "batch_size": 4}
    fit(tmp_path / "kept", start, tones, **changes)
    run = begin(tmp_path / "again", start, tones, gradient_checkpointing=True, **changes)
    next(Trainer(run, tones, "cpu").epochs())
    Trainer(open_run(run.folder), run_corpus(run), "cpu").fit()
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("kept", "again"))
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        torch.testing.assert_close(other[key], tensor, atol=1e-5, rtol=1e-5)


@contextmanager
def kept_bytes(model: torch.nn.Module) -> Iterator[Callable[[], int]]:
    """Bytes of what is kept for the backward pass, each storage once, without the model's own."""
    own = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    found: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            # Held, so that its address is not given to another one.
            found[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield lambda: sum(storage.nbytes() for storage in found.values())


def test_less_is_kept() -> None:
    """Of `base` with fewer layers, on a clip of two seconds: by layer what enters it, 100 frames of 768."""
    layers = 4
    found = {}
    for checkpointing in (False, True):
        config = dataclasses.replace(
            BASE.model,
            audio_config=WAV2VEC2_BASE_960H | {"num_hidden_layers": layers, "layerdrop": 0.0},
            text_config=None,
            num_self_attention_layers=0,
        )
        model = BatchModel(
            MulTAB.from_config(config), TrainConfig(gradient_checkpointing=checkpointing)
        ).train()
        frames = torch.randn(1, 100, 512)
        inputs = {"audio_features": frames, "audio_frames": torch.tensor([100]), "labels": torch.tensor([0])}
        with kept_bytes(model) as kept:
            model(inputs)
            found[checkpointing] = kept()
    a_layer = (found[False] - found[True]) / layers
    # Attention, its projections, the feed-forward of 3072 and two norms, in place of one tensor of 768.
    assert a_layer > 10 * 100 * 768 * 4
    assert found[True] < found[False] / 2
