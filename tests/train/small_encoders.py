"""Encoders of every kind, small, and batches to give them."""

from typing import Any

import torch
from torch import Tensor

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
    "data2vec-audio": {
        "model_type": "data2vec-audio",
        "num_conv_pos_embeddings": 3,
        "conv_pos_kernel_size": 5,
    }
    | {name: value for name, value in SMALL.items() if name != "num_conv_pos_embeddings"},
    "wavlm": {"model_type": "wavlm", "num_buckets": 16, "max_bucket_distance": 20} | SMALL,
    "wavlm-layer": {"model_type": "wavlm", "num_buckets": 16, "max_bucket_distance": 20} | SMALL | LAYER_NORM,
}
WIDTHS = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
TEXT: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", "type_vocab_size": 2} | WIDTHS,
    "distilbert": {
        "model_type": "distilbert",
        "vocab_size": 60,
        "dim": 24,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 32,
        "max_position_embeddings": 40,
    },
    "roberta": {"model_type": "roberta", "type_vocab_size": 1} | WIDTHS,
    "xlm-roberta": {"model_type": "xlm-roberta", "type_vocab_size": 1} | WIDTHS,
}


def scramble(model: torch.nn.Module, seed: int = 0) -> None:
    """Weights with an effect: as initialised, biases are zero and most matrices small."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


def waves(lengths: list[int], size: int, padding: float = 0.0) -> tuple[Tensor, Tensor]:
    """(batch, size) of noise, the same for the same length, and the lengths."""
    x = torch.full((len(lengths), size), padding)
    for row, length in zip(x, lengths, strict=True):
        row[:length] = torch.randn(length, generator=torch.Generator().manual_seed(length))
    return x, torch.tensor(lengths)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def tokens(lengths: list[int], size: int) -> tuple[Tensor, Tensor]:
    """(batch, size) of token ids (2 ... 59), the same for the same length; padding (1) after the length."""
    ids = torch.ones(len(lengths), size, dtype=torch.int64)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(2, 60, (length,), generator=torch.Generator().manual_seed(length))
    return ids, torch.tensor(lengths)
