"""OpenVINO: a bundle's graph in the precision that it is typed in, or its float32 graph with int8 weights."""

import os
import platform
import queue
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtab.engines.base import Engine, Tensor, check_threads, one_line, parse_device
from mtab.errors import EngineError
from mtab.machine import instruction_sets, limited_cores, saturates_int8
from mtab.types import Precision

# OpenVINO's names for the arithmetic, and for the capability that a device needs for it. Without a hint it
# computes in bfloat16 wherever it can; a hint that a device cannot follow it drops without a word. The hint
# for bfloat16 would round all of a graph, its float32 islands too; that for float32 leaves every operator of
# a graph that is typed in bfloat16 in the type that it has.
_HINTS = {"fp32": ("f32", "FP32"), "bf16": ("f32", "BF16"), "fp16": ("f16", "FP16")}
_WITHOUT_VNNI = ("SSE41", "AVX", "AVX2", "AVX512_CORE")
"""oneDNN's names for what a processor may be limited to, of those that have no products of whole numbers."""
_FLOAT32_MARK = "precise_0"
"""OpenVINO's mark of an operator that is not converted to half precision."""
_GROUP = 768
"""Neighbours in a row of activations that share a scale in int8: a divisor of every width of `base`."""


_KEPT = 1000
"""Operators compiled for a shape that are kept, the most recent ones."""


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
        streams: int = 1,
    ) -> None:
        """``path`` is a graph typed in ``precision``: fp32, bf16 or fp16; for int8 a float32 graph.

        ``device`` is ``cpu``, or ``gpu`` or ``gpu:N`` for Intel's; ``threads`` of the CPU work on an operator
        (None: one a core), and are shared by ``streams`` calls at once. What a graph leaves in float32 is
        computed in float32. In int8 weights become int8 as the graph is read, a scale for each output, and
        activations as they come; the rest is in float32.

        Raises `EngineError` if OpenVINO is not installed or has no such device here, if the device has no
        arithmetic of that precision, and if the graph cannot be read, or takes its weights from outside its
        folder.
        """
        compiled = compile_graph(path, device, threads, precision, streams)
        self._requests = queue.SimpleQueue[Any]()
        try:
            # One a stream; more at a time would wait for the same cores, each with its own memory.
            for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
                self._requests.put(compiled.create_infer_request())
        except Exception as error:  # as when it is compiled
            raise _cannot_load(path, error) from None
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


def compile_graph(
    path: Path,
    device: str = "cpu",
    threads: int | None = None,
    precision: Precision = "fp32",
    streams: int = 1,
    counters: bool = False,
) -> Any:
    """A graph compiled by OpenVINO, as `OpenVinoEngine` says; with ``counters`` of each operator's time."""
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
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _GROUP
    try:
        model = read_graph(path)
        if precision == "int8":
            compress_weights(model)
        elif precision == "fp16":
            keep_float32(model)
        compiled = core.compile_model(model, target, settings)
        used = compiled.get_property("INFERENCE_PRECISION_HINT")
    except Exception as error:  # whatever OpenVINO raises for a graph that it cannot take
        raise _cannot_load(path, error) from None
    if used.to_string() != hint:
        raise EngineError(f"device {device}: OpenVINO computes in {used.to_string()}, expected {hint}")
    return compiled


def _cannot_load(path: Path, error: Exception) -> EngineError:
    return EngineError(f"{path}: OpenVINO cannot load it ({one_line(error)})")


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


def compress_weights(model: Any) -> int:
    """Turn the float32 matrices of a model's products into int8, and return their number.

    The largest weight of each output becomes ±127. This is the form in which OpenVINO multiplies whole
    numbers where it is told to quantise activations, and else restores the weights as it goes.
    """
    from openvino import Type, opset13

    number = 0
    for node in model.get_ops():
        if node.get_type_name() != "MatMul":
            continue
        constant = node.input_value(1).get_node()
        if constant.get_type_name() != "Constant" or len(constant.shape) != 2:
            continue
        if constant.get_element_type() != Type.f32:
            continue
        weights = constant.data
        axis = 1 if node.get_attributes()["transpose_b"] else 0
        scales = np.abs(weights).max(axis=axis, keepdims=True) / np.float32(127)
        scales[scales == 0] = 1
        whole = np.rint(weights / scales).astype(np.int8)
        restored = opset13.multiply(opset13.convert(opset13.constant(whole), "f32"), opset13.constant(scales))
        node.input(1).replace_source_output(restored.output(0))
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
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    return limit.upper() not in _WITHOUT_VNNI and not saturates_int8(platform.machine(), instruction_sets())


def _tensor(port: Any) -> Tensor:
    shape = port.get_partial_shape()
    axes = tuple(axis.get_length() if axis.is_static else None for axis in shape)
    return Tensor(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()).name, axes)
