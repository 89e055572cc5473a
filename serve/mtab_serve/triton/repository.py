"""A model repository for Triton: the graph on a backend, and ``mtab`` before it, for audio and text."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from mtab import __version__
from mtab.bundle import CONFIG, MANIFEST, Bundle, EngineEntry, GraphEntry
from mtab.config import to_dict
from mtab.errors import BundleError, MtabError
from mtab.files import atomic_folder, write_json, write_text
from mtab.graphs import FUSED, GraphSpec
from mtab.limits import BATCH_SIZE
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE
from mtab.types import Precision
from mtab_serve.triton.model_config import GRAPH_MODEL, MODEL, engine_config, graph_config, mtab_config


def write_repository(
    bundle: Bundle,
    out: Path,
    precision: Precision | None = None,
    *,
    tensorrt: bool = False,
    overwrite: bool = False,
) -> Iterator[str]:
    """Write a folder for ``tritonserver --model-repository``, whole or not at all, and say what is in it.

    ``precision`` is the graph's (None: fp32, or the only one that there is). With ``tensorrt`` the bundle's
    TensorRT engines of that graph stand in its place. What preprocessing needs is copied from the bundle,
    which is not needed again.

    Raises `BundleError` if the bundle has no such graph or no such engine; `MtabError` if ``out`` is in use,
    with ``overwrite`` only if it is no repository of ours.
    """
    graph = _graph(bundle, precision)
    engines = _engines(bundle, graph) if tensorrt else ()
    _refuse_foreign(out)
    spec = FUSED.of(bundle.config.modalities, bundle.config.sizes)
    batch_size = min((_batch_size(engine, spec) for engine in engines), default=BATCH_SIZE)
    config = engine_config(spec, batch_size, engines) if engines else graph_config(spec, graph.file)
    with atomic_folder(out, overwrite) as folder:
        write_text(folder / GRAPH_MODEL / "config.pbtxt", config)
        for name in [engine.file for engine in engines] or [graph.file, f"{graph.file}.data"]:
            if name in bundle.manifest.files:
                _copy(bundle.path(name), folder / GRAPH_MODEL / "1" / name)
        version = folder / MODEL / "1"
        _copy(Path(__file__).with_name("model.py"), version / "model.py")
        write_text(folder / MODEL / "config.pbtxt", mtab_config(bundle.config, batch_size))
        _write_description(bundle, graph, version / "bundle")
    what = f"{len(engines)} TensorRT engines of {graph.file}" if engines else graph.file
    yield f"{out}: {GRAPH_MODEL} is {what}, {MODEL} takes audio and text"
    yield f"{MODEL} needs mtab {__version__} in Triton's Python: pip install mtab=={__version__}"
    yield f"Start it with: tritonserver --model-repository {out}"


def _graph(bundle: Bundle, precision: Precision | None) -> GraphEntry:
    whole = [graph for graph in bundle.manifest.graphs if graph.part == FUSED.name]
    if precision is None and len(whole) == 1:
        return whole[0]
    precision = precision or "fp32"
    if (found := bundle.manifest.graph(FUSED.name, precision)) is None:
        listed = ", ".join(graph.precision for graph in whole) or "no graph of the whole model"
        raise BundleError(f"{bundle.folder}: holds {listed}, expected the whole model in {precision}")
    return found


def _engines(bundle: Bundle, graph: GraphEntry) -> list[EngineEntry]:
    found = [each for each in bundle.manifest.engines if (each.graph, each.flavor) == (graph.file, "trt")]
    if not found:
        raise BundleError(
            f"{bundle.folder}: no engine of {graph.file}, expected one of --target tensorrt --flavor trt"
        )
    return found


def _batch_size(engine: EngineEntry, spec: GraphSpec) -> int:
    return min(BATCH_SIZE, engine.profile["max"][spec.inputs[0].name][0])


def _refuse_foreign(out: Path) -> None:
    """Refuse to replace a folder with anything in it that is not of a repository of ours."""
    if not out.is_dir():
        return
    for each in sorted(out.iterdir()):
        if each.name not in (MODEL, GRAPH_MODEL):
            raise MtabError(f"{out}: holds {each.name}, expected a folder of its own for this repository")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write_description(bundle: Bundle, graph: GraphEntry, folder: Path) -> None:
    """What `mtab.bundle.open_bundle` reads: the bundle without its graphs, and the graph's entry."""
    kept = [name for name in (CONFIG, CONFIG_FILE, TOKENIZER_FILE) if name in bundle.manifest.files]
    for name in kept:
        _copy(bundle.path(name), folder / name)
    manifest = dataclasses.replace(
        bundle.manifest,
        files={name: bundle.manifest.files[name] for name in kept},
        graphs=(),
        engines=(),
        reasons=None,
    )
    write_json(folder / MANIFEST, to_dict(manifest))
    write_json(folder / "graph.json", to_dict(graph))
