"""Inference engines: a graph on a device. One so far, ONNX Runtime on its CPU and CUDA providers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime

from mtab.errors import EngineError
from mtab.graphs import GraphSpec

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

_DEVICE = re.compile(r"cpu|(cuda)(?::([0-9]+))?")
_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}


class OnnxRuntimeEngine:
    """One ONNX graph in ONNX Runtime, on the device that was asked for and on no other.

    ``inputs`` and ``outputs`` are the names of the graph's. Safe to `run` from many threads at once.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, device: str = "cpu", threads: int | None = None) -> None:
        """``device`` is ``cpu``, ``cuda`` or ``cuda:N``; ``threads`` work on an operator (None: one a core).

        Raises `EngineError` if the device cannot be used here or the graph cannot be read; also if the graph
        takes its weights from outside its folder.
        """
        provider, provider_options = _provider(device)
        if threads is not None and threads < 1:
            raise EngineError(f"{threads} threads, expected 1 or more")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # What it has to say comes as an exception, in one line of ours.
        options.log_severity_level = 4
        try:
            # Without its fallback, which would go on on the CPU where a GPU fails.
            self._session = onnxruntime.InferenceSession(
                path, options, providers=[(provider, provider_options)], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise EngineError(f"{path}: ONNX Runtime cannot load it ({_one_line(error)})") from None
        if (used := self._session.get_providers()[0]) != provider:
            raise EngineError(f"device {device}: ONNX Runtime chose {used}, expected {provider}")
        self.path = path
        self.device = device
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())

    def require(self, spec: GraphSpec) -> None:
        """Raise `EngineError` unless the graph has the inputs and outputs of ``spec``, in its order."""
        for side, tensors, found in (
            ("takes", spec.inputs, self._session.get_inputs()),
            ("answers", spec.outputs, self._session.get_outputs()),
        ):
            expected = _described((spec.name, _TYPES[spec.dtype], spec.axes) for spec in tensors)
            described = _described((value.name, value.type, value.shape) for value in found)
            if described != expected:
                raise EngineError(f"{self.path}: {side} {described}, expected {expected}")

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The graph's outputs by name. Raises `EngineError` if the device fails, as it does out of memory."""
        feed = {name: inputs[name] for name in self.inputs}
        try:
            answers = cast(list[np.ndarray], self._session.run(self.outputs, feed))
        except Exception as error:  # as above
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
            raise EngineError(
                f"{self.path}: ONNX Runtime fails on {self.device} with {shapes} ({_one_line(error)})"
            ) from None
        return dict(zip(self.outputs, answers, strict=True))


def run_in_sequence(
    engines: Iterable[OnnxRuntimeEngine], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The parts of a model one after another: ``inputs`` and every part's outputs, by name."""
    values = dict(inputs)
    for engine in engines:
        values |= engine.run(values)
    return values


def _provider(device: str) -> tuple[str, dict[str, str]]:
    """The execution provider of ``device`` with its options."""
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise EngineError(f"device {device!r}, expected cpu, cuda or cuda:N")
    cuda, index = match.groups()
    provider = PROVIDERS[cuda or "cpu"]
    if provider not in onnxruntime.get_available_providers():
        raise EngineError(
            f"device {device}: this ONNX Runtime has no {provider}, expected one that has; "
            "in a new environment: pip install 'mtab[gpu]'"
        )
    # TF32, ONNX Runtime's default on a GPU, keeps 10 bits of a float32: too few for the parity promised.
    return provider, {"device_id": index or "0", "use_tf32": "0"} if cuda else {}


def _described(tensors: Iterable[tuple[str, str, Sequence[Any]]]) -> str:
    return ", ".join(f"{name} {kind} {list(axes)}" for name, kind, axes in tensors)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
