"""What a model and its training are made of: frozen dataclasses, and the presets base, compact, tiny."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from mtab.config import from_dict, to_dict
from mtab.errors import ConfigError
from mtab.provenance import Protocol
from mtab.types import Dimension, Modality

AUDIO_ENCODERS = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
TEXT_ENCODERS = ("bert", "distilbert", "roberta", "xlm-roberta")
ACOUSTIC, TIM_NET = "acoustic", "tim-net"
"""Audio encoders of our own, without pretrained weights: `mtab_train.acoustic`, `mtab_train.tim_net`."""

ACOUSTIC_HOP = 160
"""Samples from one of their frames to the next, 10 ms."""

LARGEST_SEED = 2**32 - 1
"""NumPy's own generator takes no larger one."""


@dataclass(frozen=True, slots=True)
class AcousticConfig:
    """The light audio encoder, ``audio_config`` of a model whose ``model_type`` is ``acoustic``.

    Hidden states are ``hidden_size`` wide, one for the product of ``conv_stride`` frames of 10 ms. What the
    classifier is told of the statistics is ``statistics_size`` wide. In training each of ``num_masks`` masks
    hides up to ``mask_time_prob`` of the time, as many again up to ``mask_feature_prob`` of the bands.
    """

    model_type: Literal["acoustic"] = "acoustic"
    hidden_size: int = 96
    conv_kernel: int = 5
    conv_stride: tuple[int, ...] = (2, 2)
    num_conv_pos_embeddings: int = 15
    hidden_dropout: float = 0.2
    statistics_size: int = 192
    statistics_dropout: float = 0.4
    num_masks: int = 2
    mask_time_prob: float = 0.1
    mask_feature_prob: float = 0.15

    def __post_init__(self) -> None:
        for name in ("hidden_size", "conv_kernel", "num_conv_pos_embeddings", "statistics_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not self.conv_stride or min(self.conv_stride) < 1 or self.conv_kernel % 2 == 0:
            raise ConfigError(
                f"conv_stride is {list(self.conv_stride)} and conv_kernel {self.conv_kernel}, "
                "expected strides of 1 or more and an odd kernel"
            )
        for name in ("hidden_dropout", "statistics_dropout", "mask_time_prob", "mask_feature_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 <= {name} < 1")


@dataclass(frozen=True, slots=True)
class TimNetConfig:
    """TIM-Net's stacks, ``audio_config`` of a model whose ``model_type`` is ``tim-net``.

    ``hidden_size`` is also the number of cepstra; dilation doubles over ``num_scales`` blocks each way.
    """

    model_type: Literal["tim-net"] = "tim-net"
    hidden_size: int = 39
    num_scales: int = 8
    hidden_dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, most in (("hidden_size", 64), ("num_scales", 16)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 1 to {most}")
        if not 0 <= self.hidden_dropout < 1:
            raise ConfigError(f"hidden_dropout is {self.hidden_dropout}, expected 0 <= hidden_dropout < 1")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Architecture of a Mul-TAB model (Appl. Sci. 2024, 14(8), 3276); the defaults are the paper's.

    ``audio_config`` and ``text_config`` are transformers configurations as dictionaries with their
    ``model_type``; an encoder that is ``None`` makes a single-modality ablation. ``audio_model`` and
    ``text_model`` say where an encoder's weights came from (hub id or folder; ``None``: random).
    ``freeze_layers`` are taken out of the training of every encoder that is trained, from the first on, and
    ``use_weighted_layer_sum`` puts a learned sum of its layers in place of its last one's.
    ``pooling`` is over time, and before ``head_activation``; the paper's rivals have others.
    With ``classifier_heads`` by corpus each of several corpora has classes of its own, ``<corpus>/<label>``,
    and every utterance is answered among those of its corpus: that is for pre-training.
    ``dimensions`` are what a second head answers beside the classes; the paper has none.
    """

    labels: tuple[str, ...]
    audio_config: dict[str, Any] | None
    text_config: dict[str, Any] | None
    audio_model: str | None = None
    text_model: str | None = None
    audio_training: Literal["frozen", "conv-frozen", "full"] = "conv-frozen"
    text_training: Literal["frozen", "full"] = "frozen"
    freeze_layers: int = 0
    use_weighted_layer_sum: bool = False
    hidden_size: int = 768
    num_attention_heads: int = 8
    intermediate_size: int = 3072
    num_self_attention_layers: int = 2
    num_tab_layers: int = 3
    tab_kernel_size: int = 2
    fusion_align: Literal["interpolate", "pool"] = "interpolate"
    pooling: Literal["mean", "max"] = "mean"
    head_activation: Literal["gelu", "none"] = "gelu"
    dropout: float = 0.1
    modality_dropout: float = 0.0
    classifier_heads: Literal["joint", "corpus"] = "joint"
    dimensions: tuple[Dimension, ...] = ()

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"labels are {list(self.labels)}, expected two or more different ones")
        if len(set(self.dimensions)) != len(self.dimensions):
            raise ConfigError(f"dimensions are {list(self.dimensions)}, expected different ones")
        if not self.modalities:
            raise ConfigError("audio_config and text_config are both null, expected at least one encoder")
        for name, config, known in (
            ("audio_config", self.audio_config, (*AUDIO_ENCODERS, ACOUSTIC, TIM_NET)),
            ("text_config", self.text_config, TEXT_ENCODERS),
        ):
            if config is not None and config.get("model_type") not in known:
                found = config.get("model_type")
                raise ConfigError(f"{name}.model_type is {found!r}, expected one of {', '.join(known)}")
        for name in ("dropout", "modality_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 <= {name} < 1")
        if self.modality_dropout and len(self.modalities) < 2:
            raise ConfigError("modality_dropout needs both an audio and a text encoder")
        for name in ("hidden_size", "num_attention_heads", "intermediate_size", "tab_kernel_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        heads = self.num_attention_heads
        if self.hidden_size % heads:
            raise ConfigError(
                f"hidden_size is {self.hidden_size}, expected a multiple of {heads} attention heads"
            )
        for name in ("num_self_attention_layers", "num_tab_layers", "freeze_layers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 0")
        if self.freeze_layers and not self.trained_encoders:
            raise ConfigError(
                f"freeze_layers is {self.freeze_layers}, expected a transformer encoder that is trained; see "
                "--text-training and --audio-training"
            )
        if self.use_weighted_layer_sum and self.measures and self.text_config is None:
            raise ConfigError("use_weighted_layer_sum is true, expected a transformer encoder with layers")

    @property
    def corpora(self) -> tuple[int, ...]:
        """For each class a number that is the same for those of one head."""
        if self.classifier_heads == "joint":
            return (0,) * len(self.labels)
        names = [label.partition("/")[0] for label in self.labels]
        return tuple(map(names.index, names))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that the model has an encoder for."""
        present: list[Modality] = []
        if self.audio_config is not None:
            present.append("audio")
        if self.text_config is not None:
            present.append("text")
        return tuple(present)

    @property
    def trained_encoders(self) -> tuple[Modality, ...]:
        """The modalities with a transformer whose layers are trained, at least in part."""
        training = {"audio": self.audio_training, "text": self.text_training}
        if self.measures:
            del training["audio"]
        return tuple(modality for modality in self.modalities if training.get(modality, "frozen") != "frozen")

    @property
    def supported_modalities(self) -> tuple[tuple[Modality, ...], ...]:
        """Every combination of modalities that the model was trained to answer from."""
        if self.modality_dropout:
            return (self.modalities, ("audio",), ("text",))
        return (self.modalities,)

    @property
    def acoustic(self) -> AcousticConfig | None:
        """The light audio encoder's configuration, None for a model with another encoder or none."""
        if self.audio_config is None or self.audio_config["model_type"] != ACOUSTIC:
            return None
        return from_dict(AcousticConfig, self.audio_config, "audio_config")

    @property
    def tim_net(self) -> TimNetConfig | None:
        """The configuration of TIM-Net's stacks, None for a model with another encoder or none."""
        if self.audio_config is None or self.audio_config["model_type"] != TIM_NET:
            return None
        return from_dict(TimNetConfig, self.audio_config, "audio_config")

    @property
    def measures(self) -> bool:
        """Whether the audio encoder starts from frames that are measured, and not learned."""
        return self.acoustic is not None or self.tim_net is not None

    @property
    def fused_size(self) -> int:
        """Width of the fused sequence: d for each modality (768 x 2 in the paper, §4)."""
        return self.hidden_size * len(self.modalities)

    @property
    def embedding_size(self) -> int:
        """Width of what the classifier sees: the fused sequence's, and that of the statistics if any."""
        return self.fused_size + (self.acoustic.statistics_size if self.acoustic else 0)

    @property
    def samples_per_frame(self) -> int:
        """Samples at 16 kHz from one of the audio encoder's hidden states to the next; 0 without one."""
        if self.acoustic is not None:
            return ACOUSTIC_HOP * math.prod(self.acoustic.conv_stride)
        if self.audio_config is None:
            return 0
        if self.tim_net is not None:
            return ACOUSTIC_HOP
        return math.prod(self.audio_config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2)))


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a model is trained; the defaults are the paper's (§5: AdamW, lr 5e-5, batch 2, 100 epochs).

    ``ctc_weight`` and ``supcon_weight`` weigh MMER's auxiliary losses (0.1 each there), which the paper
    leaves out. A training clip longer than ``max_seconds`` is cut, counted and said; ``None`` never cuts.
    Each training clip is also heard in ``augment_copies`` variants (`mtab_train.augmentation`), in an epoch
    one of them or itself. ``mixup_alpha`` is that of the Beta distribution by which what the classifier sees
    of two utterances is mixed; 0 never mixes. With ``ema_decay`` the model is the moving average of the
    weights over the steps.
    With ``gradient_checkpointing`` the layers of encoders and self-attention are computed again in the
    backward pass, and what is within them is not kept (`mtab_train.gradient_checkpointing`).
    Training ends early where no epoch was better than the best one for ``patience`` epochs; ``None`` never.

    The learning rate of an encoder's layer is ``layerwise_lr_decay`` times that of the one above it
    (`mtab_train.optimizer`). With a ``lora_rank`` the encoders are trained through low-rank adapters alone,
    which count ``lora_alpha / lora_rank`` (`mtab_train.lora`).

    With a teacher its answers at ``distillation_temperature`` count ``distillation_weight`` and labels the
    rest (`mtab_train.losses.Distillation`), and ``embedding_weight`` how alike utterances are to it.
    """

    epochs: int = 100
    batch_size: int = 2
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    lr_scheduler_type: Literal["constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    warmup_ratio: float = 0.0
    max_grad_norm: float | None = None
    gradient_accumulation_steps: int = 1
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing_factor: float = 0.0
    mixup_alpha: float = 0.0
    augment_copies: int = 0
    ema_decay: float | None = None
    ctc_weight: float = 0.0
    supcon_weight: float = 0.0
    max_seconds: float | None = None
    bucketing: bool = True
    protocol: Protocol = "honest"
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    gradient_checkpointing: bool = False
    seed: int = 0
    patience: int | None = None
    layerwise_lr_decay: float = 1.0
    lora_rank: int = 0
    lora_alpha: float = 16.0
    distillation_weight: float = 0.7
    distillation_temperature: float = 2.0
    embedding_weight: float = 0.3

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        for name in (
            *("learning_rate", "max_grad_norm", "max_seconds", "lora_alpha"),
            "distillation_temperature",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}, expected more than 0")
        if not 0 <= self.distillation_weight <= 1:
            raise ConfigError(f"distillation_weight is {self.distillation_weight}, expected 0 to 1")
        if not 0 <= self.augment_copies <= 100:
            raise ConfigError(f"augment_copies is {self.augment_copies}, expected 0 to 100")
        if not 0 <= self.label_smoothing_factor < 1:
            raise ConfigError(f"label_smoothing_factor is {self.label_smoothing_factor}, expected 0 to 1")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ConfigError(f"ema_decay is {self.ema_decay}, expected between 0 and 1")
        if not 0 < self.layerwise_lr_decay <= 1:
            raise ConfigError(
                f"layerwise_lr_decay is {self.layerwise_lr_decay}, expected more than 0 and at most 1"
            )
        for name in (
            *("weight_decay", "ctc_weight", "supcon_weight", "lora_rank", "mixup_alpha"),
            "embedding_weight",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 0")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"patience is {self.patience}, expected at least 1")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ConfigError(f"seed is {self.seed}, expected 0 to {LARGEST_SEED}")
        if not 0 <= self.warmup_ratio < 1:
            raise ConfigError(f"warmup_ratio is {self.warmup_ratio}, expected 0 <= warmup_ratio < 1")


@dataclass(frozen=True, slots=True)
class Preset:
    """A named model and the training that goes with it."""

    model: ModelConfig
    train: TrainConfig


IEMOCAP_LABELS = ("anger", "happiness", "neutral", "sadness")

# The published configurations of facebook/wav2vec2-base-960h and FacebookAI/roberta-base, so that the
# architecture can be built and counted without a download.
WAV2VEC2_BASE_960H = {
    "model_type": "wav2vec2",
    "activation_dropout": 0.1,
    "attention_dropout": 0.1,
    "feat_proj_dropout": 0.1,
    "hidden_dropout": 0.1,
    "layerdrop": 0.1,
    "mask_time_prob": 0.05,
}
ROBERTA_BASE = {
    "model_type": "roberta",
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}

# Both at a size that learns from scratch in minutes on two cores.
TINY_WAV2VEC2 = {
    "model_type": "wav2vec2",
    "conv_dim": [64] * 7,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 8,
    "feat_proj_dropout": 0.1,
    "layerdrop": 0.0,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
}
TINY_ROBERTA = {
    "model_type": "roberta",
    "vocab_size": 1000,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}

BASE = Preset(
    ModelConfig(
        labels=IEMOCAP_LABELS,
        audio_config=WAV2VEC2_BASE_960H,
        text_config=ROBERTA_BASE,
        audio_model="facebook/wav2vec2-base-960h",
        text_model="FacebookAI/roberta-base",
    ),
    TrainConfig(),
)

# A light audio encoder in wav2vec2's place: learns from scratch on one's own small corpus.
COMPACT = Preset(
    ModelConfig(
        labels=IEMOCAP_LABELS,
        audio_config=to_dict(AcousticConfig()),
        text_config={
            "model_type": "roberta",
            "vocab_size": 1000,
            "hidden_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 192,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        },
        audio_training="full",
        text_training="full",
        hidden_size=96,
        num_attention_heads=4,
        intermediate_size=192,
        dropout=0.2,
    ),
    TrainConfig(
        epochs=60,
        batch_size=32,
        learning_rate=2e-3,
        weight_decay=0.05,
        lr_scheduler_type="cosine",
        warmup_ratio=0.1,
        max_grad_norm=1.0,
        class_weights="balanced",
        label_smoothing_factor=0.1,
        mixup_alpha=0.3,
        augment_copies=6,
        ema_decay=0.99,
        protocol="fixed",
    ),
)

TINY = Preset(
    ModelConfig(
        labels=IEMOCAP_LABELS,
        audio_config=TINY_WAV2VEC2,
        text_config=TINY_ROBERTA,
        audio_training="full",
        text_training="full",
        hidden_size=128,
        intermediate_size=512,
    ),
    TrainConfig(
        epochs=15,
        batch_size=16,
        learning_rate=1e-3,
        lr_scheduler_type="linear",
        warmup_ratio=0.1,
        max_grad_norm=1.0,
    ),
)

# TIM-Net from MFCC, in PyTorch here; batch and rate are its authors', who train 500 epochs.
TIM_NET_PRESET = Preset(
    ModelConfig(
        labels=IEMOCAP_LABELS,
        audio_config=to_dict(TimNetConfig()),
        text_config=None,
        audio_training="full",
        hidden_size=39,
        num_attention_heads=3,
        num_self_attention_layers=0,
        num_tab_layers=0,
        head_activation="none",
    ),
    TrainConfig(
        epochs=100,
        batch_size=64,
        learning_rate=1e-3,
        weight_decay=0.0,
        lr_scheduler_type="cosine",
        label_smoothing_factor=0.1,
        protocol="fixed",
    ),
)


def mmer(preset: Preset) -> Preset:
    """MMER (Ghosh et al., 2023) of a preset's encoders: no TAB, largest values over time, two more losses."""
    return Preset(
        dataclasses.replace(preset.model, num_tab_layers=0, pooling="max"),
        dataclasses.replace(preset.train, ctc_weight=0.1, supcon_weight=0.1),
    )


PRESETS = {
    "base": BASE,
    "compact": COMPACT,
    "tiny": TINY,
    "mmer": mmer(BASE),
    "mmer-tiny": mmer(TINY),
    "tim-net": TIM_NET_PRESET,
}
