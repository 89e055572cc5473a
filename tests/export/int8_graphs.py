"""A graph with every kind of product, and what runs it."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import onnxruntime
from onnx import numpy_helper

UNOPTIMISED = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
OPTIMISED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL

# As in an exported model: a tensor that two products take, a weight cut out of a packed one, a Gemm, a
# product of activations, and a classifier.
NODES = [
    ("layer.q_proj/MatMul_0", ["x", "q"], ["query"], {}),
    ("layer.cut/Split_1", ["packed", "sizes"], ["left", "right"], {"axis": 0}),
    ("layer.cut/Transpose_2", ["right"], ["value_weight"], {"perm": [1, 0]}),
    ("layer.v_proj/MatMul_3", ["x", "value_weight"], ["value"], {}),
    ("layer.v_proj/Add_4", ["value", "value_bias"], ["biased"], {}),
    ("layer/Transpose_5", ["biased"], ["turned"], {"perm": [0, 2, 1]}),
    ("layer/MatMul_6", ["query", "turned"], ["scores"], {}),
    ("layer/MatMul_7", ["scores", "biased"], ["mixed"], {}),
    ("layer/Relu_8", ["mixed"], ["y"], {}),
    ("layer/Reshape_9", ["x", "shape"], ["flat"], {}),
    ("out_proj/Gemm_10", ["flat", "out", "out_bias"], ["gemm"], {"transB": 1}),
    ("classifier/Gemm_11", ["gemm", "last", "last_bias"], ["logits"], {"transB": 1}),
]
SHAPES = {
    "q": (16, 24),
    "packed": (40, 16),
    "value_bias": (24,),
    "out": (12, 16),
    "out_bias": (12,),
    "last": (2, 12),
    "last_bias": (2,),
}
WEIGHTS = {
    name: np.random.default_rng(i).normal(size=s).astype(np.float32)
    for i, (name, s) in enumerate(SHAPES.items())
}


def write(path: Path, weights: dict[str, np.ndarray] = WEIGHTS) -> Path:
    arrays = weights | {"sizes": np.array([16, 24]), "shape": np.array([-1, 16])}

    def value(name: str, *axes: str | int) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, axes)

    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node(re.split(r"[/_]", name)[-2], inputs, outputs, name, **attributes)
            for name, inputs, outputs, attributes in NODES
        ],
        "block",
        [value("x", "batch", "steps", 16)],
        [
            value("query", "batch", "steps", 24),
            value("y", "batch", "steps", 24),
            value("gemm", "rows", 12),
            value("logits", "rows", 2),
        ],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    # The reference evaluator has no DequantizeLinear of opset 18.
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=10)
    onnx.helper.set_model_props(model, {"labels": "calm,loud"})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=64)
    return path


def open_session(
    path: Path, level: onnxruntime.GraphOptimizationLevel = OPTIMISED
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def answers(session: onnxruntime.InferenceSession, x: np.ndarray) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(np.asarray, session.run(names, {"x": x})), strict=True))


def reference(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    evaluator = onnx.reference.ReferenceEvaluator(onnx.load(path))
    names = [str(name) for name in evaluator.output_names]
    return dict(zip(names, map(np.asarray, evaluator.run(None, {"x": x})), strict=True))


def speech(*shape: int, seed: int = 0) -> np.ndarray:
    """Rows from quiet to loud."""
    random = np.random.default_rng(seed)
    return (random.normal(size=shape) * 10 ** random.uniform(-3, 3, (*shape[:-1], 1))).astype(np.float32)
