"""The reference that all backends are held against, and what is said of those that cannot be had."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtab.bundle import Bundle
from mtab.errors import BundleError, EngineError
from mtab_bench.backends import Backend, pytorch_backends
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


def require_one(bundle: Bundle, backends: Collection[str], skipped: Mapping[str, str]) -> None:
    """Raise `EngineError` with the first reason if every one of a bundle's ``backends`` was ``skipped``."""
    if all(key in skipped for key in backends):
        reasons = [skipped[key] for key in backends]
        found = f"the first: {reasons[0]}" if reasons else "it holds no graph of the whole model"
        raise EngineError(f"{bundle.folder}: no engine can run it here; {found}")
