"""What is compared: PyTorch, the reference, and the bundle's graph, on the same arrays and threads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtab.bundle import Bundle
from mtab.console import install_hint
from mtab.errors import BundleError, EngineError
from mtab.files import sha256
from mtab.graphs import FUSED
from mtab.model import Model
from mtab_train.run import WEIGHTS

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
    precision = model.bundle.manifest.graphs[FUSED.name].dtype
    return Engine(
        model.engine.name,
        model.engine.device,
        precision,
        threads,
        lambda inputs: model.engine.run(inputs)["probabilities"],
    )


def pytorch_engine(bundle: Bundle, checkpoint: Path | None, threads: int) -> Engine:
    """The checkpoint that the bundle was exported from, in eager PyTorch on the CPU.

    ``checkpoint`` is its run folder (None: the folder that the bundle lies in). Raises `EngineError` if
    PyTorch is not installed or no checkpoint was found, `BundleError` if ``checkpoint`` is another one.
    """
    try:
        import torch

        from mtab_train.checkpoint import load_model
    except ModuleNotFoundError as error:
        raise EngineError(install_hint((error.name or "").partition(".")[0], "PyTorch's side")) from None
    model = load_model(find_checkpoint(bundle, checkpoint))
    torch.set_num_threads(threads)

    return Engine(REFERENCE, "cpu", "fp32", threads, lambda inputs: model.run(inputs)["probabilities"])


def find_checkpoint(bundle: Bundle, checkpoint: Path | None) -> Path:
    """The run folder whose weights the bundle was exported from; see `pytorch_engine`."""
    folder = checkpoint if checkpoint is not None else bundle.folder.absolute().parent
    weights = folder / WEIGHTS
    expected = bundle.manifest.checkpoint.sha256
    if not weights.is_file():
        found = "not found"
    elif (digest := sha256(weights)) != expected:
        found = f"SHA-256 {digest[:12]}…"
    else:
        return folder
    message = (
        f"{weights}: {found}, expected the checkpoint {expected[:12]}… that {bundle.folder} was exported from"
    )
    if checkpoint is not None:
        raise BundleError(message)
    raise EngineError(f"{message}; give --checkpoint RUN")
