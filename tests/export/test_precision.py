"""Typed fp16 and bf16 graphs: what is in which precision, and that they answer as half precision does."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.errors import ConfigError
from mtab.graphs import SPLIT, GraphSpec
from mtab_export.onnx_graph import export_graph
from mtab_export.precision import LOW, Half, convert, emulate, islands
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB

Arrays = dict[str, np.ndarray]
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
LEVELS = [
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
]
TORCH = {"fp16": torch.float16, "bf16": torch.bfloat16}


def f32(values: object) -> np.ndarray:
    return np.asarray(values, np.float32)


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


def half(array: np.ndarray | float, precision: Half = "fp16") -> np.ndarray:
    """Rounded by PyTorch."""
    return torch.as_tensor(array, dtype=torch.float32).to(TORCH[precision]).float().numpy()


def save_graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, list[str | int]],
    outputs: dict[str, list[str | int]],
    weights: Arrays,
    opset: int = 22,
) -> Path:
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [value(name, INT64 if name == "lengths" else FLOAT, axes) for name, axes in inputs.items()],
        [value(name, FLOAT, axes) for name, axes in outputs.items()],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), path)
    return path


def node(name: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """A node called ``module.path/Operator_n``."""
    op_type = name.rpartition("/")[2].partition("_")[0]
    return onnx.helper.make_node(op_type, inputs.split(), [output], name=name, **attributes)


WEIGHT = f32([[1.2345678, -3000.1], [0.1, 77.7]])
BIAS = f32([1e-6, 33.33])
SCALE = f32(0.0123)


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = relu(x W + b) · s, z = softmax(x W + b): sums of two products, that no order of adding changes."""
    return save_graph(
        tmp_path_factory.mktemp("two") / "two.onnx",
        [
            node("first/MatMul_0", "x weight", "product"),
            node("first/Add_1", "product bias", "sum"),
            node("second/Relu_2", "sum", "positive"),
            node("second/Mul_3", "positive scale", "y"),
            node("third/Softmax_4", "sum", "z", axis=1),
        ],
        {"x": ["batch", 2]},
        {"y": ["batch", 2], "z": ["batch", 2]},
        {"weight": WEIGHT, "bias": BIAS, "scale": SCALE},
    )


def by_hand(x: np.ndarray, precision: Half) -> Arrays:
    with np.errstate(all="ignore"):
        total = half(
            half(half(x, precision) @ half(WEIGHT, precision), precision) + half(BIAS, precision), precision
        )
        y = half(np.maximum(total, 0) * half(SCALE, precision), precision)
        odds = np.exp(total - total.max(axis=1, keepdims=True))
    return {"y": y, "z": odds / odds.sum(axis=1, keepdims=True)}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_number_is_rounded_at_every_level_of_optimisation(
    two_layers: Path, tmp_path: Path, precision: Half
) -> None:
    convert(two_layers, tmp_path / "low.onnx", precision)
    emulate(tmp_path / "low.onnx", tmp_path / "emulated.onnx")

    @settings(deadline=None, max_examples=30, derandomize=True)
    @given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=2, max_size=8), st.floats(1e-9, 1.0))
    def check(numbers: list[float], scale: float) -> None:
        x = f32(numbers[: len(numbers) // 2 * 2]).reshape(-1, 2) * f32(scale)
        expected = by_hand(x, precision)
        for level in LEVELS:
            found = run(tmp_path / "emulated.onnx", {"x": x}, level)
            np.testing.assert_array_equal(found["y"], expected["y"])
            np.testing.assert_allclose(found["z"], expected["z"], rtol=1e-5, atol=1e-7)
        if precision == "fp16":
            np.testing.assert_array_equal(refer(tmp_path / "low.onnx", {"x": x})["y"], expected["y"])

    check()


def test_an_overflow_that_the_cpu_hides_is_seen(two_layers: Path, tmp_path: Path) -> None:
    convert(two_layers, tmp_path / "low.onnx", "fp16")
    emulate(tmp_path / "low.onnx", tmp_path / "emulated.onnx")
    feeds = {"x": f32([[-30, 100]])}  # 30 · 3000 is past 65504
    assert np.isfinite(run(two_layers, feeds)["y"]).all()
    for level in LEVELS:
        assert run(tmp_path / "emulated.onnx", feeds, level)["y"][0, 1] == math.inf
    assert refer(tmp_path / "low.onnx", feeds)["y"][0, 1] == math.inf


def kinds(path: Path) -> dict[str, list[str]]:
    """The types of every node's inputs and outputs."""
    return {
        node.name or "": [v.dtype.name for v in (*node.inputs, *node.outputs) if v is not None and v.dtype]
        for node in ir.load(path).graph
    }


def test_types_casts_and_weights_by_hand(two_layers: Path, tmp_path: Path) -> None:
    convert(two_layers, tmp_path / "low.onnx", "fp16")
    onnx.checker.check_model(tmp_path / "low.onnx", full_check=True)
    low = "FLOAT16"
    assert kinds(tmp_path / "low.onnx") == {
        "/Cast_x_fp16": ["FLOAT", low],
        "first/MatMul_0": [low] * 3,
        "first/Add_1": [low] * 3,
        "first/Cast_sum_fp32": [low, "FLOAT"],
        "second/Relu_2": [low] * 2,
        "second/Mul_3": [low] * 3,
        "second/Cast_y_fp32": [low, "FLOAT"],
        "third/Softmax_4": ["FLOAT"] * 2,
    }
    initializers = onnx.load(tmp_path / "low.onnx").graph.initializer
    assert sorted(each.name for each in initializers) == ["bias_fp16", "scale_fp16", "weight_fp16"]


def test_a_number_crosses_once(tmp_path: Path) -> None:
    path = save_graph(
        tmp_path / "graph.onnx",
        [
            node("a/Softmax_0", "x", "p"),
            node("b/Mul_1", "p weight", "q"),
            node("c/Mul_2", "p weight", "r"),
            node("d/Softmax_3", "q", "s"),
            node("e/LayerNormalization_4", "q weight", "t"),
            node("f/Add_5", "s t", "u"),
            node("f/Add_6", "u r", "y"),
        ],
        {"x": ["batch", 2]},
        {"y": ["batch", 2]},
        {"weight": f32([1, 2])},
    )
    convert(path, tmp_path / "low.onnx", "fp16")
    casts = [name for name in kinds(tmp_path / "low.onnx") if "/Cast_" in name]
    assert casts == ["a/Cast_p_fp16", "b/Cast_q_fp32", "d/Cast_s_fp16", "e/Cast_t_fp16", "f/Cast_y_fp32"]
    feeds = {"x": f32([[0.3, 2.0], [5.0, -4.0]])}
    emulate(tmp_path / "low.onnx", tmp_path / "emulated.onnx")
    for expected in (refer(tmp_path / "low.onnx", feeds), run(path, feeds)):
        np.testing.assert_allclose(run(tmp_path / "emulated.onnx", feeds)["y"], expected["y"], atol=4e-3)


def test_masks_and_positions_are_in_float32(tmp_path: Path) -> None:
    """Softmax over the frames before ``lengths``, of scores that fall with the place in the utterance."""
    path = save_graph(
        tmp_path / "graph.onnx",
        [
            node("m/Cast_0", "lengths", "length", to=FLOAT),
            node("m/Div_1", "places length", "place"),
            node("m/Less_2", "places length", "valid"),
            node("m/Where_3", "valid zero fill", "mask"),
            node("m/Unsqueeze_4", "mask axes", "rows"),
            node("m/Add_5", "x rows", "scores"),
            node("m/Softmax_6", "scores", "p"),
            node("m/IsNaN_7", "p", "none"),
            node("m/Where_8", "none zero p", "weights"),
            node("n/Mul_9", "weights x", "z"),
            node("n/Mul_10", "z scale", "y"),
        ],
        {"x": ["batch", 1, 3000], "lengths": [1]},
        {"y": ["batch", 1, 3000], "place": [3000]},
        {
            "places": np.arange(3000, dtype=np.float32),
            "zero": f32(0),
            "fill": f32(np.finfo(np.float32).min),
            "axes": np.array([0, 1]),
            "scale": f32(1000),
        },
    )
    convert(path, tmp_path / "low.onnx", "fp16")
    onnx.checker.check_model(tmp_path / "low.onnx", full_check=True)
    low = {name for name, types in kinds(tmp_path / "low.onnx").items() if "FLOAT16" in types}
    assert {name for name in low if "/Cast_" not in name} == {"n/Mul_9", "n/Mul_10"}
    emulate(tmp_path / "low.onnx", tmp_path / "emulated.onnx")
    x = np.random.default_rng(0).normal(size=(1, 1, 3000)).astype(np.float32)
    # 2049 is no fp16 number: a mask that counted in fp16 would end one frame off.
    for length in (2049, 3000, 0):
        feeds = {"x": x, "lengths": np.array([length])}
        expected = run(path, feeds)
        for found in (run(tmp_path / "emulated.onnx", feeds), refer(tmp_path / "low.onnx", feeds)):
            np.testing.assert_array_equal(found["place"], expected["place"])
            np.testing.assert_allclose(found["y"], expected["y"], rtol=5e-3, atol=1e-4)
            assert ((found["y"] != 0) <= (np.arange(3000) < (length or 3000))).all()


def test_an_operator_that_the_opset_lacks_is_refused(tmp_path: Path) -> None:
    def convolution(opset: int) -> Path:
        return save_graph(
            tmp_path / f"{opset}.onnx",
            [node("conv/Conv_0", "x weight", "y")],
            {"x": ["batch", 1, 4]},
            {"y": ["batch", 1, 3]},
            {"weight": f32([[[1, 0.3]]])},
            opset,
        )

    with pytest.raises(ConfigError, match="opset 18 has no Conv of bfloat16"):
        convert(convolution(18), tmp_path / "low.onnx", "bf16")
    convert(convolution(22), tmp_path / "low.onnx", "bf16")
    onnx.checker.check_model(tmp_path / "low.onnx", full_check=True)
    emulate(tmp_path / "low.onnx", tmp_path / "emulated.onnx")
    x = f32([[[1, 2, 3, 4.01]]])
    crossed = half(x, "bf16")
    expected = half(crossed[..., :3] + crossed[..., 1:] * half(0.3, "bf16"), "bf16")
    np.testing.assert_array_equal(run(tmp_path / "emulated.onnx", {"x": x})["y"], expected)


def make_model(config: ModelConfig) -> MulTAB:
    torch.manual_seed(0)
    model = MulTAB.from_config(config).eval()
    with torch.no_grad():
        model.head.classifier.weight.mul_(50)  # random weights alone answer every utterance alike
    return model


@pytest.fixture(scope="module")
def fused(tone_bundle: Path) -> Path:
    """The trained nano model in float32."""
    return tone_bundle / "model.onnx"


def random_feeds(path: Path) -> Arrays:
    """Three padded rows."""
    random = np.random.default_rng(5)
    lengths = {"audio_lengths": [4000, 900, 2500], "text_lengths": [20, 3, 11]}
    lengths |= {"audio_frames": [20, 3, 11], "fused_lengths": [20, 3, 11]}
    feeds: Arrays = {}
    for value in onnx.load(path, load_external_data=False).graph.input:
        sizes = {"batch": 3, "samples": 4000, "tokens": 20, "frames": 20, "steps": 20}
        shape = [dim.dim_value or sizes[dim.dim_param] for dim in value.type.tensor_type.shape.dim]
        if value.name in lengths:
            feeds[value.name] = np.array(lengths[value.name])
        elif value.name == "input_ids":
            feeds[value.name] = random.integers(4, 50, size=shape)
        else:
            feeds[value.name] = random.normal(size=shape).astype(np.float32)
    return feeds


def assert_halves(source: Path, folder: Path, precision: Half, tolerance: float) -> None:
    """The graph in ``precision`` is valid, opens, holds each weight once, and answers as half precision."""
    low, emulated = folder / f"{precision}.onnx", folder / f"emulated_{precision}.onnx"
    convert(source, low, precision)
    emulate(low, emulated)
    proto = onnx.load(low, load_external_data=False)
    onnx.checker.check_model(low, full_check=True)
    assert {each.domain for each in proto.graph.node} == {""}
    names = [each.name for each in proto.graph.node]
    assert len(set(names)) == len(names)
    before, after = (onnx.load(path, load_external_data=False).graph for path in (source, low))
    for side in ("input", "output"):
        described = [[(v.name, v.type) for v in getattr(graph, side)] for graph in (before, after)]
        assert described[0] == described[1]

    floats = [
        tensor
        for tensor in onnx.load(low).graph.initializer
        if tensor.data_type in (FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    ]
    source_floats = [t for t in onnx.load(source).graph.initializer if t.data_type == FLOAT]
    # Twice is only a number or two that both sides read.
    assert sum(math.prod(t.dims) for t in floats) <= sum(math.prod(t.dims) for t in source_floats) + 64
    assert all(math.prod(t.dims) <= 1024 for t in floats if t.data_type == FLOAT)

    feeds = random_feeds(source)
    expected, found = run(source, feeds), run(emulated, feeds)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance)
    if precision == "fp16":
        run(low, feeds)
        for name, array in refer(low, feeds).items():
            np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance)


def test_the_fused_graph(fused: Path, tmp_path: Path) -> None:
    assert_halves(fused, tmp_path, "fp16", 2e-2)
    graph = ir.load(tmp_path / "fp16.onnx").graph
    kept = {node.name or "" for node in islands(graph)}
    for each in graph:
        if each.op_type in ("LayerNormalization", "ReduceSum", "Softmax"):
            assert each.name in kept
        if each.op_type in ("Conv", "MatMul", "Gemm") and not (each.name or "").startswith("head."):
            assert each.name not in kept
    for module in ("audio_encoder.masked_group_norm", "fusion.interpolation", "head.masked_mean"):
        assert any(name.startswith(f"{module}/") for name in kept)
    # No number of half precision is past its range, masks included.
    for value in graph.initializers.values():
        if value.dtype == LOW["fp16"] and value.const_value is not None:
            assert np.isfinite(value.const_value.numpy()).all()
    properties = ir.load(tmp_path / "fp16.onnx").metadata_props
    assert properties == ir.load(fused).metadata_props | {"precision": "fp16"}
    weights = onnx.load(tmp_path / "fp16.onnx", load_external_data=False).graph.initializer
    assert {e.value for t in weights for e in t.external_data if e.key == "location"} == {"fp16.onnx.data"}


def test_nodes_that_are_left_in_float32(fused: Path, tmp_path: Path) -> None:
    low = tmp_path / "low.onnx"
    convert(fused, low, "fp16", ["text_encoder.*", "tab[./]*"])
    onnx.checker.check_model(low, full_check=True)
    for name, types in kinds(low).items():
        if name.startswith(("text_encoder.", "tab/", "tab.")) and "/Cast_" not in name:
            assert "FLOAT16" not in types
    assert any("FLOAT16" in types for name, types in kinds(low).items() if name.startswith("cross_modal."))

    convert(fused, low, "fp16", ["*"])
    emulate(low, tmp_path / "emulated.onnx")
    feeds = random_feeds(fused)
    for path in (low, tmp_path / "emulated.onnx"):
        for name, array in run(fused, feeds).items():
            np.testing.assert_array_equal(run(path, feeds)[name], array)

    with pytest.raises(ConfigError, match=r"model\.onnx: no node is called 'text_decoder\*'"):
        convert(fused, low, "fp16", ["text_encoder*", "text_decoder*"])


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPLIT, ids=lambda spec: spec.name)
def test_every_part(nano: ModelConfig, spec: GraphSpec, tmp_path: Path) -> None:
    """Of a model with stand-ins for what an utterance lacks."""
    export_graph(
        make_model(dataclasses.replace(nano, modality_dropout=0.2)), tmp_path / "part.onnx", 18, None, spec
    )
    assert_halves(tmp_path / "part.onnx", tmp_path, "fp16", 2e-2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "precision", "opset", "tolerance"),
    [("wavlm", "fp16", 18, 3e-2), ("hubert", "bf16", 22, 0.3), ("text", "bf16", 22, 0.3)],
)
def test_other_models(
    nano: ModelConfig, kind: str, precision: Half, opset: int, tolerance: float, tmp_path: Path
) -> None:
    """WavLM alone, whose position bias counts frames; HuBERT with pooled fusion; text alone."""
    assert nano.audio_config is not None
    changes: dict[str, Any] = {"audio_config": None}
    if kind != "text":
        layer_norm = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "num_hidden_layers": 2}
        changes["audio_config"] = nano.audio_config | layer_norm | {"model_type": kind}
        changes |= {"text_config": None} if kind == "wavlm" else {"fusion_align": "pool", "num_tab_layers": 0}
    export_graph(make_model(dataclasses.replace(nano, **changes)), tmp_path / "model.onnx", opset)
    assert_halves(tmp_path / "model.onnx", tmp_path, precision, tolerance)
