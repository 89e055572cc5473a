"""The two encoders: published transformers weights and layers, run so that padding changes nothing."""

import dataclasses
import json
import math
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mtab.errors import ConfigError
from mtab_train.config import AUDIO_ENCODERS, TEXT_ENCODERS, ModelConfig
from mtab_train.masking import MaskedGroupNorm, valid_mask


def with_encoders(
    config: ModelConfig, audio_model: str | None = None, text_model: str | None = None
) -> ModelConfig:
    """The configuration with other encoders: each given checkpoint's (hub id or folder) own configuration.

    No weights are read. Raises `ConfigError` as `read_encoder_config` does.
    """
    if audio_model is not None:
        values = read_encoder_config(audio_model, AUDIO_ENCODERS)
        config = dataclasses.replace(config, audio_model=audio_model, audio_config=values)
    if text_model is not None:
        values = read_encoder_config(text_model, TEXT_ENCODERS)
        config = dataclasses.replace(config, text_model=text_model, text_config=values)
    return config


def read_encoder_config(source: str, known: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of a checkpoint (hub id or folder) as plain JSON values; no weights are read.

    Raises `ConfigError` if there is none or its ``model_type`` is not in ``known``.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise ConfigError(
            f"{source}: no such encoder, expected a hub id or a local folder ({_one_line(error)})"
        ) from None
    if config.model_type not in known:
        raise ConfigError(f"{source}: is a {config.model_type!r} model, expected one of {', '.join(known)}")
    return json.loads(config.to_json_string())


def encoder_config(values: dict[str, Any]) -> PretrainedConfig:
    """The transformers configuration described by a dictionary with its ``model_type``.

    Raises `ConfigError` for a wrong-typed field or for values that contradict each other.
    """
    values = dict(values)
    model_type = values.pop("model_type")
    try:
        return AutoConfig.for_model(model_type, **values)
    except Exception as error:  # the library raises whatever a value happens to break
        raise ConfigError(f"configuration of the {model_type} encoder: {_one_line(error)}") from None


def make_backbone(values: dict[str, Any], weights: str | None) -> PreTrainedModel:
    """A transformers encoder in float32: random, or with the weights of a checkpoint (hub id or folder).

    Only safetensors are read, and code that a checkpoint brings is never run. Raises `ConfigError` if
    ``values`` describe no encoder, or the checkpoint holds another one or only a part of it.
    """
    config = encoder_config(values)
    # The attention that the layers are given masks for; WavLM has no other than its own.
    options: dict[str, Any] = {"attn_implementation": "eager" if config.model_type == "wavlm" else "sdpa"}
    options |= {"dtype": torch.float32, "trust_remote_code": False}
    if config.model_type in TEXT_ENCODERS:
        options["add_pooling_layer"] = False
    if weights is not None:
        return _load(weights, config, options)
    try:
        return AutoModel.from_config(config, **options)
    except Exception as error:  # also ZeroDivisionError, KeyError, RuntimeError
        raise ConfigError(f"configuration of the {config.model_type} encoder: {_one_line(error)}") from None


def _load(source: str, config: PretrainedConfig, options: dict[str, Any]) -> PreTrainedModel:
    read_encoder_config(source, (config.model_type,))
    level = transformers_logging.get_verbosity()
    # A CTC or language-model head that is left behind is no news to the user.
    transformers_logging.set_verbosity_error()
    try:
        backbone, info = AutoModel.from_pretrained(
            source, config=config, use_safetensors=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"{source}: its weights cannot be loaded ({_one_line(error)})") from None
    finally:
        transformers_logging.set_verbosity(level)
    # SpecAugment's filler is not in every checkpoint, and is learned with the rest.
    if missing := sorted(set(info["missing_keys"]) - {"masked_spec_embed"}):
        raise ConfigError(
            f"{source}: lacks {missing[0]!r} and {len(missing) - 1} more of its encoder's weights"
        )
    return backbone


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


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
                f"{config.model_type} encoder: has conv_pos_batch_norm or add_adapter, expected neither"
            )
        self.backbone: Any = backbone  # transformers declares none of its parts
        self.kernels = list(config.conv_kernel)
        self.strides = list(config.conv_stride)
        self.masked_group_norm = MaskedGroupNorm(self.kernels[0])
        self.hidden_size: int = config.hidden_size
        self.stable_layer_norm: bool = config.do_stable_layer_norm
        self.relative_positions: bool = config.model_type == "wavlm"

    @classmethod
    def from_config(cls, values: dict[str, Any], weights: str | None = None) -> "AudioEncoder":
        """Random, or with the weights of a checkpoint (hub id or folder); see `make_backbone`."""
        return cls(make_backbone(values, weights))

    @property
    def feature_size(self) -> int:
        """Width of `features`."""
        return self.backbone.config.conv_dim[-1]

    @property
    def min_samples(self) -> int:
        """Samples that make the first frame: the receptive field of the feature extractor."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of each utterance, (batch,) -> (batch,); 0 for fewer samples than make a frame."""
        hop = math.prod(self.strides)
        # Nothing negative is divided: PyTorch rounds that down, ONNX towards zero.
        return (lengths - self.min_samples + hop).clamp(min=0) // hop

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
                mask = valid_mask(frames, x.shape[2])
                if self.training:
                    x = self.masked_group_norm(x, mask, norm)
                else:
                    x = self.masked_group_norm(x, mask, norm, input_values[:, None], layer.conv)
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
        self.backbone: Any = backbone  # transformers declares none of its parts
        self.hidden_size: int = backbone.config.hidden_size
        self.pad_token_id: int = backbone.config.pad_token_id

    @classmethod
    def from_config(cls, values: dict[str, Any], weights: str | None = None) -> "TextEncoder":
        """Random, or with the weights of a checkpoint (hub id or folder); see `make_backbone`."""
        return cls(make_backbone(values, weights))

    @property
    def max_tokens(self) -> int:
        """Tokens that the position table holds, special ones included (512 for roberta-base)."""
        return self.backbone.config.max_position_embeddings - self.pad_token_id - 1

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """(batch, tokens) int64 and their lengths -> (batch, tokens, hidden size)."""
        mask = valid_mask(lengths.clamp(min=1), input_ids.shape[1])
        positions = torch.arange(input_ids.shape[1], device=input_ids.device) + self.pad_token_id + 1
        hidden = self.backbone.embeddings(
            input_ids=input_ids,
            token_type_ids=torch.zeros_like(input_ids),
            position_ids=positions[None, :].expand_as(input_ids),
        )
        for layer in self.backbone.encoder.layer:
            hidden = layer(hidden, attention_mask=mask[:, None, None, :])
        return hidden
