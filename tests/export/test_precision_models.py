"""Typed fp16 and bf16 graphs of models: that they answer as half precision does."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from mtab.errors import ConfigError
from mtab.graphs import SPLIT, GraphSpec
from mtab_export.blocks import load_model
from mtab_export.onnx_graph import export_graph
from mtab_export.precision import LOW, Half, convert, emulate, islands
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB

from .typed_graphs import FLOAT, Arrays, kinds, refer, run


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


FLOAT32 = ("head.", "audio_encoder.masked_group_norm/")
"""Whose products stay in float32: the logits, and the moments of the first convolution's frames."""


def test_the_fused_graph(fused: Path, tmp_path: Path) -> None:
    assert_halves(fused, tmp_path, "fp16", 2e-2)
    graph = load_model(tmp_path / "fp16.onnx").graph
    kept = {node.name or "" for node in islands(graph)}
    for each in graph:
        if each.op_type in ("LayerNormalization", "ReduceSum", "Softmax"):
            assert each.name in kept
        if each.op_type in ("Conv", "MatMul", "Gemm") and not (each.name or "").startswith(FLOAT32):
            assert each.name not in kept
    for module in ("audio_encoder.masked_group_norm", "fusion.interpolation", "head.pool"):
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
