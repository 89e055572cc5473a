"""Frozen lower layers: as at inference while those above learn, and computed once."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mtab.data import Corpus
from mtab_train.encoder_cache import frozen_outputs
from mtab_train.encoders import AudioEncoder, Encoder, TextEncoder
from mtab_train.start import Start
from mtab_train.trainer import Trainer

from .small_encoders import AUDIO, TEXT, close, scramble, tokens, waves
from .small_models import CONFIG
from .training import begin, fit

DROPPED: dict[str, Any] = {
    "hidden_dropout": 0.5,
    "activation_dropout": 0.5,
    "attention_dropout": 0.5,
    "feat_proj_dropout": 0.5,
    "mask_time_prob": 0.5,
    "layerdrop": 0.0,
}
WORDS: dict[str, Any] = {
    "hidden_dropout_prob": 0.5,
    "attention_probs_dropout_prob": 0.5,
    "dropout": 0.5,
    "attention_dropout": 0.5,
}
CASES = {
    **{name: config | DROPPED for name, config in AUDIO.items() if "wavlm" not in name},
    **{name: config | WORDS for name, config in TEXT.items()},
}


def frozen(name: str, layers: int) -> Encoder:
    kind = AudioEncoder if name in AUDIO else TextEncoder
    torch.manual_seed(0)
    encoder = kind.from_config(CASES[name])
    scramble(encoder)
    encoder.freeze(layers)
    return encoder


def inputs(name: str, lengths: list[int], size: int) -> tuple[Tensor, Tensor]:
    """Utterances of so many tokens, or 20 times as many samples."""
    if name in AUDIO:
        return waves([20 * length for length in lengths], 20 * size)
    return tokens(lengths, size)


def answer(encoder: Encoder, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The hidden states, and how many of them are the utterance's."""
    if isinstance(encoder, AudioEncoder):
        return encoder(values, lengths)
    return encoder(values, lengths), lengths


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_what_is_kept_of_an_utterance_alone_gives_its_answer_in_a_padded_batch(
    name: str, layers: int
) -> None:
    encoder = frozen(name, layers).eval()
    sizes = [9, 30, 17]
    with torch.no_grad():
        expected, frames = answer(encoder, *inputs(name, sizes, 30))
        alone = [encoder.lower(*inputs(name, [size], size))[0] for size in sizes]
        kept = torch.nn.utils.rnn.pad_sequence(alone, batch_first=True)
        found = encoder.upper(kept, frames)
    assert [len(each) for each in alone] == frames.tolist()
    for one, other, count in zip(found, expected, frames, strict=True):
        close(one[:count], other[:count])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_in_training_no_frozen_layer_drops_anything(name: str, layers: int) -> None:
    encoder = frozen(name, layers)
    asked = inputs(name, [30], 30)
    with torch.no_grad():
        expected = encoder.eval().lower(*asked)
        encoder.train()
        close(encoder.lower(*asked), expected)
        answers = [answer(encoder, *asked)[0] for _ in range(2)]
    # With all layers frozen nothing is left that draws.
    assert torch.allclose(*answers, atol=1e-5) is (layers == 2)


def test_a_frozen_layer_is_never_skipped() -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder.from_config(AUDIO["wav2vec2"] | DROPPED | {"layerdrop": 0.999})
    encoder.freeze(2)
    asked = waves([600], 600)
    close(encoder.train()(*asked)[0], encoder.eval()(*asked)[0])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"audio": ("audio_hidden",), "text": ("text_hidden",)}),
        ({"audio_training": "frozen"}, {"audio": ("audio_states",), "text": ("text_hidden",)}),
        ({"text_training": "frozen"}, {"audio": ("audio_hidden",), "text": ("text_states",)}),
        # The weights of the sum change, and the sum has every layer in it.
        ({"use_weighted_layer_sum": True}, {"audio": ("audio_features",)}),
        # Its position bias is the first layer's.
        ({"audio_config": AUDIO["wavlm"]}, {"audio": ("audio_features",), "text": ("text_hidden",)}),
        ({"freeze_layers": 0}, {}),
    ],
)
def test_what_no_step_changes(changes: dict[str, Any], expected: dict[str, tuple[str, ...]]) -> None:
    training = {"audio_training": "full", "text_training": "full", "freeze_layers": 1}
    assert frozen_outputs(dataclasses.replace(CONFIG, **(training | changes))) == expected


def test_cached_layers_change_nothing_but_the_time(
    tmp_path: Path, start: Start, tones: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("MTAB_CACHE", str(cache))
    trained: dict[str, Any] = {"audio_training": "full", "text_training": "full", "freeze_layers": 1}
    assert start.model.audio_config is not None
    assert start.model.text_config is not None
    model = dataclasses.replace(
        start.model,
        audio_config=start.model.audio_config | DROPPED | {"num_hidden_layers": 2, "hidden_dropout": 0.0},
        text_config=start.model.text_config | {"num_hidden_layers": 2},
        **trained,
    )
    chosen = dataclasses.replace(start, model=model)
    plain = fit(tmp_path / "plain", chosen, tones, cache=False)
    assert not cache.exists()
    cached = fit(tmp_path / "cached", chosen, tones)
    widths = {np.load(file).shape[1] for file in cache.rglob("*.npy")}
    assert widths == {model.audio_config["hidden_size"], model.text_config["hidden_size"]}
    assert cached["test"]["loss"] == pytest.approx(plain["test"]["loss"], abs=1e-3)

    begun = Trainer(begin(tmp_path / "begun", chosen, tones), tones, "cpu").model.state_dict()
    learned = load_file(tmp_path / "cached" / "model.safetensors")
    learned = {name: weight for name, weight in learned.items() if "_encoder.backbone." in name}
    moved = {name for name, weight in learned.items() if not torch.equal(weight, begun[name])}
    for part in ("layers.0.", "layer.0.", "feature_extractor", "feature_projection", "embeddings"):
        assert any(part in name for name in learned), part
        assert not any(part in name for name in moved), part
    for part in ("audio_encoder.backbone.encoder.layers.1.", "text_encoder.backbone.encoder.layer.1."):
        assert any(name.startswith(part) for name in moved), part

    # Another layer is another cache.
    files = set(cache.rglob("*.npy"))
    fit(
        tmp_path / "two", dataclasses.replace(start, model=dataclasses.replace(model, freeze_layers=2)), tones
    )
    assert set(cache.rglob("*.npy")) > files
