"""Inference engines: a model's graph on a device, each behind `mtab.engines.base.Engine`."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from mtab.engines.base import Engine

ENGINES = (
    "onnxruntime",
    "onnxruntime-tensorrt",
    "onnxruntime-tensorrt-rtx",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
)
"""What `mtab.load` takes for ``engine``; `mtab.engines.opening.open_engine` opens one."""


def run_in_sequence(
    engines: "Iterable[Engine]", inputs: "Mapping[str, np.ndarray]"
) -> "dict[str, np.ndarray]":
    """The parts of a model one after another: ``inputs`` and every part's outputs, by name."""
    values = dict(inputs)
    for engine in engines:
        values |= engine.run(values)
    return values
