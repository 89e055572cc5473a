"""TensorRT natively, as far as a machine without a GPU goes; the rest is in tests/gpu."""

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mtab
from mtab.cuda import Stream, find_cuda
from mtab.engines.tensorrt import FLAVORS, TensorRTEngine, tensorrt_module
from mtab.errors import BundleError, EngineError, MtabError

no_driver = pytest.mark.skipif(bool(find_cuda().gpus), reason="a GPU is here")

DRIVER = "device cuda: NVIDIA's driver cannot be loaded ("


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Modules are looked for once in a process, and here more often."""
    yield
    tensorrt_module.cache_clear()


@pytest.fixture
def engine_bundle(copied: Path, change: Callable[..., None]) -> Path:
    """A bundle with two files that say that they are engines."""
    for flavor, version in (("rtx", "1.0"), ("trt", "10.0")):
        (copied / f"model_{flavor}.engine").write_bytes(b"no engine")
        entry = {
            "file": f"model_{flavor}.engine",
            "graph": "model.onnx",
            "flavor": flavor,
            "version": version,
            "compute_capability": "89",
            "profile": {},
            "key": "0" * 64,
            "seconds": 1.0,
            "verified": False,
        }
        # Which makes the manifest list the new file.
        change(copied, "config.json", lambda values: None)
        change(copied, "manifest.json", lambda values, e=entry: values.setdefault("engines", []).append(e))
    return copied


def refusal(call: Callable[[], object], kind: type[MtabError] = EngineError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@no_driver
def test_without_a_driver(tmp_path: Path) -> None:
    assert refusal(lambda: Stream(0)).startswith(DRIVER)
    pytest.importorskip("tensorrt_rtx", reason="needs the extra rtx")
    assert refusal(lambda: TensorRTEngine(tmp_path / "engine")).startswith(DRIVER)


@pytest.mark.parametrize(
    ("name", "module", "install"),
    [
        ("tensorrt-rtx", "tensorrt_rtx", "pip install 'mtab[rtx]'"),
        ("tensorrt", "tensorrt", "install TensorRT from NVIDIA, with its Python package"),
    ],
)
def test_what_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, install: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    found = refusal(lambda: TensorRTEngine(tmp_path / "engine", name=name))
    assert found == f"{module} is not installed: {install}"
    tensorrt_module.cache_clear()
    # What the package index has under the name of TensorRT: nothing.
    monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    found = refusal(lambda: TensorRTEngine(tmp_path / "engine", name=name))
    assert found == f"{module} cannot be loaded (it has no Runtime): {install}"


@pytest.mark.parametrize("device", ["cpu", "gpu", "cuda:", "tpu"])
def test_a_device_that_there_is_not(tmp_path: Path, device: str) -> None:
    found = refusal(lambda: TensorRTEngine(tmp_path / "engine", device))
    assert found == f"device {device!r}, expected cuda or cuda:N with engine tensorrt-rtx"


@no_driver
def test_a_bundle_with_engines(engine_bundle: Path) -> None:
    """The driver is what is missing: not a word of the processor, on which the bundle would run."""
    pytest.importorskip("tensorrt_rtx", reason="needs the extra rtx")
    assert refusal(lambda: mtab.load(engine_bundle, engine="tensorrt-rtx")).startswith(DRIVER)


@pytest.mark.parametrize("name", FLAVORS)
def test_a_bundle_without_the_engine_that_is_asked_for(engine_bundle: Path, name: str) -> None:
    found = refusal(lambda: mtab.load(engine_bundle, engine=name, precision="fp16"), BundleError)
    files = "model_rtx.engine, model_trt.engine"
    expected = f"expected one of {name} from fused fp16, built by mtab-export"
    assert found == f"{engine_bundle}: engines are {files}, {expected}"
