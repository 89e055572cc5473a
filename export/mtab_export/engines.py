"""What TensorRT needs beside a bundle's graphs: engines built ahead of time, options for ONNX Runtime."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtab.bundle import Bundle, EngineEntry, GraphEntry, Manifest
from mtab.errors import EngineError
from mtab.files import write_json
from mtab.graphs import FUSED, GRAPHS
from mtab.preprocess import Preprocessor
from mtab_export.publish import publish, with_file
from mtab_export.shapes import Profile, shape_profile
from mtab_export.tensorrt import (
    PROVIDERS,
    Flavor,
    build_engine,
    engine_key,
    make_ep_context,
    ort_trt_options,
    own_capabilities,
    require_capability,
    stale_reason,
    tensorrt_version,
)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How engines are built: see `build_engine` and `shape_profile`; ``capabilities`` as in `chosen`."""

    flavor: Flavor = "rtx"
    capabilities: tuple[str, ...] = ()
    min_shapes: str | None = None
    opt_shapes: str | None = None
    max_shapes: str | None = None
    workspace: int | None = None
    refit: bool = False
    strip: bool = False
    samples_per_frame: int = 320

    def check(self) -> None:
        """Raise `EngineError` unless engines of this kind can be built here."""
        for capability in self.chosen():
            require_capability(self.flavor, capability)

    def chosen(self) -> tuple[str, ...]:
        """The capabilities to build for: those of this machine's GPUs where none is named."""
        if not (chosen := self.capabilities or own_capabilities()):
            raise EngineError("no GPU is here to build engines for, expected --sm, such as --sm 86,89,120")
        return chosen


def chosen_graphs(bundle: Bundle, parts: str, precisions: Sequence[str]) -> list[GraphEntry]:
    """The bundle's graphs of the ``parts`` (fused, split or all) in some precisions."""
    return [
        graph
        for graph in bundle.manifest.graphs
        if graph.precision in precisions
        and (parts == "all" or (graph.part == FUSED.name) == (parts == "fused"))
    ]


def profiles(bundle: Bundle, graphs: Sequence[GraphEntry], options: EngineOptions) -> list[Profile]:
    """The shape profile of each graph. Raises `ConfigError` for shapes that a model cannot take."""
    config = Preprocessor.from_folder(bundle.folder).config
    return [
        shape_profile(
            GRAPHS[graph.part].of(bundle.config.modalities, bundle.config.sizes),
            config,
            options.min_shapes,
            options.opt_shapes,
            options.max_shapes,
            options.samples_per_frame,
        )
        for graph in graphs
    ]


def build_engines(bundle: Bundle, graphs: Sequence[GraphEntry], options: EngineOptions) -> Iterator[str]:
    """Build an engine of each graph for each capability into the bundle, and say of each what was done.

    An engine that is there and depends on nothing that has changed is left alone. The manifest is written
    after every engine: what is built stays when a later build fails or is stopped. Raises `EngineError` as
    `build_engine` does, before anything is built where that can be known.
    """
    flavor = options.flavor
    options.check()
    version = tensorrt_version(flavor)
    manifest, chosen = bundle.manifest, options.chosen()
    settings = options.workspace, options.refit, options.strip
    for graph, profile in zip(graphs, profiles(bundle, graphs, options), strict=True):
        path = bundle.path(graph.file)
        for capability in chosen:
            name = f"{path.stem}_{flavor}_sm{capability}.engine"
            key = engine_key(path, flavor, version, capability, profile, *settings)
            if there := next((entry for entry in manifest.engines if entry.file == name), None):
                reason = stale_reason(there, key, version, profile)
                if reason is None:
                    yield f"{name}: there already, nothing has changed"
                    continue
                yield f"{name}: is built again: {reason}"
                manifest = publish(bundle.folder, _without(manifest, there))
            built = build_engine(path, bundle.folder / name, flavor, capability, profile, *settings)
            entry = EngineEntry(
                file=name,
                graph=graph.file,
                flavor=flavor,
                version=version,
                compute_capability=capability,
                profile=profile,
                key=key,
                seconds=built.seconds,
                verified=False,
            )
            manifest = publish(bundle.folder, _with(manifest, entry, bundle.folder))
            yield f"{name}: {built.size / 1e6:.1f} MB in {built.seconds:.0f} s; built, not run"


def write_ort_options(bundle: Bundle, graphs: Sequence[GraphEntry], options: EngineOptions) -> Iterator[str]:
    """Write what ONNX Runtime's TensorRT providers need to run each graph, and say what was done.

    ``<graph>_ort_trt.json`` holds the options of both providers; ``<graph>_ctx.onnx`` the graph as the
    flavor's provider compiled it for this machine's GPU, where there is one.
    """
    manifest = bundle.manifest
    for graph, profile in zip(graphs, profiles(bundle, graphs, options), strict=True):
        path = bundle.path(graph.file)
        name = f"{path.stem}_ort_trt.json"
        by_flavor = {flavor: ort_trt_options(profile, flavor, options.workspace) for flavor in PROVIDERS}
        values = {PROVIDERS[flavor]: by_flavor[flavor] for flavor in PROVIDERS}
        write_json(bundle.folder / name, values)
        manifest = publish(bundle.folder, with_file(manifest, bundle.folder, name))
        yield f"{name}: options of {' and '.join(values)}"
        context = f"{path.stem}_ctx.onnx"
        try:
            make_ep_context(path, bundle.folder / context, options.flavor, by_flavor[options.flavor])
        except EngineError as error:
            yield f"{context}: not written: {error}"
        else:
            manifest = publish(bundle.folder, with_file(manifest, bundle.folder, context))
            yield f"{context}: compiled for this machine's GPU"


def _with(manifest: Manifest, entry: EngineEntry, folder: Path) -> Manifest:
    listed = with_file(manifest, folder, entry.file)
    return dataclasses.replace(listed, engines=(*manifest.engines, entry))


def _without(manifest: Manifest, entry: EngineEntry) -> Manifest:
    return dataclasses.replace(
        manifest,
        engines=tuple(each for each in manifest.engines if each != entry),
        files={name: file for name, file in manifest.files.items() if name != entry.file},
    )
