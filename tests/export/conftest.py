"""A run to export, and graphs to quantise and to build engines of."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mtab_export.int8 import quantize

from .engine_parts import WEIGHT
from .int8_graphs import open_session, write


@pytest.fixture
def own_run(tone_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, without its bundle."""
    return Path(shutil.copytree(tone_run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle")))


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a graph from x, float32 (batch, 64), to y, float32 (batch, 32)."""

    def save_graph(nodes: list[NodeProto], initializers: dict[str, np.ndarray | TensorProto]) -> Path:
        x, y = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name, size in (("x", 64), ("y", 32))
        )
        tensors = [
            numpy_helper.from_array(value, name) if isinstance(value, np.ndarray) else value
            for name, value in initializers.items()
        ]
        graph = helper.make_graph(nodes, "graph", [x], [y], tensors)
        path = tmp_path / "graph.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
        return path

    return save_graph


@pytest.fixture
def product(save: Callable[..., Path]) -> Path:
    """A graph of one fp32 product, its weights beside it in another file."""
    path = save([helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], {"w": WEIGHT})
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="graph.onnx.data", size_threshold=0)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("source") / "model.onnx")


@pytest.fixture(scope="module")
def target(source: Path) -> Path:
    target = source.with_name("model_int8.onnx")
    quantize(source, target, reduce_range=True)
    return target


@pytest.fixture(scope="module")
def session(target: Path) -> onnxruntime.InferenceSession:
    return open_session(target)
