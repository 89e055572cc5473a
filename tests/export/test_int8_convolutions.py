"""Convolutions in int8: the products of the windows that they look at, alone and in blocks of time."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab_export import blocks
from mtab_export.blocks import has_blocks, load_model, save_whole
from mtab_export.int8 import quantize
from mtab_export.memory import memory_need

from .test_blocks import TINY, alone, batch, loops, small, write

CHANNELS = 256


def write_convolution(
    path: Path, kernel: np.ndarray, name: str = "layer.conv/Conv_0", **attributes: Any
) -> Path:
    """A convolution with a bias of 1, 2, ... alone in its graph."""
    bias = np.arange(1, len(kernel) + 1, dtype=np.float32)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "kernel", "bias"], ["y"], name, **attributes)],
        "convolution",
        [value("x", onnx.TensorProto.FLOAT, ("batch", kernel.shape[1] * attributes.get("group", 1), "time"))],
        [value("y", onnx.TensorProto.FLOAT, ("batch", len(kernel), "frames"))],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")],
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path
    )
    return path


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def convolve(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@settings(deadline=None, max_examples=25)
@given(
    size=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    pads=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    extra=st.integers(0, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_whole_numbers_are_convolved_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    size: int,
    stride: int,
    dilation: int,
    pads: tuple[int, int],
    extra: int,
    seed: int,
) -> None:
    """Rounding changes nothing where every scale is 1: the sum is ONNX Runtime's convolution's."""
    random = np.random.default_rng(seed)
    kernel = random.integers(-20, 21, (9, CHANNELS, size)).astype(np.float32)
    kernel[:, 0, 0] = 127
    x = random.integers(-20, 21, (2, CHANNELS, (size - 1) * dilation + 1 + extra)).astype(np.float32)
    x[:, 1] = 127
    source = write_convolution(
        tmp_path_factory.mktemp("convolution") / "fp32.onnx",
        kernel,
        strides=[stride],
        dilations=[dilation],
        pads=list(pads),
    )
    target = source.with_name("int8.onnx")
    quantize(source, target, reduce_range=False)
    assert "Conv" not in operators(target)
    onnx.checker.check_model(target, full_check=True)
    np.testing.assert_array_equal(convolve(target, x), convolve(source, x))


@pytest.mark.parametrize(
    ("shape", "attributes", "fp32_nodes"),
    [
        ((9, CHANNELS - 1, 3), {}, []),
        ((7, CHANNELS, 3), {}, []),
        ((16, CHANNELS, 3), {"group": 2}, []),
        ((9, CHANNELS, 3), {}, ["layer.conv/*"]),
    ],
)
def test_small_grouped_and_chosen_ones_stay(
    tmp_path: Path, shape: tuple[int, ...], attributes: dict[str, Any], fp32_nodes: list[str]
) -> None:
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    source = write_convolution(tmp_path / "fp32.onnx", kernel, **attributes)
    quantize(source, tmp_path / "int8.onnx", reduce_range=False, fp32_nodes=fp32_nodes)
    assert operators(tmp_path / "int8.onnx") == ["Conv"]


def test_what_is_measured_of_a_waveform_stays(tmp_path: Path) -> None:
    kernel = np.random.default_rng(0).normal(size=(9, CHANNELS, 3)).astype(np.float32)
    source = write_convolution(tmp_path / "fp32.onnx", kernel, "audio_encoder.frames/Conv_0")
    quantize(source, tmp_path / "int8.onnx", reduce_range=False)
    assert operators(tmp_path / "int8.onnx") == ["Conv"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 graph of a model whose feature extractor is as wide as needs be."""
    source = write(small(TINY, conv_dim=[CHANNELS] * 7), tmp_path_factory.mktemp("wide"))
    quantize(source, source.with_name("int8.onnx"), reduce_range=True)
    return source.with_name("int8.onnx")


def test_they_are_in_the_blocks_that_the_float32_graph_has(wide: Path) -> None:
    assert has_blocks(wide)
    assert [name.rpartition("/")[0] for name in loops(wide)] == [
        name.rpartition("/")[0] for name in loops(wide.with_name("model.onnx"))
    ]
    outside = [node.name for node in onnx.load(wide, load_external_data=False).graph.node]
    assert not [name for name in outside if "feature_extractor" in name and "MatMulInteger" in name]


@pytest.mark.parametrize("frames", [1, 3, 50])
def test_blocks_change_nothing(
    frames: int, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_whole(load_model(wide), tmp_path / "whole.onnx")
    monkeypatch.setattr(blocks, "CONVOLVED_FRAMES", frames)
    blocks.save_model(load_model(wide), tmp_path / "cut.onnx")
    cut, plain = (OnnxRuntimeEngine(tmp_path / f"{name}.onnx") for name in ("cut", "whole"))
    border = 400 + 320 * (frames - 1)
    for samples in (400, border, border + 319, border + 320, 12_345):
        inputs = batch([samples], [9])
        for name, expected in plain.run(inputs).items():
            np.testing.assert_allclose(cut.run(inputs)[name], expected, atol=1e-4, rtol=1e-4)


def test_an_utterance_gets_its_answer_in_any_padded_batch(wide: Path) -> None:
    engine = OnnxRuntimeEngine(wide)
    inputs = batch([9_000, 400, 16_000], [5, 9, 3])
    together = engine.run(inputs)["probabilities"]
    for row in range(3):
        found = engine.run(alone(inputs, row))["probabilities"][0]
        np.testing.assert_allclose(found, together[row], atol=2e-3)


def test_the_windows_are_counted(wide: Path) -> None:
    """The first convolution answers 64 times a frame, the second looks at three of these 32 times."""
    config = small(TINY, conv_dim=[CHANNELS] * 7)
    whole, unfolded = (memory_need(config, path) for path in (wide.with_name("model.onnx"), wide))
    assert whole.per_convolved == 64 * CHANNELS
    assert unfolded == dataclasses.replace(whole, per_convolved=3 * 32 * CHANNELS)
