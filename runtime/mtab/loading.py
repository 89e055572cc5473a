"""`load`: from a bundle to a `Model` on the engine, the device and the precision that were asked for."""

from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from mtab.bundle import CONFIG, Bundle, open_bundle
from mtab.choice import choice_file, note, tuned_choice
from mtab.engines.opening import onnxruntime_module, open_engine
from mtab.errors import BundleError, EngineError
from mtab.limits import BATCH_SIZE
from mtab.model import Model
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE, Preprocessor
from mtab.types import OperatorKind, Precision, TunedFor


def load(
    bundle: Path | str,
    device: str = "auto",
    *,
    engine: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    threads: int | None = None,
    tuned_for: TunedFor = "latency",
    verify: bool = True,
) -> Model:
    """Open a bundle for inference. What is asked for is used, or an error says why not.

    ``device`` is ``cpu``, ``cuda`` or ``cuda:N``, with OpenVINO ``gpu`` or ``gpu:N`` for Intel's; ``auto`` is
    a GPU where ONNX Runtime has a provider for one, else the CPU. ``engine`` is of `mtab.engines.ENGINES`;
    ``auto`` is what `mtab.tune.tune` chose for this bundle on this machine, where that is within the rest
    that was asked for and can still be had, else ONNX Runtime. ``precision`` ``auto`` is the most exact one
    that there is. ``threads`` of the CPU work on an operator (None: one a core).

    `mtab.tune.tune` chooses for one utterance at a time (``tuned_for`` ``latency``) and for many that wait
    (``throughput``). What it chose for many says also how large batches are and how many are computed at once
    where `Model.predict` and `Model.stream` have a list; without such a choice a line says so.

    The hashes of the bundle's files are checked unless not ``verify``, and again when a file was touched;
    nothing is ever written to it.

    Raises `BundleError` or `ConfigError` for a bundle that is incomplete, changed, of another version or at
    odds with itself, or lacks what was asked for; `EngineError` for an engine, a device or a precision that
    cannot be had here, and a graph that cannot be read.
    """
    opened = open_bundle(bundle, verify)
    preprocess = open_preprocessor(opened)
    wanted = resolve(opened, device, engine, precision, threads, tuned_for)
    try:
        return _open_model(opened, preprocess, wanted)
    except (BundleError, EngineError) as error:
        if not wanted.tuned:
            raise
        note(f"what mtab tune chose cannot be had: {error}; ignored: tune the bundle again")
        return _open_model(opened, preprocess, Wanted(*untuned(engine, device), precision, threads))


def _open_model(bundle: Bundle, preprocess: Preprocessor, wanted: "Wanted") -> Model:
    graph, engine = open_engine(
        bundle,
        wanted.engine,
        wanted.device,
        wanted.precision,
        wanted.threads,
        wanted.streams,
        wanted.unquantized,
    )
    wanted = wanted._replace(precision=engine.precision)
    again = partial(_open_again, bundle.folder.absolute(), bundle.verified, wanted)
    return Model(bundle, graph, engine, preprocess, again, wanted.batch_size)


def _open_again(folder: Path, verify: bool, wanted: "Wanted") -> Model:
    bundle = open_bundle(folder, verify)
    return _open_model(bundle, open_preprocessor(bundle), wanted)


def open_preprocessor(bundle: Bundle) -> Preprocessor:
    """What a bundle does to its inputs. Raises `BundleError` if that is missing or not for its modalities."""
    config = bundle.config
    for name in (CONFIG_FILE, TOKENIZER_FILE) if "text" in config.modalities else (CONFIG_FILE,):
        bundle.path(name)
    preprocess = Preprocessor.from_folder(bundle.folder)
    if preprocess.config.modalities != config.modalities:
        found = f"modalities are {list(preprocess.config.modalities)}"
        raise BundleError(
            f"{bundle.path(CONFIG_FILE)}: {found}, expected {list(config.modalities)} as in {CONFIG}"
        )
    return preprocess


class Wanted(NamedTuple):
    """What `open_engine` is asked for, and the size of batches where a call does not say it.

    ``tuned`` tells whether that is what `mtab.tune` chose.
    """

    engine: str
    device: str
    precision: Precision | Literal["auto"]
    threads: int | None
    streams: int = 1
    batch_size: int = BATCH_SIZE
    unquantized: tuple[OperatorKind, ...] = ()
    tuned: bool = False


def resolve(
    bundle: Bundle,
    device: str = "auto",
    engine: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    threads: int | None = None,
    tuned_for: TunedFor = "latency",
) -> Wanted:
    """What `load` takes for what it is asked for: where that is ``auto``, the tuned choice if it fits."""
    tuned = tuned_choice(bundle, tuned_for) if engine == "auto" else None
    if tuned and device in ("auto", tuned.device) and precision in ("auto", tuned.precision):
        threads = threads or tuned.threads
        # No stream without a thread.
        streams = min(tuned.streams, threads or tuned.streams)
        return Wanted(
            tuned.engine,
            tuned.device,
            tuned.precision,
            threads,
            streams,
            tuned.batch_size,
            tuned.unquantized,
            tuned=True,
        )
    if engine == "auto" and tuned_for != "latency" and not choice_file(bundle, tuned_for).exists():
        note(
            f"{bundle.folder}: not tuned for {tuned_for} on this machine, expected a choice of "
            f"mtab tune --for {tuned_for}; the default is taken"
        )
    return Wanted(*untuned(engine, device), precision, threads)


def untuned(engine: str = "auto", device: str = "auto") -> tuple[str, str]:
    """The engine and the device that ``auto`` stands for where nothing was tuned."""
    if device == "auto" and engine in ("auto", "onnxruntime"):
        on_gpu = onnxruntime_module().engine_on_gpu()
        # A plugin is an engine of its own name, and not what was asked for by another.
        if on_gpu is not None and engine in ("auto", on_gpu):
            return on_gpu, "cuda"
        return "onnxruntime", "cpu"
    if device == "auto":
        device = "cpu" if engine == "openvino" else "cuda"
    return "onnxruntime" if engine == "auto" else engine, device
