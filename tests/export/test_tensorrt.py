"""Engines built without a GPU: what they hold, their keys, that a build that ends leaves nothing behind."""

import dataclasses
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mtab.bundle import EngineEntry
from mtab.engines.tensorrt import Flavor, tensorrt_module
from mtab.errors import EngineError
from mtab.graphs import TAB_HEAD
from mtab.preprocess import PreprocessorConfig
from mtab_export import tensorrt
from mtab_export.onnx_graph import export_graph, graph_sizes
from mtab_export.shapes import Profile, shape_profile
from mtab_export.tensorrt import (
    build_engine,
    engine_key,
    make_ep_context,
    ort_trt_options,
    provider_options,
    stale_reason,
    tensorrt_version,
)
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB

from .engine_parts import PROFILE, WEIGHT, needs_no_gpu, needs_rtx, quantized


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, nano: ModelConfig) -> tuple[Path, Profile]:
    """The last part of a small model."""
    model = MulTAB.from_config(nano).eval()
    path = tmp_path_factory.mktemp("graph") / "tab_head.onnx"
    export_graph(model, path, spec=TAB_HEAD)
    spec = TAB_HEAD.of(nano.modalities, graph_sizes(model))
    return path, shape_profile(spec, PreprocessorConfig())


# Building


@needs_rtx
@pytest.mark.parametrize("capability", ["86", "89", "120"])
def test_an_engine_of_a_part_holds_its_weights(
    head: tuple[Path, Profile], tmp_path: Path, capability: str, capfd: pytest.CaptureFixture[str]
) -> None:
    graph, profile = head
    built = build_engine(graph, tmp_path / "engine", "rtx", capability, profile, workspace=512)
    plan = (tmp_path / "engine").read_bytes()
    assert (built.version, built.size) == (tensorrt_version("rtx"), len(plan))
    assert built.seconds > 0
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]
    weights = {tensor.name: tensor for tensor in onnx.load(graph).graph.initializer}
    assert numpy_helper.to_array(weights["head.classifier.weight"]).tobytes() in plan
    assert capfd.readouterr() == ("", "")


@needs_rtx
@pytest.mark.slow
def test_an_engine_of_the_whole_model(tone_bundle: Path, tmp_path: Path) -> None:
    from mtab.bundle import open_bundle
    from mtab.graphs import FUSED
    from mtab.preprocess import Preprocessor

    bundle = open_bundle(tone_bundle)
    spec = FUSED.of(bundle.config.modalities, bundle.config.sizes)
    profile = shape_profile(spec, Preprocessor.from_folder(tone_bundle).config)
    assert build_engine(tone_bundle / "model.onnx", tmp_path / "engine", "rtx", "89", profile).size > 0


@needs_rtx
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_the_precision_is_the_graphs(save: Callable[..., Path], tmp_path: Path, dtype: int) -> None:
    graph = save(
        [
            helper.make_node("Cast", ["x"], ["half"], to=dtype),
            helper.make_node("MatMul", ["half", "w"], ["product"]),
            helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
        ],
        {"w": helper.make_tensor("w", dtype, WEIGHT.shape, WEIGHT.ravel())},
    )
    build_engine(graph, tmp_path / "engine", "rtx", "86", PROFILE)
    expected = onnx.load(graph).graph.initializer[0]
    assert numpy_helper.to_array(expected).tobytes() in (tmp_path / "engine").read_bytes()


@needs_rtx
def test_static_int8_is_taken(save: Callable[..., Path], tmp_path: Path) -> None:
    assert build_engine(
        save(*quantized(np.array(0, np.int8))), tmp_path / "engine", "rtx", "86", PROFILE
    ).size


@needs_rtx
def test_an_engine_there_is_replaced_whole(product: Path, tmp_path: Path) -> None:
    target = tmp_path / "engine"
    target.write_bytes(b"of another model")
    built = build_engine(product, target, "rtx", "89", PROFILE)
    assert target.stat().st_size == built.size > len(b"of another model")


# What ends a build


@needs_rtx
def test_an_interrupt_stops_the_builder_and_leaves_nothing(
    head: tuple[Path, Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tensorrt, "wait", interrupted)
    graph, profile = head
    with pytest.raises(KeyboardInterrupt):
        build_engine(graph, tmp_path / "engine", "rtx", "89", profile)
    assert list(tmp_path.iterdir()) == []
    _, log = tensorrt_module("rtx")
    assert "Build canceled by user" in log.error


@needs_rtx
def test_a_disk_that_fills_leaves_nothing(product: Path, tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            build_engine(product, folder / "engine", "rtx", "89", PROFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(folder.iterdir()) == []


# Keys


def test_a_key_changes_with_all_that_an_engine_depends_on(product: Path, tmp_path: Path) -> None:
    def key(graph: Path = product, **changes: Any) -> str:
        arguments = {"flavor": "rtx", "version": "1.7", "capability": "89", "profile": PROFILE} | changes
        return engine_key(graph, **arguments)

    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (product, product.with_name("graph.onnx.data")):
        (moved / path.name).write_bytes(path.read_bytes())
    assert key() == key() == key(moved / "graph.onnx")
    weights = product.with_name("graph.onnx.data")
    content = bytearray(weights.read_bytes())
    first = key()
    content[-1] ^= 1
    weights.write_bytes(content)
    keys = [
        first,
        key(),
        key(flavor="trt"),
        key(version="1.8"),
        key(capability="86"),
        key(profile=PROFILE | {"max": {"x": (9, 64)}}),
        key(workspace=1),
        key(refit=True),
        key(strip=True),
    ]
    assert len(set(keys)) == len(keys)


def test_a_stale_engine_says_why() -> None:
    entry = EngineEntry("e", "model.onnx", "rtx", "1.7", "89", PROFILE, "old", 1.0, False)
    larger = PROFILE | {"max": {"x": (9, 64)}}
    assert stale_reason(entry, "old", "1.7", PROFILE) is None
    for found, expected in (
        (stale_reason(entry, "new", "1.8", larger), "built by tensorrt_rtx 1.7, and 1.8 is installed"),
        (stale_reason(entry, "new", "1.7", larger), "its max shapes are x:8x64, expected x:9x64"),
        (stale_reason(entry, "new", "1.7", PROFILE), "model.onnx or what it was built with has changed"),
    ):
        assert found == expected
    other = dataclasses.replace(entry, flavor="trt")
    assert stale_reason(other, "new", "11", PROFILE) == "built by tensorrt 1.7, and 11 is installed"


# ONNX Runtime's providers


def test_the_options_of_onnx_runtimes_providers() -> None:
    """Names as in TensorRT-RTX's provider header, 0.5.0, and in ONNX Runtime's TensorRT provider, 1.31."""
    assert ort_trt_options(PROFILE, "rtx", workspace=2, cache=Path("kernels")) == {
        "nv_profile_min_shapes": "x:1x64",
        "nv_profile_opt_shapes": "x:2x64",
        "nv_profile_max_shapes": "x:8x64",
        "nv_max_workspace_size": "2097152",
        "nv_runtime_cache_path": "kernels",
    }
    assert ort_trt_options(PROFILE, "trt", workspace=2, cache=Path("kernels")) == {
        "trt_profile_min_shapes": "x:1x64",
        "trt_profile_opt_shapes": "x:2x64",
        "trt_profile_max_shapes": "x:8x64",
        "trt_max_workspace_size": "2097152",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "kernels",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "kernels",
    }
    assert set(ort_trt_options(PROFILE, "trt")) == {f"trt_profile_{level}_shapes" for level in PROFILE}


@needs_no_gpu
@pytest.mark.parametrize(
    ("flavor", "message"),
    [("trt", "TensorrtExecutionProvider"), ("rtx", "NvTensorRTRTXExecutionProvider")],
)
def test_a_provider_that_is_not_here(product: Path, tmp_path: Path, flavor: Flavor, message: str) -> None:
    options = ort_trt_options(PROFILE, flavor)
    target = tmp_path / "contexts" / "model.onnx"
    with pytest.raises(EngineError, match=message) as error:
        make_ep_context(product, target, flavor, options)
    assert "\n" not in str(error.value)
    assert list(target.parent.iterdir()) == []
    with pytest.raises(EngineError, match=message):
        provider_options(flavor, options)
