"""OpenVINO's int8: products and convolutions with whole numbers, beside numpy's and the float32 graph's."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

import mtab.engines.openvino as module
import mtab.engines.openvino_int8 as int8
from mtab.bundle import open_bundle
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.engines.opening import openvino_graph
from mtab.engines.openvino import multiplies_bf16, read_graph, sources_of
from mtab.engines.openvino_int8 import compress_weights
from mtab.graphs import BUDGETS
from mtab.types import OperatorKind
from mtab_export.blocks import load_model

from .openvino_engine import BATCHES, LIMITED

openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
pytestmark = pytest.mark.skipif(LIMITED, reason="OpenVINO computes nothing with SSE4.1 alone")

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
"""Weights in int8, restored to float32 before they are multiplied."""


def write_node(path: Path, x: tuple[int | str, ...], w: np.ndarray, kind: str, **attributes: object) -> Path:
    """A graph of one node: ``kind`` of x and the constant w."""
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, x),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["?"] * len(x)),
    ]
    weight = helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.tobytes(), raw=True)
    node = helper.make_node(kind, ["x", "w"], ["y"], **attributes)
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def answer(model: object, x: np.ndarray) -> np.ndarray:
    compiled = openvino.compile_model(model, "CPU", EXACT)
    return compiled.create_infer_request().infer({"x": x})[0]


def test_weights_in_int8(tmp_path: Path) -> None:
    """Of y = x @ w for each column of w: the largest weight exactly, all within half a step."""
    random = np.random.default_rng(0)
    w = random.normal(size=(32, 8)).astype(np.float32) * np.logspace(-3, 2, 8, dtype=np.float32)
    w[:, 5] = 0
    read = read_graph(write_node(tmp_path / "product.onnx", ("rows", 32), w, "MatMul"))
    assert compress_weights(read) == 1
    found = answer(read, np.eye(32, dtype=np.float32))
    step = np.abs(w).max(axis=0) / 127
    assert (np.abs(found - w) <= step * 0.501).all()
    rows = np.abs(w).argmax(axis=0)
    np.testing.assert_allclose(found[rows, range(8)], w[rows, range(8)], rtol=1e-6)
    assert np.unique(np.rint(found[:, 0] / step[0])).size > 16


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "pads"),
    [
        (3, 2, 1, (0, 0)),
        (2, 2, 1, (0, 0)),
        (2, 1, 4, (0, 4)),
        (5, 2, 1, (2, 2)),
        (1, 1, 1, (0, 0)),
        (1, 3, 1, (1, 0)),
    ],
)
@pytest.mark.parametrize("length", [23, 40])
def test_convolutions_in_int8(
    kernel: int, stride: int, dilation: int, pads: tuple[int, int], length: int, tmp_path: Path
) -> None:
    """PyTorch's with the same weights, rounded by hand to 127 steps of each output's largest."""
    random = np.random.default_rng(kernel)
    w = random.normal(size=(16, 256, kernel)).astype(np.float32)
    x = random.normal(size=(2, 256, length)).astype(np.float32)
    attributes = {"kernel_shape": [kernel], "strides": [stride], "dilations": [dilation], "pads": list(pads)}
    read = read_graph(write_node(tmp_path / "c.onnx", ("batch", 256, "time"), w, "Conv", **attributes))
    assert compress_weights(read) == 1
    kinds = {node.get_type_name() for node in read.get_ops()}
    assert "MatMul" in kinds
    assert "Convolution" not in kinds
    step = np.abs(w).max(axis=(1, 2), keepdims=True) / 127
    padded = torch.nn.functional.pad(torch.from_numpy(x), pads)
    rounded = torch.from_numpy((np.rint(w / step) * step).astype(np.float32))
    expected = torch.nn.functional.conv1d(padded, rounded, stride=stride, dilation=dilation)
    np.testing.assert_allclose(answer(read, x), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "kind", "name"),
    [
        ((64, 4), "MatMul", "head.classifier/Gemm_1"),
        ((64, 64), "MatMul", "audio_encoder.frames/MatMul_20"),
        ((64, 1, 10), "Conv", "audio_encoder.backbone.feature_extractor.conv_layers.0.conv/Conv_20"),
        ((256, 256, 3), "Conv", "audio_encoder.statistics/Conv_3"),
        ((64, 64, 3), "Conv", "audio_encoder.backbone.feature_extractor.conv_layers.1.conv/Conv_22"),
    ],
    ids=["classifier", "mel bands", "waveform", "measured", "small"],
)
def test_what_stays_in_float32(shape: tuple[int, ...], kind: str, name: str, tmp_path: Path) -> None:
    w = np.ones(shape, np.float32)
    x = ("rows", shape[0]) if kind == "MatMul" else ("batch", shape[1], "time")
    read = read_graph(write_node(tmp_path / "one.onnx", x, w, kind))
    for node in read.get_ops():
        if node.get_type_name() in ("MatMul", "Convolution"):
            node.set_friendly_name(name)
    assert compress_weights(read) == 0


def test_the_whole_model_with_int8_weights(tone_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loops over stretches of time too: all convolutions but the waveform's, as if they were large."""
    monkeypatch.setattr(int8, "LEAST_CHANNELS", 2)
    exact = OnnxRuntimeEngine(tone_bundle / "model.onnx", threads=1)
    model = read_graph(tone_bundle / "model.onnx")
    assert compress_weights(model) > 10
    loops = [node.get_function() for node in model.get_ops() if node.get_type_name() == "Loop"]
    convolutions = [
        node.get_input_shape(1)[1]
        for each in (model, *loops)
        for node in each.get_ops()
        if node.get_type_name() == "Convolution"
    ]
    assert loops
    assert set(convolutions) == {1}
    request = openvino.compile_model(model, "CPU", EXACT).create_infer_request()
    for each in BATCHES:
        off = np.abs(request.infer(each)["probabilities"] - exact.run(each)["probabilities"]).max()
        assert 0 < off <= BUDGETS["int8"].max_difference


def quantized(bundle: Path, unquantized: Collection[OperatorKind]) -> set[str]:
    """The modules of what is multiplied by int8."""
    model = read_graph(bundle / "model.onnx")
    compress_weights(model, unquantized)
    loops = [node.get_function() for node in model.get_ops() if node.get_type_name() == "Loop"]
    return {
        node.get_friendly_name().partition("/")[0]
        for each in (model, *loops)
        for node in each.get_ops()
        if node.get_type_name() == "MatMul" and is_restored(node.input_value(1).get_node())
    }


def is_restored(weights: Any) -> bool:
    """Whether a matrix is int8 times a scale."""
    if weights.get_type_name() != "Multiply":
        return False
    restored = weights.input_value(0).get_node()
    return restored.get_type_name() == "Convert" and restored.get_input_element_type(0) == openvino.Type.i8


def test_operators_that_are_left_out(tone_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the three kinds each is what its modules are called, and together they are all that int8 has."""
    monkeypatch.setattr(int8, "LEAST_CHANNELS", 2)
    every = quantized(tone_bundle, ())
    kinds = {kind: every - quantized(tone_bundle, [kind]) for kind in get_args(OperatorKind)}
    assert all(kinds.values())
    assert sum(map(len, kinds.values())) == len(every) == len(set.union(*kinds.values()))
    nodes = load_model(tone_bundle / "model.onnx").graph
    convolved = {str(node.name).rpartition("/")[0] for node in nodes if node.op_type == "Conv"}
    assert kinds["convolutions"] <= convolved
    assert "tab.norms.0" in kinds["convolutions"]
    last = {name.split(".")[-1] for name in kinds["attention"]}
    assert {"q_proj", "out_proj", "query", "dense", "self_attn", "attention"} <= last
    linear = {name.rpartition(".")[2] for name in kinds["feed_forward"]}
    assert {"intermediate_dense", "output_dense", "linear1", "linear2"} <= linear
    assert not quantized(tone_bundle, get_args(OperatorKind))


def test_the_graph_that_int8_is_made_of(tone_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 where the processor multiplies it and the bundle has it, as oneDNN may."""
    bundle = open_bundle(tone_bundle)
    for sets, limit, expected in (
        (["avx512", "vnni", "bf16"], "", ("bf16", "fp32")),
        (["avx512", "vnni", "bf16", "amx"], "AVX512_CORE_AMX", ("bf16", "fp32")),
        (["avx512", "vnni", "bf16"], "avx512_core_vnni", ("fp32",)),
        (["avx2", "vnni"], "", ("fp32",)),
        (None, "", ("fp32",)),
    ):
        monkeypatch.setattr(module, "instruction_sets", lambda sets=sets: sets)
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert sources_of("int8") == expected
        assert multiplies_bf16() == (expected[0] == "bf16")
        assert sources_of("fp16") == ("fp16",)
        graph = openvino_graph(bundle, "fused", "int8")
        assert graph is not None
        assert graph.precision == "fp32", "the bundle has no bf16"
    assert openvino_graph(bundle, "fused", "bf16") is None
