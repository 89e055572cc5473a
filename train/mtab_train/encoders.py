"""The two encoders: published transformers weights and layers, run so that padding changes nothing."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mtab.errors import ConfigError
from mtab_train.config import TEXT_ENCODERS
from mtab_train.masking import masked_group_norm, valid_mask


def encoder_config(values: dict[str, Any]) -> PretrainedConfig:
    """The transformers configuration described by a dictionary with its ``model_type``."""
    values = dict(values)
    return AutoConfig.for_model(values.pop("model_type"), **values)


def _options(model_type: str) -> dict[str, Any]:
    options: dict[str, Any] = {"attn_implementation": "eager" if model_type == "wavlm" else "sdpa"}
    return options | ({"add_pooling_layer": False} if model_type in TEXT_ENCODERS else {})


def read_encoder_config(source: str, known: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of a checkpoint (hub id or folder) as a dictionary; no weights are read.

    Raises `ConfigError` if there is none or its ``model_type`` is not in ``known``.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source}: no such encoder, expected a hub id or a local folder ({error})") from None
    if config.model_type not in known:
        raise ConfigError(f"{source}: is a {config.model_type!r} model, expected one of {', '.join(known)}")
    return config.to_diff_dict()


def load_pretrained(source: str, known: tuple[str, ...]) -> PreTrainedModel:
    """An encoder with its published weights, by hub id or local folder; never runs code that it brings."""
    values = read_encoder_config(source, known)
    level = transformers_logging.get_verbosity()
    # A CTC or language-model head that is left behind is no news to the user.
    transformers_logging.set_verbosity_error()
    try:
        return AutoModel.from_pretrained(
            source, trust_remote_code=False, dtype=torch.float32, **_options(values["model_type"])
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source}: its weights cannot be loaded ({error})") from None
    finally:
        transformers_logging.set_verbosity(level)


def checkpoint_file(source: str, name: str) -> Path | None:
    """The local path of a file of a checkpoint (hub id or folder), or ``None`` if it has no such file."""
    from transformers.utils import cached_file

    found = cached_file(
        source, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return Path(found) if found else None


class AudioEncoder(nn.Module):
    """wav2vec2, HuBERT or WavLM: waveform -> hidden states, the same alone and in any padded batch.

    The published forward pass lets zero padding into the GroupNorm of the first convolution, which is taken
    over time; here its statistics run over valid frames. The other convolutions of the feature extractor
    have no padding of their own, so that a valid frame reads valid samples only; before the positional
    convolution, which has, padded frames are zeroed.
    """

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        config = backbone.config
        if getattr(config, "conv_pos_batch_norm", False) or getattr(config, "add_adapter", False):
            raise ConfigError(
                f"{config.model_type}: conv_pos_batch_norm and add_adapter are not supported, expected neither"
            )
        self.backbone = backbone
        self.kernels = list(config.conv_kernel)
        self.strides = list(config.conv_stride)
        self.hidden_size: int = config.hidden_size
        self.stable_layer_norm: bool = config.do_stable_layer_norm
        self.relative_positions: bool = config.model_type == "wavlm"

    @classmethod
    def from_config(cls, values: dict[str, Any]) -> "AudioEncoder":
        """With random weights."""
        return cls(AutoModel.from_config(encoder_config(values), **_options(values["model_type"])))

    @property
    def min_samples(self) -> int:
        """Samples that make the first frame: the receptive field of the feature extractor."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of each utterance, (batch,) -> (batch,); 0 for fewer samples than make a frame."""
        return ((lengths - self.min_samples) // math.prod(self.strides) + 1).clamp(min=0)

    def features(self, input_values: Tensor, lengths: Tensor) -> Tensor:
        """The convolutional feature extractor: (batch, samples) -> (batch, frames, conv channels)."""
        x = input_values[:, None]
        for layer in self.backbone.feature_extractor.conv_layers:
            x = layer.conv(x)
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                # Only the first layer has one. An utterance without audio gets one frame, so that nothing is
                # divided by zero.
                frames = ((lengths - self.kernels[0]) // self.strides[0] + 1).clamp(min=1)
                x = masked_group_norm(x, valid_mask(frames, x.shape[2]), norm)
            elif norm is not None:
                x = norm(x.transpose(1, 2)).transpose(1, 2)
            x = layer.activation(x)
        return x.transpose(1, 2)

    def context(self, features: Tensor, frames: Tensor) -> Tensor:
        """The transformer: (batch, frames, conv channels) -> (batch, frames, hidden size)."""
        mask = valid_mask(frames.clamp(min=1), features.shape[1])
        projected = self.backbone.feature_projection(features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        if self.training and features.shape[1] >= self.backbone.config.mask_time_length:
            hidden = self.backbone._mask_hidden_states(hidden, attention_mask=mask)
        encoder = self.backbone.encoder
        hidden = hidden * mask[..., None].to(hidden.dtype)
        hidden = hidden + encoder.pos_conv_embed(hidden)
        if not self.stable_layer_norm:
            hidden = encoder.layer_norm(hidden)
        hidden = encoder.dropout(hidden)
        hidden = self._layers(hidden, mask)
        return encoder.layer_norm(hidden) if self.stable_layer_norm else hidden

    def _layers(self, hidden: Tensor, mask: Tensor) -> Tensor:
        layerdrop = self.backbone.config.layerdrop if self.training else 0.0
        position_bias = None
        for index, layer in enumerate(self.backbone.encoder.layers):
            # WavLM's first layer makes the position bias of all others and is never dropped.
            keep_first = self.relative_positions and index == 0
            if layerdrop and not keep_first and torch.rand([]) < layerdrop:
                continue
            if self.relative_positions:
                hidden, position_bias = layer(
                    hidden, attention_mask=mask.long(), position_bias=position_bias, index=index
                )
            else:
                hidden = layer(hidden, attention_mask=mask[:, None, None, :])
        return hidden

    def forward(self, input_values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised waveforms (batch, samples) and their lengths -> hidden states and their lengths."""
        frames = self.frame_lengths(lengths)
        return self.context(self.features(input_values, lengths), frames), frames


class TextEncoder(nn.Module):
    """RoBERTa: token ids -> hidden states; positions count from the first token, padding is masked."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = backbone
        self.hidden_size: int = backbone.config.hidden_size
        self.pad_token_id: int = backbone.config.pad_token_id

    @classmethod
    def from_config(cls, values: dict[str, Any]) -> "TextEncoder":
        """With random weights."""
        return cls(AutoModel.from_config(encoder_config(values), **_options(values["model_type"])))

    @property
    def max_tokens(self) -> int:
        """Tokens that the position table holds, special ones included (512 for roberta-base)."""
        return self.backbone.config.max_position_embeddings - self.pad_token_id - 1

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """(batch, tokens) int64 and their lengths -> (batch, tokens, hidden size)."""
        mask = valid_mask(lengths.clamp(min=1), input_ids.shape[1])
        positions = torch.arange(input_ids.shape[1], device=input_ids.device) + self.pad_token_id + 1
        hidden = self.backbone.embeddings(input_ids=input_ids, position_ids=positions[None, :].expand_as(input_ids))
        for layer in self.backbone.encoder.layer:
            hidden = layer(hidden, attention_mask=mask[:, None, None, :])
        return hidden
