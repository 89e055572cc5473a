"""Mul-TAB (Appl. Sci. 2024, 14(8), 3276), read top to bottom: one class for each of the paper's parts.

    waveform --- wav2vec2 --- self-attention --- projection --+
                                                               +-- CME -- fusion -- TAB3 -- head
    transcript -- RoBERTa --- self-attention --- projection --+

With the light encoder of `mtab_train.acoustic` in wav2vec2's place, the head also reads statistics that it
takes of the utterance as a whole.

Shapes: B utterances, S speech frames, T text tokens, d = ``hidden_size``, C classes, F statistics. Lengths
are int64 of shape (B,). An utterance with audio too short for a frame, or without a token, lacks this
modality: only a model with ``modality_dropout`` can answer then, and from the other modality.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mtab.errors import ConfigError
from mtab.types import Dimension
from mtab_train.acoustic import AcousticEncoder, MeasuredEncoder, StatisticsEmbedding
from mtab_train.config import ModelConfig
from mtab_train.encoders import AudioEncoder, Encoder, TextEncoder
from mtab_train.gradient_checkpointing import CheckpointedLayers
from mtab_train.masking import Interpolation, MaskedBatchNorm1d, MaskedMax, MaskedMean, valid_mask
from mtab_train.tim_net import TimNetEncoder


class SelfAttention(CheckpointedLayers):
    """Transformer encoder over one modality, 2 layers of 8 heads (§4): (B, L, h) -> (B, L, h)."""

    def __init__(self, size: int, config: ModelConfig) -> None:
        super().__init__()
        heads = config.num_attention_heads
        if size % heads:
            raise ConfigError(
                f"an encoder's hidden_size {size} is no multiple of num_attention_heads {heads}"
            )
        # Not `nn.TransformerEncoder`: its layers are copies and start from the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                size, heads, config.intermediate_size, config.dropout, batch_first=True
            )
            for _ in range(config.num_self_attention_layers)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.run_layer(layer, x, src_key_padding_mask=~mask)
        return x


class Projection(nn.Conv1d):
    """Eq. 1: a 1-D convolution of kernel 1 to the common width, (B, L, h) -> (B, L, d)."""

    def __init__(self, size: int, hidden_size: int) -> None:
        super().__init__(size, hidden_size, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class CrossAttention(nn.Module):
    """Eqs. 2-5: queries from one modality, keys and values from the other; residual on the query, LayerNorm.

    (B, Lq, d), (B, Lk, d) -> (B, Lq, d)
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            config.hidden_size, config.num_attention_heads, config.dropout, batch_first=True
        )
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, query: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
        attended, _ = self.attention(query, other, other, key_padding_mask=~other_mask, need_weights=False)
        return self.norm(query + attended)


class CrossModalEncoder(nn.Module):
    """CME: speech-to-text (eqs. 2-5) and its mirror image text-to-speech (eq. 6).

    (B, S, d), (B, T, d) -> (B, S, d), (B, T, d). Eq. 6 prints the residual on the speech stream in both
    directions; the shapes only fit with the text stream in the second.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.speech_to_text = CrossAttention(config)
        self.text_to_speech = CrossAttention(config)

    def forward(
        self, speech: Tensor, speech_mask: Tensor, text: Tensor, text_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.speech_to_text(speech, text, text_mask), self.text_to_speech(text, speech, speech_mask)


class AlignedFusion(nn.Module):
    """Eq. 7: concatenation along features, (B, S, d), (B, T, d) -> (B, S, 2d) and its lengths.

    The text stream is first resampled onto the speech frames by linear interpolation; with ``pool`` both
    streams are averaged over time instead and one step is left.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pool = config.fusion_align == "pool"
        self.masked_mean = MaskedMean()
        self.interpolation = Interpolation()

    def forward(self, speech: Tensor, frames: Tensor, text: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        if self.pool:
            speech = self.masked_mean(speech, valid_mask(frames, speech.shape[1]))[:, None]
            text = self.masked_mean(text, valid_mask(tokens, text.shape[1]))[:, None]
            return torch.cat([speech, text], dim=2), torch.ones_like(frames)
        weights = self.interpolation(frames, speech.shape[1], tokens, text.shape[1])
        return torch.cat([speech, weights.to(text.dtype) @ text], dim=2), frames


class TemporalAwareBlock(nn.Module):
    """TAB3 (§3.1, Fig. 6): F = x * A, where A = sigmoid of three [conv, batch norm, ReLU, dropout] layers.

    (B, L, 2d) -> (B, L, 2d). An even kernel is padded by one zero frame more on the right than on the left,
    so that the length stays.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size, kernel = config.fused_size, config.tab_kernel_size
        self.pad = nn.ConstantPad1d(((kernel - 1) // 2, kernel // 2), 0.0)
        self.convolutions = nn.ModuleList(nn.Conv1d(size, size, kernel) for _ in range(config.num_tab_layers))
        self.norms = nn.ModuleList(MaskedBatchNorm1d(size) for _ in range(config.num_tab_layers))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        valid = mask[:, None, :].to(x.dtype)
        attention = x.transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            attention = convolution(self.pad(attention * valid))
            attention = self.dropout(torch.relu(norm(attention, mask)))
        return x * torch.sigmoid(attention).transpose(1, 2)


class DimensionHead(nn.Linear):
    """Dimensions in the units of the corpus, mean + std * z: (B, E) -> (B, D). No part of the paper's model.

    ``mean`` and ``std``, (D,) float32, are those of the ratings in training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.embedding_size, len(config.dimensions))
        self.register_buffer("mean", torch.zeros(self.out_features))
        self.register_buffer("std", torch.ones(self.out_features))

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.mean + self.std * super().forward(x)


class Mix(NamedTuple):
    """Mixup (Zhang et al., 2018): ``share`` of each utterance, the rest of its partner; (B,) int64."""

    share: float
    partners: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(B, ...) mixed."""
        return self.share * x + (1 - self.share) * x[self.partners]


class Head(nn.Module):
    """Mean over the valid frames, GELU, fully connected (§4.2): (B, L, 2d) -> (B, E), (B, C), (B, D).

    The embeddings are the means, (B, 2d), and beside them what it makes of statistics (B, F) where the model
    has some. The dimensions, (B, D), are None for a model without them.
    """

    def __init__(self, config: ModelConfig, statistics: int = 0) -> None:
        super().__init__()
        self.pool = MaskedMean() if config.pooling == "mean" else MaskedMax()
        self.activation = nn.GELU() if config.head_activation == "gelu" else nn.Identity()
        self.statistics = None
        if config.acoustic is not None:
            self.statistics = StatisticsEmbedding(statistics, config.acoustic)
        self.classifier = nn.Linear(config.embedding_size, len(config.labels))
        self.dimensions = DimensionHead(config) if config.dimensions else None

    def forward(
        self, x: Tensor, mask: Tensor, statistics: Tensor | None = None, mix: Mix | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        pooled = self.pool(x, mask)
        if mix is not None:
            pooled, statistics = mix(pooled), None if statistics is None else mix(statistics)
        activated = self.activation(pooled)
        if self.statistics is not None:
            assert statistics is not None
            embedded = self.statistics(statistics)
            pooled, activated = (torch.cat([each, embedded], dim=1) for each in (pooled, activated))
        dimensions = None if self.dimensions is None else self.dimensions(activated)
        return pooled, self.classifier(activated), dimensions


class Output(NamedTuple):
    """What the model answers: logits (B, C), calibrated probabilities (B, C), embeddings (B, E).

    Also dimensions (B, D), if it has any.
    """

    logits: Tensor
    probabilities: Tensor
    embeddings: Tensor
    dimensions: Tensor | None


class MulTAB(nn.Module):
    """The whole model; its ablations (one modality, no self-attention, no TAB) by `ModelConfig`.

    ``temperature``, a float32 scalar, calibrates the probabilities. It is fitted when the weights are final,
    and is no part of them: see `mtab_train.calibration`.
    """

    temperature: Tensor

    def __init__(
        self,
        config: ModelConfig,
        audio_encoder: AudioEncoder | AcousticEncoder | TimNetEncoder | None,
        text_encoder: TextEncoder | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.audio_encoder = audio_encoder
        self.text_encoder = text_encoder
        sizes = {
            modality: encoder.hidden_size
            for modality, encoder in (("audio", audio_encoder), ("text", text_encoder))
            if encoder is not None
        }
        if config.num_self_attention_layers:
            self.self_attention = nn.ModuleDict({m: SelfAttention(size, config) for m, size in sizes.items()})
        else:
            self.self_attention = None
        self.projection = nn.ModuleDict(
            {m: Projection(size, config.hidden_size) for m, size in sizes.items()}
        )
        if len(sizes) == 2:
            self.cross_modal = CrossModalEncoder(config)
            self.fusion = AlignedFusion(config)
        self.stand_in = None
        if config.modality_dropout:
            self.stand_in = nn.ParameterDict(
                {m: nn.Parameter(torch.randn(size) * 0.02) for m, size in sizes.items()}
            )
        self.tab = TemporalAwareBlock(config) if config.num_tab_layers else None
        acoustic = isinstance(audio_encoder, AcousticEncoder)
        self.head = Head(config, audio_encoder.statistics.size if acoustic else 0)
        self.register_buffer("temperature", torch.tensor(1.0), persistent=False)
        self._freeze()

    @classmethod
    def from_config(cls, config: ModelConfig) -> "MulTAB":
        """With random weights everywhere. Raises `ConfigError` for an encoder that cannot be built."""
        return cls._build(config, None, None)

    @classmethod
    def from_pretrained(cls, config: ModelConfig) -> "MulTAB":
        """With the encoder weights that ``audio_model`` and ``text_model`` name, random weights elsewhere.

        Raises `ConfigError` if a checkpoint cannot be read, or does not fit its configuration here.
        """
        return cls._build(config, config.audio_model, config.text_model)

    @classmethod
    def _build(cls, config: ModelConfig, audio_weights: str | None, text_weights: str | None) -> "MulTAB":
        audio, text, weighted = config.audio_config, config.text_config, config.use_weighted_layer_sum
        audio_encoder = None
        if config.acoustic is not None:
            audio_encoder = AcousticEncoder(config.acoustic)
        elif config.tim_net is not None:
            audio_encoder = TimNetEncoder(config.tim_net)
        elif audio is not None:
            audio_encoder = AudioEncoder.from_config(audio, audio_weights, weighted)
        return cls(
            config,
            audio_encoder,
            TextEncoder.from_config(text, text_weights, weighted) if text is not None else None,
        )

    @property
    def trained_encoders(self) -> list[Encoder]:
        """The transformers whose layers are trained, at least in part."""
        encoders = {"audio": self.audio_encoder, "text": self.text_encoder}
        return [
            encoder for name in self.config.trained_encoders if isinstance(encoder := encoders[name], Encoder)
        ]

    def _freeze(self) -> None:
        if isinstance(self.audio_encoder, MeasuredEncoder):
            # Its frames have nothing that is trained.
            self.audio_encoder.requires_grad_(self.config.audio_training != "frozen")
        elif self.audio_encoder is not None and self.config.audio_training != "full":
            part = self.audio_encoder.backbone
            (part if self.config.audio_training == "frozen" else part.feature_extractor).requires_grad_(False)
        if self.text_encoder is not None and self.config.text_training == "frozen":
            self.text_encoder.backbone.requires_grad_(False)
        if self.config.freeze_layers:
            for encoder in self.trained_encoders:
                encoder.freeze(self.config.freeze_layers)

    def train(self, mode: bool = True) -> "MulTAB":
        """Training mode for what is trained; a frozen encoder stays as at inference, without dropout."""
        super().train(mode)
        if self.audio_encoder is not None and self.config.audio_training == "frozen":
            self.audio_encoder.eval()
        if self.text_encoder is not None and self.config.text_training == "frozen":
            self.text_encoder.eval()
        return self

    def forward(
        self,
        input_values: Tensor | None = None,
        audio_lengths: Tensor | None = None,
        input_ids: Tensor | None = None,
        text_lengths: Tensor | None = None,
    ) -> Output:
        """Normalised waveforms (B, samples) float32 and token ids (B, T) int64, with their lengths (B,).

        A modality that the model has no encoder for is ``None``.
        """
        heard = self.listen(input_values, audio_lengths) if self.audio_encoder is not None else ()
        text = self.text_encoder(input_ids, text_lengths) if self.text_encoder is not None else None
        return self.answer(heard, text, text_lengths)

    def answer(
        self, heard: tuple[Tensor, ...], text: Tensor | None, tokens: Tensor | None, mix: Mix | None = None
    ) -> Output:
        """What the model makes of its encoders' outputs: `listen`'s, and text (B, T, h) with lengths (B,).

        Those of a modality without an encoder are empty and ``None``; ``mix`` as of `classify`.
        """
        speech, frames, statistics = (*heard, None, None, None)[:3]
        return self.classify(*self.fuse(speech, frames, text, tokens), statistics, mix)

    def listen(self, input_values: Tensor | None, audio_lengths: Tensor | None) -> tuple[Tensor, ...]:
        """What the audio encoder makes of waveforms: hidden states, their lengths, and statistics if any."""
        assert self.audio_encoder is not None
        return self.without_speech(*self.audio_encoder(input_values, audio_lengths))

    def without_speech(self, speech: Tensor, frames: Tensor, *statistics: Tensor) -> tuple[Tensor, ...]:
        """The same, but an utterance without audio has the statistics of the mean utterance in training."""
        if not statistics or self.stand_in is None:
            return speech, frames, *statistics
        assert self.head.statistics is not None
        mean = self.head.statistics.standardise.running_mean
        assert mean is not None
        return speech, frames, torch.where(frames[:, None] == 0, mean, statistics[0])

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`forward` on numpy arrays at inference, as an engine of the runtime does it."""
        with torch.inference_mode():
            output = self(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        return {name: tensor.numpy() for name, tensor in output._asdict().items() if tensor is not None}

    @property
    def deviations(self) -> dict[Dimension, float]:
        """The standard deviation of each dimension's ratings in training; empty without dimensions."""
        if self.head.dimensions is None:
            return {}
        return dict(zip(self.config.dimensions, self.head.dimensions.std.tolist(), strict=True))

    def fuse(
        self, speech: Tensor | None, frames: Tensor | None, text: Tensor | None, tokens: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Encoder outputs (B, S, h), (B, T, h) and lengths -> fused sequence (B, L, 2d) and its lengths."""
        if text is None or tokens is None:
            assert speech is not None
            assert frames is not None
            return self._project("audio", speech, valid_mask(frames, speech.shape[1])), frames
        if speech is None or frames is None:
            return self._project("text", text, valid_mask(tokens, text.shape[1])), tokens
        if self.stand_in is not None:
            speech, frames, text, tokens = self._stand_in(self.stand_in, speech, frames, text, tokens)
        speech_mask, text_mask = valid_mask(frames, speech.shape[1]), valid_mask(tokens, text.shape[1])
        speech = self._project("audio", speech, speech_mask)
        text = self._project("text", text, text_mask)
        speech, text = self.cross_modal(speech, speech_mask, text, text_mask)
        return self.fusion(speech, frames, text, tokens)

    def classify(
        self, fused: Tensor, lengths: Tensor, statistics: Tensor | None = None, mix: Mix | None = None
    ) -> Output:
        """Fused sequence (B, L, 2d) and its lengths (B,) -> TAB3, head, softmax at ``temperature``.

        ``statistics`` (B, F) are those of a model with the light encoder; ``mix`` mixes what the head reads.
        """
        mask = valid_mask(lengths, fused.shape[1])
        if self.tab is not None:
            fused = self.tab(fused, mask)
        embeddings, logits, dimensions = self.head(fused, mask, statistics, mix)
        return Output(logits, torch.softmax(logits / self.temperature, dim=1), embeddings, dimensions)

    def _project(self, modality: str, x: Tensor, mask: Tensor) -> Tensor:
        if self.self_attention is not None:
            x = self.self_attention[modality](x, mask)
        return self.projection[modality](x)

    @staticmethod
    def _stand_in(
        stand_in: nn.ParameterDict, speech: Tensor, frames: Tensor, text: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Put the learned stand-in where a modality is missing, as long as the other modality.

        Speech gets one copy a token. For text one copy says as much as one a frame would: attention over n
        equal keys is the mean of n equal values, and a constant sequence interpolates to itself.
        """
        no_speech, no_text = frames == 0, tokens == 0
        missing_frames = torch.sym_max(text.shape[1] - speech.shape[1], 0)
        speech = nn.functional.pad(speech, (0, 0, 0, missing_frames))  # pyright: ignore[reportArgumentType]
        speech = torch.where(no_speech[:, None, None], stand_in["audio"], speech)
        text = torch.where(no_text[:, None, None], stand_in["text"], text)
        return speech, torch.where(no_speech, tokens, frames), text, tokens.clamp(min=1)


def count_parameters(model: MulTAB) -> dict[str, dict[str, int]]:
    """Parameters of each part: ``{part: {"total": n, "trained": n, "frozen": n}}``, in order of data flow."""
    counts = {}
    for part, module in model.named_children():
        total = sum(p.numel() for p in module.parameters())
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        if total:
            counts[part] = {"total": total, "trained": trained, "frozen": total - trained}
    return counts
