"""Mul-TAB small, with every option, and batches to give it."""

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mtab_train.config import ModelConfig
from mtab_train.masking import MaskedBatchNorm1d
from mtab_train.model import (
    MulTAB,
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
DATA2VEC: dict[str, Any] = AUDIO | {
    "model_type": "data2vec-audio",
    "num_conv_pos_embeddings": 2,
    "conv_pos_kernel_size": 5,
}
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
BERT: dict[str, Any] = TEXT | {"model_type": "bert", "type_vocab_size": 2, "pad_token_id": 0}
DISTILBERT: dict[str, Any] = {
    "model_type": "distilbert",
    "vocab_size": 60,
    "dim": 32,
    "n_layers": 1,
    "n_heads": 2,
    "hidden_dim": 32,
    "max_position_embeddings": 40,
    "dropout": 0.0,
    "attention_dropout": 0.0,
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
    "data2vec-audio and bert": {"audio_config": DATA2VEC, "text_config": BERT},
    "distilbert": {"text_config": DISTILBERT},
    "weighted layer sums": {"use_weighted_layer_sum": True},
    "no TAB": {"num_tab_layers": 0},
    "odd kernel": {"tab_kernel_size": 3},
    "no MHA": {"num_self_attention_layers": 0},
    "two layers of MHA": {"num_self_attention_layers": 2},
    "audio only": {"text_config": None},
    "text only": {"audio_config": None},
    "largest over time": {"num_tab_layers": 0, "pooling": "max"},
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


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


UTTERANCES: list[Utterance] = [(310, 6), (95, 14), (201, 1)]
