"""TensorRT engines, built ahead of time from a graph, and the graph in ONNX Runtime's TensorRT providers.

TensorRT-RTX (flavor ``rtx``) builds for GPUs that are not there, plain TensorRT (``trt``) for this machine's
own. Both have one API. Networks are strongly typed: the precision of an engine is that of its graph.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtab.bundle import EngineEntry
from mtab.cuda import find_cuda
from mtab.engines.base import one_line
from mtab.engines.tensorrt import Flavor as Flavor
from mtab.engines.tensorrt import tensorrt_module
from mtab.errors import EngineError
from mtab.files import atomic_file, sha256
from mtab.progress import progress
from mtab_export.blocks import has_blocks, load_model, save_whole
from mtab_export.shapes import LEVELS, Profile, format_shapes

MODULES: dict[Flavor, str] = {"rtx": "tensorrt_rtx", "trt": "tensorrt"}
PROVIDERS: dict[Flavor, str] = {"rtx": "NvTensorRTRTXExecutionProvider", "trt": "TensorrtExecutionProvider"}
"""The execution provider of ONNX Runtime that stands for a flavor."""


@dataclass(frozen=True, slots=True)
class Built:
    """An engine that was built, and not run: the version that built it, in how long, and its bytes."""

    version: str
    seconds: float
    size: int


def tensorrt_version(flavor: Flavor) -> str:
    """The version that is installed. Raises `EngineError` if there is none."""
    return tensorrt_module(flavor)[0].__version__


def capabilities(flavor: Flavor) -> tuple[str, ...]:
    """The compute capabilities that engines can be built for here, such as ``89``.

    Raises `EngineError` if the flavor is not installed.
    """
    module, _ = tensorrt_module(flavor)
    if flavor == "rtx":
        return tuple(
            name.removeprefix("SM") for name in module.ComputeCapability.__members__ if name.startswith("SM")
        )
    return own_capabilities()


def own_capabilities() -> tuple[str, ...]:
    """The compute capabilities of this machine's GPUs, each once."""
    return tuple(dict.fromkeys(gpu.compute_capability for gpu in find_cuda().gpus))


def require_capability(flavor: Flavor, capability: str) -> None:
    """Raise `EngineError` unless engines for ``capability`` can be built here."""
    if capability in (known := capabilities(flavor)):
        return
    by = f"{MODULES[flavor]} {tensorrt_version(flavor)}"
    builds = "builds for the GPU of this machine alone" if flavor == "trt" else "does not build for it"
    expected = ", ".join(known) or "one to be there"
    raise EngineError(f"compute capability {capability}: {by} {builds}, expected {expected}")


def engine_key(
    graph: Path,
    flavor: Flavor,
    version: str,
    capability: str,
    profile: Profile,
    workspace: int | None = None,
    refit: bool = False,
    strip: bool = False,
) -> str:
    """The SHA-256, in hexadecimal, of all that an engine depends on, weights beside the graph included."""
    import onnx

    initializers = onnx.load(graph, load_external_data=False).graph.initializer
    weights = {
        entry.value for tensor in initializers for entry in tensor.external_data if entry.key == "location"
    }
    parts = {
        "graph": [sha256(graph), *(sha256(graph.parent / name) for name in sorted(weights))],
        "flavor": flavor,
        "version": version,
        "capability": capability,
        "profile": profile,
        "options": [workspace, refit, strip],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def stale_reason(entry: EngineEntry, key: str, version: str, profile: Profile) -> str | None:
    """Why an engine that is there has to be built again, None if it is what `engine_key` gave ``key`` for."""
    if entry.key == key:
        return None
    if entry.version != version:
        return f"built by {MODULES[entry.flavor]} {entry.version}, and {version} is installed"
    for level in LEVELS:
        found, expected = (format_shapes(shapes[level]) for shapes in (entry.profile, profile))
        if found != expected:
            return f"its {level} shapes are {found}, expected {expected}"
    return f"{entry.graph} or what it was built with has changed"


def build_engine(
    graph: Path,
    target: Path,
    flavor: Flavor,
    capability: str,
    profile: Profile,
    workspace: int | None = None,
    refit: bool = False,
    strip: bool = False,
) -> Built:
    """Build ``graph`` for GPUs of one compute capability, such as ``89``, and write the engine to ``target``.

    It takes the inputs of ``profile`` and may use ``workspace`` MiB beside its weights (None: no limit). The
    weights of one built with ``refit`` can be replaced; one built with ``strip`` holds none, and gets them
    from the graph where it is run. Progress is shown on a terminal. An interrupt ends the build at the
    builder's next step, which may take as long as the compilation of the kernels, and leaves nothing.

    Raises `EngineError` if the flavor is not installed or does not build for the capability, if there is no
    GPU and the weights are to be replaced, and if TensorRT refuses the graph.
    """
    require_capability(flavor, capability)
    if (refit or strip) and not find_cuda().gpus:
        raise EngineError(
            f"{graph}: a stripped or refittable engine can be built beside a GPU alone, and none is here"
        )
    begun = time.perf_counter()
    module, log = tensorrt_module(flavor)
    monitor = _monitor(module)
    flags = [module.BuilderFlag.REFIT] * refit + [module.BuilderFlag.STRIP_PLAN] * strip
    # In a thread, so that an interrupt arrives here, and never inside the builder's calls to the monitor.
    with (
        ThreadPoolExecutor(1) as pool,
        progress(f"building {target.name}") as shown,
    ):
        building = pool.submit(
            _build,
            module,
            log,
            monitor,
            graph,
            capability if flavor == "rtx" else None,
            profile,
            workspace,
            flags,
        )
        try:
            while wait([building], timeout=0.5).not_done:
                shown.describe(f"building {target.name}: {monitor.phase}")
        except BaseException:
            monitor.cancelled = True
            raise
    plan = building.result()
    with atomic_file(target) as partial:
        partial.write_bytes(plan)
    return Built(module.__version__, time.perf_counter() - begun, target.stat().st_size)


def _parse(parser: Any, graph: Path) -> bool:
    """Read a graph by its path, so that the weights beside it are found; one in blocks as the whole.

    TensorRT fuses attention by itself, but not in a loop; and no CUDA graph holds a loop.
    """
    if not has_blocks(graph):
        return parser.parse_from_file(str(graph))
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / graph.name
        save_whole(load_model(graph), whole)
        return parser.parse_from_file(str(whole))


def _build(
    module: Any,
    log: Any,
    monitor: Any,
    graph: Path,
    capability: str | None,
    profile: Profile,
    workspace: int | None,
    flags: list[Any],
) -> Any:
    """The serialized engine, as TensorRT's own memory."""
    by = f"{module.__name__} {module.__version__}"
    log.error = ""
    builder = module.Builder(log)
    # Where there is no such flag any more, every network is.
    typed = module.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = module.OnnxParser(network, log)
    if not _parse(parser, graph):
        error = parser.get_error(0)
        node = f"node {error.node_name() or error.node()} ({error.node_operator()})"
        what = node if error.node_operator() else "it"
        raise EngineError(f"{graph}: {by} cannot read {what}: {error.code().name}, {error.desc()}")
    config = builder.create_builder_config()
    # It keeps 10 bits of a float32: too few for the parity promised.
    config.clear_flag(module.BuilderFlag.TF32)
    for flag in flags:
        config.set_flag(flag)
    if workspace is not None:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, workspace << 20)
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(module.ComputeCapability.__members__[f"SM{capability}"], 0)
    shapes = builder.create_optimization_profile()
    for name in profile["min"]:
        shapes.set_shape(name, *(profile[level][name] for level in LEVELS))
    config.add_optimization_profile(shapes)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        wanted = "" if capability is None else f" for compute capability {capability}"
        raise EngineError(f"{graph}: {by} cannot build it{wanted} ({log.error})")
    return plan


def ort_trt_options(
    profile: Profile, flavor: Flavor, workspace: int | None = None, cache: Path | None = None
) -> dict[str, str]:
    """What ONNX Runtime's provider of a flavor takes, so that it builds what `build_engine` does.

    ``workspace`` is in MiB. ``cache`` is a folder for what is compiled, which belongs to one machine: a file
    for others has none.
    """
    prefix = {"rtx": "nv", "trt": "trt"}[flavor]
    options = {f"{prefix}_profile_{level}_shapes": format_shapes(profile[level]) for level in LEVELS}
    if workspace is not None:
        options[f"{prefix}_max_workspace_size"] = str(workspace << 20)
    if cache is not None and flavor == "rtx":
        options["nv_runtime_cache_path"] = str(cache)
    elif cache is not None:
        for kind in ("engine", "timing"):
            options |= {f"trt_{kind}_cache_enable": "1", f"trt_{kind}_cache_path": str(cache)}
    return options


def provider_options(flavor: Flavor, options: Mapping[str, str]) -> Any:
    """ONNX Runtime's session options with the provider of a flavor, and with no other.

    TensorRT-RTX comes as a plugin beside ONNX Runtime, or built into it. Raises `EngineError`, with what to
    install, if the provider or its GPU is not there.
    """
    import onnxruntime

    from mtab.engines.onnxruntime import register_plugin

    provider = PROVIDERS[flavor]
    session = onnxruntime.SessionOptions()
    session.log_severity_level = 4
    if provider in onnxruntime.get_available_providers():
        session.add_provider(provider, dict(options))
        return session
    if flavor == "trt":
        raise EngineError(
            f"this ONNX Runtime has no {provider}; in a new environment: pip install 'mtab[gpu]'"
        )
    register_plugin(provider)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == provider]
    if not devices:
        raise EngineError(f"{provider}: finds no GPU that it supports")
    session.add_provider_for_devices(devices[:1], dict(options))
    return session


def make_ep_context(graph: Path, target: Path, flavor: Flavor, options: Mapping[str, str]) -> None:
    """Write the graph as ONNX Runtime's provider compiles it for this machine's GPU, as one EPContext node.

    ``options`` are those of `ort_trt_options`. The file stands for itself: engine and weights are inside.
    Raises `EngineError` if the provider or a GPU is not there, and if it cannot compile the whole graph.
    """
    import onnxruntime

    with atomic_file(target) as partial:
        if flavor == "trt":
            # The provider's own names for what the session configures in the plugin.
            keys = ("trt_dump_ep_context_model", "trt_ep_context_file_path", "trt_ep_context_embed_mode")
            values = dict(zip(keys, ("1", str(partial.absolute()), "1"), strict=True))
            session = provider_options(flavor, {**options, **values})
        else:
            session = provider_options(flavor, options)
            session.add_session_config_entry("ep.context_enable", "1")
            session.add_session_config_entry("ep.context_file_path", str(partial.absolute()))
            session.add_session_config_entry("ep.context_embed_mode", "1")
        try:
            onnxruntime.InferenceSession(graph, session, enable_fallback=0)
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise EngineError(f"{graph}: {PROVIDERS[flavor]} cannot compile it ({one_line(error)})") from None
        if not partial.is_file():
            raise EngineError(f"{graph}: {PROVIDERS[flavor]} wrote no EPContext model")


def _monitor(module: Any) -> Any:
    class Monitor(module.IProgressMonitor):
        """Where the builder is, and whether it should stop."""

        def __init__(self) -> None:
            super().__init__()
            self.cancelled = False
            self.phase = ""

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.phase = phase

        def step_complete(self, phase: str, step: int) -> bool:
            return not self.cancelled

        def phase_finish(self, phase: str) -> None:
            pass

    return Monitor()
