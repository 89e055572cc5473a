"""The PyTorch model that a bundle was exported from, where it can be had."""

from pathlib import Path
from typing import TYPE_CHECKING

from mtab.bundle import Bundle
from mtab.console import install_hint
from mtab.errors import BundleError, EngineError
from mtab.files import sha256

if TYPE_CHECKING:
    from mtab_train.model import MulTAB


def pytorch_model(bundle: Bundle, checkpoint: Path | None) -> "tuple[Path, MulTAB]":
    """The run that the bundle was exported from: its folder, and its model in eager PyTorch at inference.

    ``checkpoint`` is its run folder (None: the folder that the bundle lies in). Raises `EngineError` if
    PyTorch is not installed or no checkpoint was found, `BundleError` if ``checkpoint`` is another one.
    """
    try:
        from mtab_train.checkpoint import load_model
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        raise EngineError(install_hint(module, "PyTorch's side", "export")) from None
    folder = find_checkpoint(bundle, checkpoint)
    return folder, load_model(folder)


def find_checkpoint(bundle: Bundle, checkpoint: Path | None) -> Path:
    """The run folder whose weights the bundle was exported from; see `pytorch_model`."""
    from mtab_train.run import WEIGHTS

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
