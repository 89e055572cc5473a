"""The two encoders: published transformers weights and layers, run so that padding changes nothing."""

import dataclasses
import json
import math
import pickle
import re
from collections import deque
from collections.abc import Iterator
from functools import reduce
from typing import Any, Self

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mtab.errors import ConfigError
from mtab_train.config import AUDIO_ENCODERS, TEXT_ENCODERS, ModelConfig
from mtab_train.gradient_checkpointing import CheckpointedLayers
from mtab_train.masking import MaskedGroupNorm, masked_group_norm, valid_mask


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

    Weights are read from safetensors, where there are none from ``pytorch_model.bin``, of which tensors alone
    are taken: what a checkpoint brings is never run. Raises `ConfigError` if ``values`` describe no encoder,
    or the checkpoint holds another one, only a part of it, or a pickle of objects.
    """
    config = encoder_config(values)
    # The attention that the layers are given masks for; WavLM has no other than its own.
    options: dict[str, Any] = {"attn_implementation": "eager" if config.model_type == "wavlm" else "sdpa"}
    options |= {"dtype": torch.float32, "trust_remote_code": False}
    if config.model_type in TEXT_ENCODERS and config.model_type != "distilbert":
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
            source, config=config, weights_only=True, output_loading_info=True, **options
        )
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise ConfigError(
            f"{source}: pytorch_model.bin holds {'other things' if found is None else found[1]}, expected "
            "tensors alone, best as safetensors"
        ) from None
    except Exception as error:  # the library raises whatever a file happens to break
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


class Encoder(CheckpointedLayers):
    """A transformers model with a forward pass of our own, and the parts that training tells apart.

    With ``use_weighted_layer_sum`` it answers not the last layer's hidden states but a sum of those that
    enter the first layer and of every layer's, by the softmax of learned ``layer_weights`` (layers + 1,), as
    in SUPERB.
    """

    def __init__(self, backbone: PreTrainedModel, use_weighted_layer_sum: bool = False) -> None:
        super().__init__()
        self.backbone: Any = backbone  # transformers declares none of its parts
        self.hidden_size: int = backbone.config.hidden_size
        self.frozen_layers = 0
        count = backbone.config.num_hidden_layers + 1
        self.layer_weights = nn.Parameter(torch.zeros(count)) if use_weighted_layer_sum else None

    @classmethod
    def from_config(
        cls, values: dict[str, Any], weights: str | None = None, use_weighted_layer_sum: bool = False
    ) -> Self:
        """Random, or with the weights of a checkpoint (hub id or folder); see `make_backbone`."""
        return cls(make_backbone(values, weights), use_weighted_layer_sum)

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer's, from the first."""
        raise NotImplementedError

    def depth(self, name: str) -> int:
        """Where the backbone's parameter ``name`` is: 0 below the layers, n in the n-th, more above all."""
        if found := re.match(r"(?:encoder|transformer)\.layers?\.(\d+)\.", name):
            return int(found[1]) + 1
        return 0

    def freeze(self, layers: int) -> None:
        """Take the first ``layers`` layers, and all that is below them, out of training.

        They stay as at inference, without dropout and masks. Raises `ConfigError` if there are fewer.
        """
        if layers > len(self.layers):
            found, kind = len(self.layers), self.backbone.config.model_type
            raise ConfigError(
                f"freeze_layers is {layers}, expected at most the {found} of the {kind} encoder"
            )
        self.frozen_layers = layers
        for name, parameter in self.backbone.named_parameters():
            if self.depth(name) <= layers:
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen_layers:
            for name, module in self.backbone.named_modules():
                if self.depth(f"{name}.") <= self.frozen_layers:
                    module.training = False
        return self

    def lower(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """What the frozen layers make of `forward`'s inputs, (batch, frames or tokens, hidden size).

        Not of WavLM, whose layers above need more of those below.
        """
        raise NotImplementedError

    def upper(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """The hidden states that the layers above the frozen ones make of what `lower` answers.

        Lengths, (batch,), are in frames or tokens. Not with ``use_weighted_layer_sum``.
        """
        mask = valid_mask(lengths.clamp(min=1), hidden.shape[1])
        return self._combined(self._states(hidden, mask, self.frozen_layers))

    def _frozen(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """What the frozen layers make of what enters the first."""
        for layer in self.layers[: self.frozen_layers]:
            hidden = layer(hidden, attention_mask=mask[:, None, None, :])
        return hidden

    def _states(self, hidden: Tensor, mask: Tensor, first: int = 0) -> Iterator[Tensor]:
        """What enters the layer ``first``, and what each from there on makes of it."""
        raise NotImplementedError

    def _combined(self, states: Iterator[Tensor]) -> Tensor:
        """The last of the hidden states, or their weighted sum."""
        if self.layer_weights is None:
            return deque(states, maxlen=1).pop()
        weights = torch.softmax(self.layer_weights, dim=0)
        return reduce(torch.add, (w * state for w, state in zip(weights, states, strict=True)))


class AudioEncoder(Encoder):
    """wav2vec2, HuBERT, WavLM or data2vec-audio: waveform -> hidden states, the same alone and in any batch.

    The published forward pass lets zero padding into the GroupNorm of the first convolution, which is taken
    over time; here its statistics run over valid frames. The other convolutions of the feature extractor
    have no padding of their own, so that a valid frame reads valid samples only; before each positional
    convolution, which has, padded frames are zeroed.
    """

    def __init__(self, backbone: PreTrainedModel, use_weighted_layer_sum: bool = False) -> None:
        super().__init__(backbone, use_weighted_layer_sum)
        config = backbone.config
        if getattr(config, "conv_pos_batch_norm", False) or getattr(config, "add_adapter", False):
            raise ConfigError(
                f"{config.model_type} encoder: has conv_pos_batch_norm or add_adapter, expected neither"
            )
        self.kernels = list(config.conv_kernel)
        self.strides = list(config.conv_stride)
        self.masked_group_norm = MaskedGroupNorm(self.kernels[0])
        self.stable_layer_norm: bool = getattr(config, "do_stable_layer_norm", False)
        self.relative_positions: bool = config.model_type == "wavlm"

    @property
    def layers(self) -> nn.ModuleList:
        return self.backbone.encoder.layers

    def depth(self, name: str) -> int:
        if self.stable_layer_norm and name.startswith("encoder.layer_norm."):
            return len(self.layers) + 1
        return super().depth(name)

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
            x = self.run_layer(self._convolved, layer, x, lengths)
        return x.transpose(1, 2)

    def _convolved(self, layer: Any, inputs: Tensor, lengths: Tensor) -> Tensor:
        """A layer of the feature extractor: (batch, channels, time) -> (batch, conv channels, frames)."""
        x = layer.conv(inputs)
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            # Only the first layer has one. An utterance without audio gets one frame, so that nothing is
            # divided by zero.
            frames = ((lengths - self.kernels[0]) // self.strides[0] + 1).clamp(min=1)
            if self.training:
                x = masked_group_norm(x, frames, norm)
            else:
                mask = valid_mask(frames, x.shape[2])
                x = self.masked_group_norm(x, mask, norm, inputs, layer.conv)
        elif norm is not None:
            x = norm(x.transpose(1, 2)).transpose(1, 2)
        return layer.activation(x)

    def context(self, features: Tensor, frames: Tensor) -> Tensor:
        """The transformer: (batch, frames, conv channels) -> (batch, frames, hidden size)."""
        mask = valid_mask(frames.clamp(min=1), features.shape[1])
        return self._combined(self._states(self._embedded(features, mask), mask))

    def lower(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        features = self.features(inputs, lengths)
        mask = valid_mask(self.frame_lengths(lengths).clamp(min=1), features.shape[1])
        return self._frozen(self._embedded(features, mask), mask)

    def _embedded(self, features: Tensor, mask: Tensor) -> Tensor:
        """What enters the first layer, (batch, frames, hidden size)."""
        projected = self.backbone.feature_projection(features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        masked = self.training and not self.frozen_layers
        if masked and features.shape[1] >= self.backbone.config.mask_time_length:
            hidden = self.backbone._mask_hidden_states(hidden, attention_mask=mask)
        encoder = self.backbone.encoder
        valid = mask[..., None].to(hidden.dtype)
        hidden = hidden * valid
        hidden = hidden + self._positions(hidden, valid)
        if not self.stable_layer_norm:
            hidden = encoder.layer_norm(hidden)
        return encoder.dropout(hidden)

    def _positions(self, hidden: Tensor, valid: Tensor) -> Tensor:
        convolution = self.backbone.encoder.pos_conv_embed
        if self.backbone.config.model_type != "data2vec-audio":
            return convolution(hidden)
        # Several, one after another: each would read what the one before leaves in padded frames.
        for layer in convolution.layers:
            hidden = layer((hidden * valid).transpose(1, 2)).transpose(1, 2)
        return hidden

    def _states(self, hidden: Tensor, mask: Tensor, first: int = 0) -> Iterator[Tensor]:
        yield self._normed(hidden, first)
        layerdrop = self.backbone.config.layerdrop if self.training else 0.0
        position_bias = None
        for index, layer in enumerate(self.layers[first:], first):
            # WavLM's first layer makes the position bias of all others and is never dropped.
            kept = index < self.frozen_layers or (self.relative_positions and index == 0)
            if not layerdrop or kept or torch.rand([]) >= layerdrop:
                if self.relative_positions:
                    options = {"position_bias": position_bias, "index": index}
                    hidden, position_bias = self.run_layer(
                        layer, hidden, attention_mask=mask.long(), **options
                    )
                else:
                    hidden = self.run_layer(layer, hidden, attention_mask=mask[:, None, None, :])
            yield self._normed(hidden, index + 1)

    def _normed(self, hidden: Tensor, layers: int) -> Tensor:
        """The state after so many ``layers``, of a stable model's last one with the norm that follows it."""
        last = layers == len(self.layers)
        return self.backbone.encoder.layer_norm(hidden) if last and self.stable_layer_norm else hidden

    def forward(self, input_values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised waveforms (batch, samples) and their lengths -> hidden states and their lengths."""
        frames = self.frame_lengths(lengths)
        return self.context(self.features(input_values, lengths), frames), frames


class TextEncoder(Encoder):
    """BERT, DistilBERT, RoBERTa or XLM-RoBERTa: token ids -> hidden states; padding is masked.

    Positions count from 0, RoBERTa's and XLM-RoBERTa's from the one after the padding token's id. A
    transcript is one segment: token types are 0.
    """

    def __init__(self, backbone: PreTrainedModel, use_weighted_layer_sum: bool = False) -> None:
        super().__init__(backbone, use_weighted_layer_sum)
        config = backbone.config
        kind = config.model_type
        for name, expected in (("position_embedding_type", "absolute"), ("is_decoder", False)):
            if (found := getattr(config, name, expected)) != expected:
                raise ConfigError(f"{kind} encoder: {name} is {found!r}, expected {expected!r}")
        if config.pad_token_id is None:
            raise ConfigError(f"{kind} encoder: pad_token_id is null, expected the id of its padding token")
        self.pad_token_id: int = config.pad_token_id
        self.first_position = self.pad_token_id + 1 if kind in ("roberta", "xlm-roberta") else 0

    @property
    def layers(self) -> nn.ModuleList:
        distilled = self.backbone.config.model_type == "distilbert"
        return self.backbone.transformer.layer if distilled else self.backbone.encoder.layer

    @property
    def max_tokens(self) -> int:
        """Tokens that the position table holds, special ones included (512 for roberta-base)."""
        return self.backbone.config.max_position_embeddings - self.first_position

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """(batch, tokens) int64 and their lengths -> (batch, tokens, hidden size)."""
        mask = valid_mask(lengths.clamp(min=1), input_ids.shape[1])
        return self._combined(self._states(self._embedded(input_ids), mask))

    def lower(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        mask = valid_mask(lengths.clamp(min=1), inputs.shape[1])
        return self._frozen(self._embedded(inputs), mask)

    def _embedded(self, input_ids: Tensor) -> Tensor:
        """What enters the first layer, (batch, tokens, hidden size)."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device) + self.first_position
        inputs = {"input_ids": input_ids, "position_ids": positions[None, :].expand_as(input_ids)}
        if self.backbone.config.model_type != "distilbert":
            inputs["token_type_ids"] = torch.zeros_like(input_ids)
        return self.backbone.embeddings(**inputs)

    def _states(self, hidden: Tensor, mask: Tensor, first: int = 0) -> Iterator[Tensor]:
        yield hidden
        for layer in self.layers[first:]:
            hidden = self.run_layer(layer, hidden, attention_mask=mask[:, None, None, :])
            yield hidden
