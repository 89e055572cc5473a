"""OpenVINO: a bundle's graph in the precision that it is typed in, or such a graph with int8 weights."""

import mmap
import os
import platform
import queue
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from mtab import __version__
from mtab.engines import graph_cache, openvino_int8
from mtab.engines.base import Engine, Tensor, check_threads, one_line, parse_device
from mtab.errors import EngineError
from mtab.machine import instruction_sets, limited_cores, saturates_int8, usable_cores
from mtab.types import OperatorKind, Precision

# OpenVINO's names for the arithmetic, and for the capability that a device needs for it. Without a hint it
# computes in bfloat16 wherever it can; a hint that a device cannot follow it drops without a word. The hint
# for bfloat16 would round all of a graph, its float32 islands too; that for float32 leaves every operator of
# a graph that is typed in bfloat16 in the type that it has.
_HINTS = {"fp32": ("f32", "FP32"), "bf16": ("f32", "BF16"), "fp16": ("f16", "FP16")}
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""What limits oneDNN, which computes for OpenVINO, to a part of what the processor can do."""
_WITHOUT_VNNI = ("SSE41", "AVX", "AVX2", "AVX512_CORE")
"""oneDNN's names for what a processor may be limited to, of those that have no products of whole numbers."""
_WITHOUT_BF16 = (*_WITHOUT_VNNI, "AVX2_VNNI", "AVX512_CORE_VNNI")
_FLOAT32_MARK = "precise_0"
"""OpenVINO's mark of an operator that is not converted to half precision."""
_KEPT = 1000
"""Operators compiled for a shape that are kept, the most recent ones."""
_COMPILED = "model.blob"


class OpenVinoEngine(Engine):
    """One ONNX graph in OpenVINO, in the precision that was asked for and in no other."""

    title = "OpenVINO"
    # It compiles for a shape and keeps that; a new one takes three times as long.
    pays_for_new_lengths = True

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        threads: int | None = None,
        precision: Precision = "fp32",
        content: str | None = None,
        streams: int = 1,
        unquantized: Collection[OperatorKind] = (),
    ) -> None:
        """``path`` is a graph typed in ``precision``: fp32, bf16 or fp16; for int8 one of `sources_of` it.

        ``device`` is ``cpu``, or ``gpu`` or ``gpu:N`` for Intel's; ``threads`` of the CPU work on an operator
        (None: one a core), and are shared by ``streams`` calls at once. What a graph leaves in float32 is
        computed in float32. In int8 weights become int8 as the graph is read, a scale for each output, and
        activations as they come; the rest is as it was, with the kinds of operators that are ``unquantized``.
        ``content`` is a hash of the graph and its weights:
        with it what OpenVINO compiles for the CPU is kept in the user's cache, and the next engine begins
        from there.

        Raises `EngineError` if OpenVINO is not installed or has no such device here, if the device has no
        arithmetic of that precision, and if the graph cannot be read, or takes its weights from outside its
        folder.
        """
        compiled, self._weights = compile_graph(
            path, device, threads, precision, content, streams, unquantized
        )
        self._answered = False
        self._requests = queue.SimpleQueue[Any]()
        with _loading(path):
            # One a stream; more at a time would wait for the same cores, each with its own memory.
            for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
                self._requests.put(compiled.create_infer_request())
        super().__init__(
            "openvino",
            path,
            device,
            precision,
            map(_tensor, compiled.inputs),
            map(_tensor, compiled.outputs),
        )
        self.streams = streams

    def _compute(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        request = self._requests.get()
        try:
            answers = request.infer(dict(feed))
            return [answers[i] for i in range(len(self.outputs))]
        finally:
            self._requests.put(request)
            if not self._answered:
                # Most matrices are laid out by now, and some for the first length alone.
                self._answered = True
                _give_back(self._weights)


def compile_graph(
    path: Path,
    device: str = "cpu",
    threads: int | None = None,
    precision: Precision = "fp32",
    content: str | None = None,
    streams: int = 1,
    unquantized: Collection[OperatorKind] = (),
    counters: bool = False,
) -> tuple[Any, mmap.mmap | None]:
    """A graph compiled by OpenVINO, as `OpenVinoEngine` says; with ``counters`` of each operator's time.

    Beside it the file of the cache that its weights are in, mapped, to be held as long as the model; or None.
    """
    kind, index = parse_device(device, ("cpu", "gpu"), "openvino")
    check_threads(threads)
    core = _openvino().Core()
    # A single GPU has no number in the list.
    target = kind.upper() + (f".{index}" if index else "")
    found = core.available_devices
    if target not in found and f"{target}.0" not in found:
        raise EngineError(f"device {device}: OpenVINO finds {', '.join(found)}, expected {target}")
    hint = hint_of(device, precision, core.get_property(target, "OPTIMIZATION_CAPABILITIES"))
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERF_COUNT": counters}
    if kind == "cpu":
        settings["CPU_RUNTIME_CACHE_CAPACITY"] = _KEPT
        settings["NUM_STREAMS"] = streams
    if kind == "cpu" and (number := threads or limited_cores()):
        settings["INFERENCE_NUM_THREADS"] = number
    if precision == "int8":
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = openvino_int8.GROUP
    if kind == "cpu" and content is not None:
        compiled, weights = _through_cache(core, path, settings, precision, unquantized, content)
    else:
        compiled, weights = _compile(core, path, target, settings, precision, unquantized), None
    used = compiled.get_property("INFERENCE_PRECISION_HINT")
    if used.to_string() != hint:
        raise EngineError(f"device {device}: OpenVINO computes in {used.to_string()}, expected {hint}")
    return compiled, weights


def _through_cache(
    core: Any,
    path: Path,
    settings: Mapping[str, Any],
    precision: Precision,
    unquantized: Collection[OperatorKind],
    content: str,
) -> tuple[Any, mmap.mmap | None]:
    """A graph compiled for the CPU: as it was kept, or else kept now."""
    decisive = {
        **settings,
        "openvino": _openvino().get_version(),
        # Which make int8 of other weights, and keep operators in float32.
        "mtab": __version__,
        "int8": openvino_int8.VERSION,
        "unquantized": " ".join(sorted(unquantized)),
        "precision": precision,
        "cores": usable_cores(),
        **{name: os.environ.get(name) for name in _LIMITS},
    }
    folder = graph_cache.folder_of(content, *(f"{name} {value}" for name, value in decisive.items()))
    if (blob := graph_cache.kept(folder, _COMPILED)) is not None:
        try:
            return _import(core, path, blob, settings)
        except EngineError:
            graph_cache.forget(folder)
    # A cache that is full or read-only keeps no model from being loaded.
    with suppress(OSError, EngineError), graph_cache.keeping(folder, path) as partial:
        compiled = _compile(core, path, "CPU", settings, precision, unquantized)
        _export(compiled, path, partial / _COMPILED)
        # As all that come later do: no memory is held by what it was made from.
        return _import(core, path, partial / _COMPILED, settings)
    return _compile(core, path, "CPU", settings, precision, unquantized), None


def _compile(
    core: Any,
    path: Path,
    target: str,
    settings: Mapping[str, Any],
    precision: Precision,
    unquantized: Collection[OperatorKind],
) -> Any:
    with _loading(path):
        model = read_graph(path)
        if precision == "int8":
            openvino_int8.compress_weights(model, unquantized)
        elif precision == "fp16":
            keep_float32(model)
        return core.compile_model(model, target, settings)


def _export(compiled: Any, path: Path, blob: Path) -> None:
    with _loading(path):
        exported = compiled.export_model()
    blob.write_bytes(exported.getbuffer())


def _import(core: Any, path: Path, blob: Path, settings: Mapping[str, Any]) -> tuple[Any, mmap.mmap]:
    """What `_export` wrote of ``path``, and the mapping that its weights are in."""
    with _loading(path), blob.open("rb") as file:
        # OpenVINO copies what is read-only. It writes to none of this.
        weights = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        tensor = _openvino().Tensor(np.frombuffer(weights, np.uint8), shared_memory=True)
        compiled = core.import_model(tensor, "CPU", settings)
    _give_back(weights)
    return compiled, weights


def _give_back(weights: mmap.mmap | None) -> None:
    """Let go of a file's pages: what is needed again comes from there again."""
    if weights is not None and hasattr(mmap, "MADV_DONTNEED"):
        # What is locked into memory stays there.
        with suppress(OSError):
            weights.madvise(mmap.MADV_DONTNEED)


@contextmanager
def _loading(path: Path) -> Iterator[None]:
    """Whatever OpenVINO raises for a graph that it cannot take, as `EngineError`."""
    try:
        yield
    except Exception as error:  # its exceptions have no common base
        raise EngineError(f"{path}: OpenVINO cannot load it ({one_line(error)})") from None


def read_graph(path: Path) -> Any:
    """An ONNX file as OpenVINO's model, its weights mapped into memory.

    Read as ONNX and as nothing else: asked for any format, OpenVINO tries them all, TensorFlow's aloud.
    """
    from openvino.frontend import FrontEndManager

    reader = FrontEndManager().load_by_framework("onnx")
    return reader.convert(reader.load(str(path)))


def keep_float32(model: Any) -> int:
    """Keep what a graph typed in fp16 computes in float32 out of fp16, and return the number of operators.

    Where OpenVINO is told to compute in fp16 it would convert them too.
    """
    from openvino import Type

    number = 0
    for node in model.get_ops():
        if node.get_type_name() in ("Constant", "Parameter", "Result", "Convert"):
            continue
        if node.get_type_name() == "Loop":
            number += keep_float32(node.get_function())
        if any(output.get_element_type() == Type.f32 for output in node.outputs()):
            node.get_rt_info()[_FLOAT32_MARK] = True
            number += 1
    return number


def _openvino() -> Any:
    try:
        import openvino
    except ModuleNotFoundError:
        raise EngineError("engine openvino: not installed: pip install 'mtab[openvino]'") from None
    except ImportError as error:
        raise EngineError(f"engine openvino: cannot be loaded ({one_line(error)})") from None
    return openvino


def sources_of(precision: Precision) -> tuple[Precision, ...]:
    """The precisions of the graphs that one may be computed from, the best one first.

    What int8 leaves is as fast as the rest of its graph: in bfloat16 where the processor multiplies that.
    """
    if precision != "int8":
        return (precision,)
    return ("bf16", "fp32") if multiplies_bf16() else ("fp32",)


def hint_of(device: str, precision: Precision, capabilities: Sequence[str]) -> str:
    """What arithmetic to ask a device for; `EngineError` if it has none of that precision."""
    if precision == "int8":
        # It says INT8 of every x86, and multiplies in float32 on those without.
        if device == "cpu" and not multiplies_int8():
            raise EngineError("engine openvino: int8 needs a processor with VNNI, expected fp32 here")
        precision = "fp32"
    if precision not in _HINTS:
        raise EngineError(f"engine openvino: precision {precision}, expected {', '.join(_HINTS)} or int8")
    hint, needed = _HINTS[precision]
    if needed not in capabilities:
        found = ", ".join(capabilities)
        raise EngineError(f"engine openvino: {device} here has {found}, expected {needed} for {precision}")
    return hint


def multiplies_int8() -> bool:
    """Whether the processor multiplies whole numbers, and oneDNN, which computes for OpenVINO, may use it."""
    return _onednn_limit() not in _WITHOUT_VNNI and not saturates_int8(platform.machine(), instruction_sets())


def multiplies_bf16() -> bool:
    """Whether the processor multiplies bfloat16, and oneDNN may use it."""
    return _onednn_limit() not in _WITHOUT_BF16 and not {"bf16", "amx"}.isdisjoint(instruction_sets() or ())


def _onednn_limit() -> str:
    return next((limit for name in _LIMITS if (limit := os.environ.get(name))), "").upper()


def _tensor(port: Any) -> Tensor:
    shape = port.get_partial_shape()
    axes = tuple(axis.get_length() if axis.is_static else None for axis in shape)
    return Tensor(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()).name, axes)
