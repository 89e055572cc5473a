"""Engines built without a GPU: what they hold, what is refused in one line, that nothing is left behind."""

import dataclasses
import functools
import importlib.util
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mtab.bundle import EngineEntry
from mtab.cuda import Cuda, Gpu, find_cuda
from mtab.engines.tensorrt import Flavor, tensorrt_module
from mtab.errors import EngineError
from mtab.graphs import TAB_HEAD
from mtab.preprocess import PreprocessorConfig
from mtab_export import tensorrt
from mtab_export.onnx_graph import export_graph, graph_sizes
from mtab_export.shapes import Profile, shape_profile
from mtab_export.tensorrt import (
    build_engine,
    capabilities,
    engine_key,
    make_ep_context,
    ort_trt_options,
    provider_options,
    require_capability,
    stale_reason,
    tensorrt_version,
)
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="needs TensorRT-RTX: pip install 'mtab[rtx]'",
)
needs_no_gpu = pytest.mark.skipif(bool(find_cuda().gpus), reason="this machine has a GPU")

ADA = Cuda("13.0", (Gpu(0, "an RTX 40xx", 2**33, "89"),))
PROFILE: Profile = {level: {"x": (batch, 64)} for level, batch in (("min", 1), ("opt", 2), ("max", 8))}
WEIGHT = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
SCALE = np.abs(WEIGHT).max(axis=0) / 127
INT8_WEIGHT = np.round(WEIGHT / SCALE).astype(np.int8)


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
def head(tmp_path_factory: pytest.TempPathFactory, nano: ModelConfig) -> tuple[Path, Profile]:
    """The last part of a small model."""
    model = MulTAB.from_config(nano).eval()
    path = tmp_path_factory.mktemp("graph") / "tab_head.onnx"
    export_graph(model, path, spec=TAB_HEAD)
    spec = TAB_HEAD.of(nano.modalities, graph_sizes(model))
    return path, shape_profile(spec, PreprocessorConfig())


@pytest.fixture
def refusal(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """The one line with which a build is refused; nothing is written then."""
    folder = tmp_path / "engines"
    folder.mkdir()

    def refused(graph: Path, capability: str = "89", profile: Profile = PROFILE, **options: Any) -> str:
        with pytest.raises(EngineError) as error:
            build_engine(
                graph, folder / "engine", options.pop("flavor", "rtx"), capability, profile, **options
            )
        assert "\n" not in str(error.value)
        return str(error.value)

    yield refused
    assert list(folder.iterdir()) == []


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


def quantized(zero_point: np.ndarray) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """The product with its input and its weights through QuantizeLinear and DequantizeLinear."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_int8"], name="quantize"),
        helper.make_node("DequantizeLinear", ["x_int8", "x_scale", "x_zero"], ["x_again"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_again"], axis=1),
        helper.make_node("MatMul", ["x_again", "w_again"], ["y"]),
    ]
    return nodes, {
        "x_scale": np.array(0.03, np.float32),
        "x_zero": zero_point,
        "w": INT8_WEIGHT,
        "w_scale": SCALE,
        "w_zero": np.zeros(32, np.int8),
    }


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


# Refusals


@needs_rtx
def test_a_capability_that_it_does_not_know(product: Path, refusal: Callable[..., str]) -> None:
    version = tensorrt_version("rtx")
    assert refusal(product, "90") == (
        f"compute capability 90: tensorrt_rtx {version} does not build for it, "
        f"expected {', '.join(capabilities('rtx'))}"
    )
    assert {"75", "86", "89", "120"} <= set(capabilities("rtx"))


@needs_rtx
def test_what_turing_cannot_do_is_told(product: Path, refusal: Callable[..., str]) -> None:
    assert "cannot build it for compute capability 75 (" in (found := refusal(product, "75"))
    assert "Cannot compile operation 'product' for Turing" in found
    assert "/_src/" not in found


@needs_rtx
def test_an_operator_that_it_lacks_is_named(save: Callable[..., Path], refusal: Callable[..., str]) -> None:
    """Ranges per token, as int8 for CPUs has them."""
    graph = save(
        [
            helper.make_node(
                "DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"], name="encoder/Quantize_3"
            ),
            helper.make_node("MatMulInteger", ["q", "w", "zero"], ["i"]),
            helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["f", "scale"], ["y"]),
        ],
        {"w": INT8_WEIGHT},
    )
    found = refusal(graph)
    assert found.startswith(f"{graph}: tensorrt_rtx {tensorrt_version('rtx')} cannot read node ")
    assert "encoder/Quantize_3 (DynamicQuantizeLinear): UNSUPPORTED_NODE" in found


@needs_rtx
def test_asymmetric_int8_is_refused(save: Callable[..., Path], refusal: Callable[..., str]) -> None:
    found = refusal(save(*quantized(np.array(128, np.uint8))))
    assert "node quantize (QuantizeLinear)" in found
    assert "Non-zero zero point is not supported" in found


@needs_rtx
def test_files_that_are_not_whole(product: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    assert "cannot read it: " in refusal(tmp_path / "none.onnx")
    (tmp_path / "graph.onnx.data").unlink()
    assert "Failed to import initializer: w" in refusal(product)
    product.write_bytes(b"no graph")
    assert "Failed to parse the ONNX model" in refusal(product)
    product.write_bytes(b"")
    assert "Network must have at least one output" in refusal(product)


@needs_rtx
def test_a_profile_of_another_graph(product: Path, refusal: Callable[..., str]) -> None:
    other = {level: {"other": (1, 64)} for level in PROFILE}
    assert "Dynamic input tensor x is missing dimensions" in refusal(product, profile=other)


@needs_rtx
def test_a_workspace_of_nothing(product: Path, refusal: Callable[..., str]) -> None:
    assert "increase the workspace memory" in refusal(product, workspace=0)


@needs_rtx
@needs_no_gpu
@pytest.mark.parametrize("option", ["refit", "strip"])
def test_replaceable_weights_need_a_gpu(
    product: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    found = refusal(product, **{option: True})
    assert (
        found
        == f"{product}: a stripped or refittable engine can be built beside a GPU alone, and none is here"
    )
    monkeypatch.setattr(tensorrt, "find_cuda", lambda: ADA)
    assert "cannot build it for compute capability 89 (" in refusal(product, **{option: True})


@needs_rtx
def test_tensorrt_builds_for_its_own_gpu(
    product: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both flavors have one API.
    rtx = tensorrt_module("rtx")
    monkeypatch.setattr(tensorrt, "tensorrt_module", lambda flavor: rtx)
    version = tensorrt_version("trt")
    for cuda, capability, expected in ((ADA, "86", "89"), (Cuda(None), "89", "one to be there")):
        monkeypatch.setattr(tensorrt, "find_cuda", lambda cuda=cuda: cuda)
        assert refusal(product, capability, flavor="trt") == (
            f"compute capability {capability}: tensorrt {version} builds for the GPU of this machine alone, "
            f"expected {expected}"
        )
    monkeypatch.setattr(tensorrt, "find_cuda", lambda: ADA)
    assert capabilities("trt") == ("89",)
    require_capability("trt", "89")


@pytest.mark.parametrize(
    ("flavor", "module", "message"),
    [
        ("rtx", None, "tensorrt_rtx is not installed: pip install 'mtab[rtx]'"),
        (
            "trt",
            None,
            "tensorrt is not installed: install TensorRT from NVIDIA, with its Python package",
        ),
        ("trt", SimpleNamespace(), "tensorrt cannot be loaded (it has no Runtime)"),
    ],
)
def test_a_flavor_that_is_not_installed(
    product: Path,
    refusal: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    flavor: Flavor,
    module: Any,
    message: str,
) -> None:
    monkeypatch.setitem(sys.modules, tensorrt.MODULES[flavor], module)
    fresh = functools.cache(tensorrt_module.__wrapped__)
    monkeypatch.setattr(tensorrt, "tensorrt_module", fresh)
    assert refusal(product, flavor=flavor).startswith(message)


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
