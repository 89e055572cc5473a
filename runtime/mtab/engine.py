"""Inference engines: a graph on a device. One so far, ONNX Runtime on its CPU and CUDA providers."""

from pathlib import Path

import numpy as np
import onnxruntime

from mtab.errors import EngineError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeEngine:
    """One ONNX graph in ONNX Runtime, on the device that was asked for and on no other.

    ``device`` is ``cpu``, ``cuda`` or ``cuda:N``; ``threads`` is the number within an operator (None: one a
    core). Safe to `run` from many threads at once.
    Raises `EngineError` if the device cannot be used here or the graph cannot be read.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, device: str = "cpu", threads: int | None = None) -> None:
        kind, _, index = device.partition(":")
        if kind not in PROVIDERS or (index and (kind == "cpu" or not index.isdecimal())):
            raise EngineError(f"device {device!r}, expected cpu, cuda or cuda:N")
        provider = PROVIDERS[kind]
        if provider not in onnxruntime.get_available_providers():
            raise EngineError(
                f"device {device}: this ONNX Runtime has no {provider}, expected one that has; "
                "in a new environment: pip install 'mtab[gpu]'"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # What it has to say comes as an exception, in one line of ours.
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=[(provider, {"device_id": index or "0"} if kind == "cuda" else {})]
            )
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise EngineError(f"{path}: ONNX Runtime cannot load it ({error})") from None
        if (used := self._session.get_providers()[0]) != provider:
            raise EngineError(f"device {device}: ONNX Runtime chose {used}, expected {provider}")
        self.device = device
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The graph's outputs by name."""
        answers = self._session.run(self.outputs, {name: inputs[name] for name in self.inputs})
        return dict(zip(self.outputs, answers, strict=True))
