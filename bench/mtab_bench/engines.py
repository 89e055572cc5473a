"""What is compared: PyTorch, the reference, and the bundle's graph, on the same arrays and threads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtab.bundle import Bundle
from mtab.model import Model
from mtab_export.pytorch import pytorch_model

REFERENCE = "pytorch"
TITLES = {REFERENCE: "PyTorch", "onnxruntime": "ONNX Runtime"}


@dataclass(frozen=True, slots=True)
class Engine:
    """One way to compute the model: ``run`` takes a padded batch and returns probabilities (B, C) float32."""

    name: str
    device: str
    precision: str
    threads: int
    run: Callable[[dict[str, np.ndarray]], np.ndarray]


def bundle_engine(model: Model, threads: int) -> Engine:
    """The bundle's fused graph as `mtab.load` opened it with ``threads``."""
    return Engine(
        model.engine.name,
        model.engine.device,
        model.engine.precision,
        threads,
        lambda inputs: model.engine.run(inputs)["probabilities"],
    )


def pytorch_engine(bundle: Bundle, checkpoint: Path | None, threads: int) -> Engine:
    """The checkpoint that the bundle was exported from; see `mtab_export.pytorch.pytorch_model`."""
    _, model = pytorch_model(bundle, checkpoint)

    import torch

    torch.set_num_threads(threads)
    return Engine(REFERENCE, "cpu", "fp32", threads, lambda inputs: model.run(inputs)["probabilities"])
