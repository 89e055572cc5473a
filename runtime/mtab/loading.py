"""`load`: from a bundle to a `Model` on the engine, the device and the precision that were asked for."""

from pathlib import Path
from typing import Literal

from mtab.bundle import CONFIG, Precision, open_bundle
from mtab.engines.opening import onnxruntime_module, open_engine
from mtab.errors import BundleError
from mtab.model import Model
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE, Preprocessor
from mtab.tuning import tuned_choice


def load(
    bundle: Path | str,
    device: str = "auto",
    *,
    engine: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    threads: int | None = None,
    verify: bool = True,
) -> Model:
    """Open a bundle for inference. What is asked for is used, or an error says why not.

    ``device`` is ``cpu``, ``cuda`` or ``cuda:N``, with OpenVINO ``gpu`` or ``gpu:N`` for Intel's; ``auto`` is
    a GPU where ONNX Runtime has a provider for one, else the CPU. ``engine`` is of `mtab.engines.ENGINES`;
    ``auto`` is what `mtab.tuning` holds for this bundle on this machine, where that is within the rest
    that was asked for, else ONNX Runtime. ``precision`` ``auto`` is the most exact one that there is.
    ``threads`` of the CPU work on an operator (None: one a core).

    The hashes of the bundle's files are checked unless not ``verify``, and again when a file was touched;
    nothing is ever written to it.

    Raises `BundleError` or `ConfigError` for a bundle that is incomplete, changed, of another version or at
    odds with itself, or lacks what was asked for; `EngineError` for an engine, a device or a precision that
    cannot be had here, and a graph that cannot be read.
    """
    opened = open_bundle(bundle, verify)
    config = opened.config
    for name in (CONFIG_FILE, TOKENIZER_FILE) if "text" in config.modalities else (CONFIG_FILE,):
        opened.path(name)
    preprocess = Preprocessor.from_folder(opened.folder)
    if preprocess.config.modalities != config.modalities:
        found = f"modalities are {list(preprocess.config.modalities)}"
        raise BundleError(
            f"{opened.path(CONFIG_FILE)}: {found}, expected {list(config.modalities)} as in {CONFIG}"
        )
    tuned = tuned_choice(opened) if engine == "auto" else None
    if tuned and device in ("auto", tuned.device) and precision in ("auto", tuned.precision):
        engine, device, precision = tuned.engine, tuned.device, tuned.precision
        threads = threads or tuned.threads
    engine, device = _resolve(engine, device)
    graph, started = open_engine(opened, engine, device, precision, threads)
    return Model(opened, graph, started, preprocess)


def _resolve(engine: str, device: str) -> tuple[str, str]:
    """What ``auto`` stands for where nothing was tuned."""
    if device == "auto" and engine in ("auto", "onnxruntime"):
        on_gpu = onnxruntime_module().engine_on_gpu()
        # A plugin is an engine of its own name, and not what was asked for by another.
        if on_gpu is not None and engine in ("auto", on_gpu):
            return on_gpu, "cuda"
        return "onnxruntime", "cpu"
    if device == "auto":
        device = "cpu" if engine == "openvino" else "cuda"
    return "onnxruntime" if engine == "auto" else engine, device
