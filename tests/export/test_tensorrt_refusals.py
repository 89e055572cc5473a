"""Engines that cannot be built are refused in one line, and nothing is written."""

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from mtab.cuda import Cuda, Gpu
from mtab.engines.tensorrt import Flavor, tensorrt_module
from mtab.errors import EngineError
from mtab_export import tensorrt
from mtab_export.shapes import Profile
from mtab_export.tensorrt import (
    build_engine,
    capabilities,
    require_capability,
    tensorrt_version,
)

from .engine_parts import INT8_WEIGHT, PROFILE, needs_no_gpu, needs_rtx, quantized

ADA = Cuda("13.0", (Gpu(0, "an RTX 40xx", 2**33, "89"),))


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
