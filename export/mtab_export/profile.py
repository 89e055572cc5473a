"""Which nodes of a graph ONNX Runtime ran, where, and for how long."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtab.errors import EngineError


@dataclass(frozen=True, slots=True)
class Event:
    """One node that ran; weights that ONNX Runtime has packed are not among ``inputs``, which are shapes.

    ``size`` are the bytes that it read and wrote, packed weights left out.
    """

    node: str
    operator: str
    provider: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    microseconds: int
    size: int


def profile(
    path: Path,
    inputs: Mapping[str, np.ndarray],
    provider: tuple[str, dict[str, str]],
    optimised: bool,
    threads: int = 0,
    runs: int = 1,
) -> list[Event]:
    """What ONNX Runtime says of ``runs`` runs after the first, on ``threads`` threads (0: one a core).

    Raises `EngineError` if it cannot run the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if not optimised:
        # The nodes are those of the file then.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        try:
            session = onnxruntime.InferenceSession(path, options, providers=[provider], enable_fallback=0)
            for _ in range(1 + runs):
                session.run(None, inputs)
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise EngineError(f"ONNX Runtime cannot run it ({' '.join(str(error).split())})") from None
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    begun = sorted(event["ts"] for event in events if event["name"] == "model_run")[1]
    return [_event(event) for event in events if event["cat"] == "Node" and event["ts"] >= begun]


def _event(event: Mapping[str, Any]) -> Event:
    values = event["args"]

    def shapes(key: str) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(shape) for each in values[key] for shape in each.values())

    return Event(
        node=event["name"].removesuffix("_kernel_time"),
        operator=values["op_name"],
        provider=values["provider"],
        inputs=shapes("input_type_shape"),
        outputs=shapes("output_type_shape"),
        microseconds=event["dur"],
        size=sum(int(values[f"{what}_size"]) for what in ("activation", "parameter", "output")),
    )
