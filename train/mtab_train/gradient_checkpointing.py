"""Layers that are computed again in the backward pass, in place of keeping what is within them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class CheckpointedLayers(nn.Module):
    """A stack that keeps, with ``gradient_checkpointing``, what enters its layers alone (Chen et al., 2016).

    Random numbers are drawn again as they were, so that gradients are the same. No layer may have running
    statistics: it would count them twice.
    """

    gradient_checkpointing = False

    def run_layer(self, layer: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
        """``layer`` of these inputs."""
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False, **options)
        return layer(*inputs, **options)


def enable_gradient_checkpointing(model: nn.Module) -> None:
    """Let all stacks within a model keep what enters their layers alone."""
    for module in model.modules():
        if isinstance(module, CheckpointedLayers):
            module.gradient_checkpointing = True
