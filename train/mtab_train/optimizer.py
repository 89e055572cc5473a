"""The optimizer's groups of parameters: one for each learning rate."""

from typing import Any

from mtab_train.batch_model import BatchModel
from mtab_train.config import TrainConfig


def parameter_groups(model: BatchModel, config: TrainConfig) -> list[dict[str, Any]]:
    """What is trained, by its peak learning rate; the first group has the configuration's own.

    In an encoder of n layers the l-th has the rate times ``layerwise_lr_decay`` to the power n + 1 - l, and
    what is below the layers as a layer 0, as in BEiT. Everything above the layers has the whole rate.
    """
    factors = {
        parameter: config.layerwise_lr_decay ** max(0, len(encoder.layers) + 1 - encoder.depth(name))
        for encoder in model.model.trained_encoders
        for name, parameter in encoder.backbone.named_parameters()
    }
    groups = {1.0: []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault(factors.get(parameter, 1.0), []).append(parameter)
    return [{"params": params, "lr": config.learning_rate * factor} for factor, params in groups.items()]
