"""Graphs run by ONNX Runtime and by ONNX's reference, and their types."""

from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime

Arrays = dict[str, np.ndarray]
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
LEVELS = [
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
]


def run(path: Path, feeds: Arrays, level: onnxruntime.GraphOptimizationLevel = LEVELS[-1]) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    answers = session.run(None, {value.name: feeds[value.name] for value in session.get_inputs()})
    return {value.name: np.asarray(a) for value, a in zip(session.get_outputs(), answers, strict=True)}


def refer(path: Path, feeds: Arrays) -> Arrays:
    """ONNX's own reference implementation, which computes fp16 in fp16."""
    evaluator = onnx.reference.ReferenceEvaluator(onnx.load(path))
    with np.errstate(all="ignore"):
        answers = evaluator.run(None, {str(name): feeds[str(name)] for name in evaluator.input_names})
    return {str(name): np.asarray(a) for name, a in zip(evaluator.output_names, answers, strict=True)}


def kinds(path: Path) -> dict[str, list[str]]:
    """The types of every node's inputs and outputs."""
    return {
        node.name or "": [v.dtype.name for v in (*node.inputs, *node.outputs) if v is not None and v.dtype]
        for node in ir.load(path).graph
    }
