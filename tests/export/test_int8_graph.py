"""int8 graphs: which nodes are quantised, which stay, fixed ranges, and an exported model."""

import functools
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from mtab.errors import ConfigError, DataError
from mtab.graphs import CME
from mtab.machine import instruction_sets, saturates_int8
from mtab_export.int8 import quantize, quantize_static
from mtab_export.onnx_graph import check_graph, export_graph, graph_sizes
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB

from .int8_graphs import UNOPTIMISED, WEIGHTS, answers, open_session, reference, speech, write


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


def test_what_is_quantised(source: Path, target: Path) -> None:
    found = operators(target)
    # Two activations: one that two products take, and the same, flat.
    assert (found["MatMulInteger"], found["QuantizeLinear"]) == (3, 2)
    # The products of activations, and the classifier.
    assert (found["MatMul"], found["Gemm"]) == (2, 1)
    assert not found["Split"]
    graph = onnx.load(target).graph
    matrices = {tuple(t.dims): t.data_type for t in graph.initializer if len(t.dims) == 2}
    int8, float32 = onnx.TensorProto.INT8, onnx.TensorProto.FLOAT
    assert matrices == {(16, 24): int8, (16, 12): int8, (2, 12): float32}
    assert max(np.abs(numpy_helper.to_array(t)).max() for t in graph.initializer if t.data_type == int8) == 64


def test_nodes_are_named_after_their_modules(source: Path, target: Path) -> None:
    names = [node.name for node in onnx.load(target, load_external_data=False).graph.node]
    assert len(set(names)) == len(names)
    modules = {name.rpartition("/")[0] for name in names}
    assert modules == {"layer.q_proj", "layer.v_proj", "layer", "out_proj", "classifier"}
    integer = [name.rpartition("/")[0] for name in names if "MatMulInteger" in name]
    assert integer == ["layer.q_proj", "layer.v_proj", "out_proj"]


@pytest.mark.parametrize("static", [False, True])
def test_the_file_is_valid_and_keeps_what_the_source_says(source: Path, tmp_path: Path, static: bool) -> None:
    path = tmp_path / "graph.onnx"
    quantize_static(source, path, [{"x": speech(1, 3, 16)}]) if static else quantize(source, path, True)
    onnx.checker.check_model(path, full_check=True)
    proto = onnx.load(path, load_external_data=False)
    assert {each.key: each.value for each in proto.metadata_props} == {
        "labels": "calm,loud",
        "precision": "int8-static" if static else "int8",
    }
    assert {node.domain for node in proto.graph.node} == {""}
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 19)]
    before = onnx.load(source, load_external_data=False).graph
    assert (proto.graph.input, proto.graph.output) == (before.input, before.output)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["graph.onnx", "graph.onnx.data"]
    locations = {e.value for t in proto.graph.initializer for e in t.external_data if e.key == "location"}
    assert locations == {"graph.onnx.data"}


def test_patterns_leave_nodes_in_float32(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    quantize(source, path, True, ["layer.q_proj/*", "*/Gemm_10"])
    assert operators(path)["MatMulInteger"] == 1
    x = speech(2, 3, 16)
    found, expected = reference(path, x), reference(source, x)
    for name in ("query", "gemm"):
        np.testing.assert_array_equal(found[name], expected[name])
    # The cut weight is still cut where its product is left alone.
    quantize_static(source, path, [{"x": x}], ["layer.v_proj/MatMul_*"])
    assert (operators(path)["Split"], operators(path)["QuantizeLinear"]) == (1, 2)


@pytest.mark.parametrize("static", [False, True])
def test_a_pattern_that_matches_nothing_is_refused(source: Path, tmp_path: Path, static: bool) -> None:
    patterns = ["layer*", "encoder.*"]
    batches = [{"x": speech(1, 3, 16)}]
    write = (
        functools.partial(quantize_static, batches=batches)
        if static
        else functools.partial(quantize, reduce_range=True)
    )
    with pytest.raises(ConfigError, match=r"'encoder\.\*': matches no node"):
        write(source, tmp_path / "graph.onnx", fp32_nodes=patterns)
    assert not any(tmp_path.iterdir())


def test_fixed_ranges_are_the_largest_magnitudes_seen(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    x = speech(3, 5, 16)
    quantize_static(source, path, ({"x": x[i : i + 1]} for i in range(3)))
    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    scale = np.abs(x).max() / np.float32(127)
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantizers) == 2
    for node in quantizers:
        assert arrays[node.input[1]] == scale
        assert (arrays[node.input[2]], arrays[node.input[2]].dtype) == (0, np.int8)
    rounded = np.clip(np.rint(x / scale), -128, 127) * scale
    column_scales = np.abs(WEIGHTS["out"]).max(axis=1, keepdims=True) / np.float32(127)
    weight = np.rint(WEIGHTS["out"] / column_scales) * column_scales
    expected = rounded.reshape(-1, 16) @ weight.T + WEIGHTS["out_bias"]
    np.testing.assert_allclose(reference(path, x)["gemm"], expected, rtol=1e-4, atol=1e-3)


def test_onnx_runtime_computes_fixed_ranges_as_the_standard_says(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    x = np.random.default_rng(0).normal(size=(3, 5, 16)).astype(np.float32)
    quantize_static(source, path, [{"x": x}])
    expected = reference(path, x)
    options = onnxruntime.SessionOptions()
    # Without it, an x86 that has no VNNI saturates: TensorRT, which the file is for, does not.
    options.add_session_config_entry("session.x64quantprecision", "1")
    optimised = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for session in (optimised, open_session(path, UNOPTIMISED)):
        for name, array in answers(session, x).items():
            np.testing.assert_allclose(array, expected[name], atol=1e-5 * np.abs(expected[name]).max())
        louder = x * np.array([1, 10, 10], np.float32)[:, None, None]
        np.testing.assert_array_equal(answers(session, louder)["query"][0], answers(session, x)["query"][0])


def test_a_graph_without_products_stays_as_it_is(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    x = speech(1, 3, 16)
    for write_int8 in (
        functools.partial(quantize, reduce_range=True),
        functools.partial(quantize_static, batches=[{"x": x}]),
    ):
        write_int8(source, path, fp32_nodes=["*/MatMul_*", "*/Gemm_*"])
        assert operators(path) == operators(source)


def test_no_utterance_to_calibrate_on_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no utterance"):
        quantize_static(source, tmp_path / "graph.onnx", [])


def test_this_processor_is_right_with_the_range_that_it_needs(tmp_path: Path) -> None:
    """Saturation itself, on whatever the tests run on."""
    weights = WEIGHTS | {"q": np.ones_like(WEIGHTS["q"])}
    reduce_range = saturates_int8(platform.machine(), instruction_sets())
    quantize(write(tmp_path / "model.onnx", weights), tmp_path / "int8.onnx", reduce_range)
    x = np.full((1, 40, 16), 3, np.float32)
    np.testing.assert_allclose(answers(open_session(tmp_path / "int8.onnx"), x)["query"], 48, rtol=1e-6)


def test_an_exported_model(nano: ModelConfig, tmp_path: Path) -> None:
    """The part that has every kind of product: packed and cut weights, Gemms, and two streams."""
    torch.manual_seed(0)
    model = MulTAB.from_config(nano)
    spec = CME.of(nano.modalities, graph_sizes(model))
    source, int8, static = (tmp_path / f"{name}.onnx" for name in ("fp32", "int8", "static"))
    export_graph(model, source, spec=CME)
    random = np.random.default_rng(0)
    streams = [
        [random.normal(size=(length, 16)).astype(np.float32) for length in lengths]
        for lengths in ((20, 7, 13), (9, 3, 5))
    ]
    alone = [padded([audio], [text]) for audio, text in zip(*streams, strict=True)]
    quantize(source, int8, reduce_range=True)
    quantize_static(source, static, alone)

    modules = [m for name, m in model.named_modules() if name.startswith(("self_attention", "cross_modal"))]
    linear = sum(isinstance(module, torch.nn.Linear) for module in modules)
    packed = sum(isinstance(module, torch.nn.MultiheadAttention) for module in modules)
    # The two cross-modal attentions take queries from another stream than keys and values.
    products = linear + packed + 2
    assert operators(int8)["MatMulInteger"] == products
    assert operators(static)["DequantizeLinear"] - operators(static)["QuantizeLinear"] == products
    for path in (int8, static):
        check_graph(path, spec)
        assert operators(path)["Conv"] == operators(source)["Conv"] == 2
        # Unoptimised, because fixed ranges saturate in ONNX Runtime on an x86 without VNNI.
        fp32, session = open_session(source), open_session(path, UNOPTIMISED)
        together = fused_states(session, padded(*streams))
        for row, batch in enumerate(alone):
            found, expected = fused_states(session, batch)[0], fused_states(fp32, batch)[0]
            size = np.linalg.norm(expected)
            assert 0 < np.linalg.norm(found - expected) < 0.1 * size
            # Where float32's own rounding tips a number into the next of 255 steps.
            assert np.linalg.norm(together[row, : len(found)] - found) < 0.005 * size


def padded(audio: Sequence[np.ndarray], text: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """One batch of hidden states, with noise for padding."""
    batch: dict[str, np.ndarray] = {}
    names = (("audio_hidden_states", "audio_frames"), ("text_hidden_states", "text_lengths"))
    for (states, count), rows in zip(names, (audio, text), strict=True):
        lengths = np.array([len(row) for row in rows])
        stacked = np.random.default_rng(1).normal(size=(len(rows), lengths.max(), 16)).astype(np.float32)
        for target, row in zip(stacked, rows, strict=True):
            target[: len(row)] = row
        batch |= {states: stacked, count: lengths}
    return batch


def fused_states(session: onnxruntime.InferenceSession, batch: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(session.run(["fused_states"], batch)[0])
