"""What a report says of every engine, measured or skipped, and the reference that they are held against."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from mtab.bundle import Bundle
from mtab.cuda import find_cuda
from mtab.errors import BundleError, EngineError
from mtab_bench.backends import REFERENCE, Backend, Inputs, Run, pytorch_backends
from mtab_export.pytorch import pytorch_model

if TYPE_CHECKING:
    from mtab_train.model import MulTAB


def reference_model(
    bundle: Bundle, checkpoint: Path | None, threads: int
) -> "tuple[Backend, MulTAB | None, str | None]":
    """PyTorch on the bundle's checkpoint: how it runs, its model, or None and why there is none.

    Raises `BundleError` for a run folder given that is not the bundle's, or is only half there.
    """
    try:
        folder, model = pytorch_model(bundle, checkpoint)
    except EngineError as error:
        return pytorch_backends(Path(), threads)[0], None, str(error)
    from mtab_train.run import CALIBRATION

    # The weights alone do not tell: a run is calibrated when its training has ended.
    found, expected = float(model.temperature), bundle.manifest.checkpoint.temperature
    if not np.isclose(found, expected, rtol=1e-6):
        raise BundleError(
            f"{folder / CALIBRATION}: temperature {found:.4g}, expected {expected:.4g} as exported to "
            f"{bundle.folder}; the run is half-written, or was trained again"
        )
    return pytorch_backends(folder, threads)[0], model, None


def entry(way: Backend, skipped: str | None = None) -> dict[str, Any]:
    """What a report says of every engine, measured or not."""
    values = {key: getattr(way, key) for key in ("title", "device", "precision", "threads")}
    return {"title": values.pop("title"), "skipped": skipped, **values}


def absent_engines() -> dict[str, Any]:
    """One entry for all engines that need an NVIDIA GPU where there is none; nothing where there is."""
    if (cuda := find_cuda()).gpus:
        return {}
    return {
        "cuda": {
            "title": "Engines on a GPU",
            "skipped": f"no NVIDIA GPU is here ({cuda.problem or 'the driver sees none'})",
            "device": "cuda",
            "precision": None,
            "threads": None,
        }
    }


def require_one(bundle: Bundle, engines: dict[str, Any]) -> None:
    """Raise `EngineError` with the first reason if every engine of the bundle was skipped."""
    reasons = [engine["skipped"] for key, engine in engines.items() if key != REFERENCE]
    if all(reasons):
        found = f"the first: {reasons[0]}" if reasons else "it holds no graph of the whole model"
        raise EngineError(f"{bundle.folder}: no engine can run it here; {found}")


def answer_each(run: Run, inputs: Sequence[Inputs], title: str) -> np.ndarray:
    """The probabilities (N, C) for N utterances, each as a batch of one; ``title`` is the engine's."""
    return np.concatenate([run(each) for each in tqdm(inputs, title, unit="utt", disable=None, leave=False)])
