"""int8 graphs: what they compute by hand, and that no row's answer depends on another row."""

import functools
import platform
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from mtab.errors import ConfigError, DataError
from mtab.graphs import CME
from mtab.machine import instruction_sets, saturates_int8
from mtab_export.int8 import quantize, quantize_static
from mtab_export.onnx_graph import check_graph, export_graph, graph_sizes
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB

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


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


def speech(*shape: int, seed: int = 0) -> np.ndarray:
    """Rows from quiet to loud."""
    random = np.random.default_rng(seed)
    return (random.normal(size=shape) * 10 ** random.uniform(-3, 3, (*shape[:-1], 1))).astype(np.float32)


def by_hand(x: np.ndarray, weight: np.ndarray, largest: int) -> np.ndarray:
    """The product of two rounded matrices, a scale per row of one and per column of the other."""
    row_scales = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    column_scales = np.abs(weight).max(axis=0) / np.float32(largest)
    rows, columns = np.rint(x / row_scales), np.rint(weight / column_scales)
    return (rows.astype(np.int64) @ columns.astype(np.int64)) * (
        row_scales.astype(np.float64) * column_scales
    )


@pytest.mark.parametrize(("reduce_range", "largest"), [(True, 64), (False, 127)])
def test_the_arithmetic_by_hand(source: Path, tmp_path: Path, reduce_range: bool, largest: int) -> None:
    quantize(source, tmp_path / "model.onnx", reduce_range)
    x = speech(3, 5, 16)
    found = reference(tmp_path / "model.onnx", x)
    np.testing.assert_allclose(found["query"], by_hand(x, WEIGHTS["q"], largest), rtol=1e-5, atol=0)
    gemm = by_hand(x.reshape(-1, 16), WEIGHTS["out"].T, largest) + WEIGHTS["out_bias"]
    np.testing.assert_allclose(found["gemm"], gemm, rtol=1e-5, atol=1e-5)


def test_the_errors_are_those_of_8_bits(source: Path, session: onnxruntime.InferenceSession) -> None:
    x = speech(4, 9, 16)
    found, expected = answers(session, x), answers(open_session(source), x)
    for name in ("query", "gemm"):
        size = np.linalg.norm(expected[name], axis=-1)
        assert np.all(np.linalg.norm(found[name] - expected[name], axis=-1) < 0.05 * size), name
    assert not np.array_equal(found["query"], expected["query"])


@pytest.mark.parametrize("level", [OPTIMISED, UNOPTIMISED])
def test_onnx_runtime_computes_what_the_standard_says(
    target: Path, level: onnxruntime.GraphOptimizationLevel
) -> None:
    """It has a fused operator for these nodes, which is wrong where a bias follows scales per row."""
    x = speech(3, 7, 16)
    found, expected = answers(open_session(target, level), x), reference(target, x)
    for name, array in expected.items():
        scale = np.abs(array).max(axis=-1, keepdims=True)
        np.testing.assert_allclose(found[name] / scale, array / scale, atol=2e-6, err_msg=name)


def test_a_reduced_range_cannot_saturate(tmp_path: Path) -> None:
    """All activations and weights at their largest, so that an int16 would overflow with more."""
    weights = WEIGHTS | {"q": np.ones_like(WEIGHTS["q"])}
    quantize(write(tmp_path / "model.onnx", weights), tmp_path / "int8.onnx", reduce_range=True)
    x = np.full((1, 2, 16), 3, np.float32)
    np.testing.assert_allclose(answers(open_session(tmp_path / "int8.onnx"), x)["query"], 48, rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 5),
    steps=st.integers(1, 6),
    loudness=st.lists(st.sampled_from([0.0, 1e-6, 1.0, 10.0, 1e4]), min_size=5, max_size=5),
)
def test_a_row_never_depends_on_the_others(
    session: onnxruntime.InferenceSession, seed: int, batch: int, steps: int, loudness: Sequence[float]
) -> None:
    x = speech(batch, steps, 16, seed=seed) * np.array(loudness[:batch], np.float32)[:, None, None]
    together = answers(session, x)
    for row in range(batch):
        alone = answers(session, x[row : row + 1])
        np.testing.assert_array_equal(together["query"][row], alone["query"][0])
        np.testing.assert_array_equal(
            together["gemm"].reshape(batch, steps, 12)[row], alone["gemm"].reshape(steps, 12)
        )
        for step in range(steps):
            one = answers(session, x[row : row + 1, step : step + 1])["query"]
            np.testing.assert_array_equal(together["query"][row, step], one[0, 0])


def test_louder_neighbours_change_nothing(
    source: Path, session: onnxruntime.InferenceSession, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4, 16)).astype(np.float32)
    louder = x * np.array([1, 10, 10], np.float32)[:, None, None]
    before, after = answers(session, x)["y"][0], answers(session, louder)["y"][0]
    np.testing.assert_allclose(after, before, rtol=1e-6)
    # The usual way, a range per tensor, does change them: the test can tell.
    usual = tmp_path / "usual.onnx"
    quantize_dynamic(source, usual, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
    before, after = (answers(open_session(usual), each)["y"][0] for each in (x, louder))
    assert np.abs(after - before).max() > 0.05 * np.abs(before).max()


def test_a_row_of_zeros_stays_zeros(session: onnxruntime.InferenceSession) -> None:
    x = speech(1, 3, 16)
    x[0, 1] = 0
    found = answers(session, x)
    assert not found["query"][0, 1].any()
    np.testing.assert_array_equal(found["gemm"][1], WEIGHTS["out_bias"])
    assert all(np.isfinite(array).all() for array in found.values())


def test_a_column_of_zeros_stays_zeros(tmp_path: Path) -> None:
    weights = WEIGHTS | {"q": WEIGHTS["q"] * (np.arange(24) != 5)}
    quantize(write(tmp_path / "model.onnx", weights), tmp_path / "int8.onnx", reduce_range=False)
    assert not reference(tmp_path / "int8.onnx", speech(1, 3, 16))["query"][..., 5].any()


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
    for write in (
        functools.partial(quantize, reduce_range=True),
        functools.partial(quantize_static, batches=[{"x": x}]),
    ):
        write(source, path, fp32_nodes=["*/MatMul_*", "*/Gemm_*"])
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
