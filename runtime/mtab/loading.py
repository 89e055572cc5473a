"""`load`: from a bundle to a `Model` on the device that was asked for."""

from pathlib import Path
from typing import Literal

from mtab.bundle import CONFIG, Bundle, GraphEntry, Precision, open_bundle
from mtab.engine import OnnxRuntimeEngine
from mtab.errors import BundleError
from mtab.graphs import FUSED
from mtab.model import Model
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE, Preprocessor

AUTO: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int8-static")
"""What ``precision="auto"`` takes, the first that there is; ONNX Runtime computes no bf16 on a CPU."""


def load(
    bundle: Path | str,
    device: str = "cpu",
    threads: int | None = None,
    verify: bool = True,
    precision: Precision | Literal["auto"] = "auto",
) -> Model:
    """Open a bundle on a device: ``cpu``, ``cuda`` or ``cuda:N``, with ``threads`` (None: one a core).

    ``precision`` is that of the fused graph to use; ``auto`` is the most exact one that the bundle has. The
    hashes of its files are checked unless not ``verify``; nothing is ever written to it.

    Raises `BundleError` or `ConfigError` for a bundle that is incomplete, changed, of another version or at
    odds with itself, `EngineError` for a device that cannot be used here and a graph that cannot be read.
    """
    opened = open_bundle(bundle, verify)
    graph = _fused(opened, precision)
    config = opened.config
    for name in (CONFIG_FILE, TOKENIZER_FILE) if "text" in config.modalities else (CONFIG_FILE,):
        opened.path(name)
    preprocess = Preprocessor.from_folder(opened.folder)
    if preprocess.config.modalities != config.modalities:
        found = f"modalities are {list(preprocess.config.modalities)}"
        raise BundleError(
            f"{opened.path(CONFIG_FILE)}: {found}, expected {list(config.modalities)} as in {CONFIG}"
        )
    engine = OnnxRuntimeEngine(opened.path(graph.file), device, threads)
    engine.require(FUSED.of(config.modalities, config.sizes))
    return Model(opened, graph, engine, preprocess)


def _fused(bundle: Bundle, precision: str) -> GraphEntry:
    """The whole model's graph in ``precision``."""
    for each in AUTO if precision == "auto" else (precision,):
        if graph := bundle.manifest.graph(FUSED.name, each):
            return graph
    found = ", ".join(f"{graph.part} {graph.precision}" for graph in bundle.manifest.graphs) or "none"
    wanted = "" if precision == "auto" else f" {precision}"
    raise BundleError(f"{bundle.folder}: graphs are {found}, expected {FUSED.name}{wanted}")
