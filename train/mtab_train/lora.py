"""Low-rank adapters (LoRA; Hu et al., ICLR 2022) by `peft`: in training alone, merged in what is kept."""

import copy
from typing import Any

from mtab.errors import ConfigError
from mtab_train.model import MulTAB

TARGETS = ["query", "value", "q_proj", "v_proj", "q_lin", "v_lin"]
"""The projections that get adapters, as in the paper: an attention's queries and values."""


def add_adapters(model: MulTAB, rank: int, alpha: float) -> None:
    """Train the model's trained encoders through adapters alone, in every layer that is not frozen.

    As they begin they change no answer. Raises `ConfigError` if no encoder is trained, and for WavLM.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if not model.trained_encoders:
        raise ConfigError(
            f"lora_rank is {rank}, expected a transformer encoder that is trained; see --text-training and "
            "--audio-training"
        )
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=TARGETS)  # pyright: ignore[reportArgumentType]
    for encoder in model.trained_encoders:
        if (kind := encoder.backbone.config.model_type) == "wavlm":
            # Its attention reads the projections' weights and never calls them.
            raise ConfigError(f"lora_rank is {rank}, expected 0: adapters have no effect in a {kind} encoder")
        encoder.backbone.requires_grad_(False)
        for layer in encoder.layers[model.config.freeze_layers :]:
            inject_adapter_in_model(config, layer)


def merge_adapters(model: MulTAB) -> None:
    """Add the adapters to the weights that they adapt, and take them out."""
    for name, module in _adapted(model):
        module.merge()
        model.set_submodule(name, module.get_base_layer())


def without_adapters(model: MulTAB) -> MulTAB:
    """The model itself, or a copy with its adapters merged."""
    if not _adapted(model):
        return model
    merged = copy.deepcopy(model)
    merge_adapters(merged)
    return merged


def _adapted(model: MulTAB) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "get_base_layer")]
