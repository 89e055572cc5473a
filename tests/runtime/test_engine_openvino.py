"""OpenVINO against ONNX Runtime: inputs, devices, threads and files."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from mtab.bundle import open_bundle
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.engines.openvino import OpenVinoEngine
from mtab.errors import EngineError
from mtab.graphs import FUSED

from .openvino_engine import BATCHES, LIMITED, batch, refusal

openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
pytestmark = pytest.mark.skipif(LIMITED, reason="OpenVINO computes nothing with SSE4.1 alone")


@pytest.fixture(scope="module")
def graph(tone_bundle: Path) -> Path:
    return tone_bundle / "model.onnx"


@pytest.fixture(scope="module")
def expected(graph: Path) -> list[dict[str, np.ndarray]]:
    engine = OnnxRuntimeEngine(graph, threads=1)
    return [engine.run(each) for each in BATCHES]


def test_it_answers_as_onnx_runtime_does(graph: Path, expected: list[dict[str, np.ndarray]]) -> None:
    engine = OpenVinoEngine(graph, threads=1)
    assert (engine.name, engine.device, engine.precision) == ("openvino", "cpu", "fp32")
    assert engine.outputs == ("logits", "probabilities", "embeddings")
    for each, right in zip(BATCHES, expected, strict=True):
        found = engine.run(each | {"unasked": np.zeros(1)})
        assert list(found) == list(right)
        for tensor in (each for each in FUSED.outputs if each.name in engine.outputs):
            assert found[tensor.name].dtype == np.float32
            assert tensor.tolerance is not None
            assert tensor.tolerance.used(found[tensor.name], right[tensor.name]).max() <= 1


def test_float32_is_float32_also_where_bf16_is_faster(graph: Path) -> None:
    """bf16, OpenVINO's own choice where there is any, would be off by some 1e-3."""
    engine = OpenVinoEngine(graph, threads=1)
    reference = OnnxRuntimeEngine(graph, threads=1).run(BATCHES[2])
    np.testing.assert_allclose(engine.run(BATCHES[2])["logits"], reference["logits"], rtol=1e-4, atol=1e-5)


def test_the_signature(graph: Path, tone_bundle: Path) -> None:
    config = open_bundle(tone_bundle).config
    engine = OpenVinoEngine(graph, threads=1)
    with pytest.raises(EngineError, match=r"answers logits float32 \[\?, 2\], .* expected logits float32"):
        engine.require(FUSED.of(config.modalities, config.sizes | {"classes": 3}))
    with pytest.raises(EngineError, match=r"takes input_values float32 \[\?, \?\]"):
        engine.require(FUSED.of(("audio",), config.sizes))
    engine.require(FUSED.of(config.modalities, config.sizes))


def test_from_many_threads_at_once(graph: Path) -> None:
    engine = OpenVinoEngine(graph, threads=1)
    batches = [batch(samples) for samples in range(1000, 5000, 250)]
    alone = [engine.run(each)["logits"] for each in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(engine.run, batches * 3))
    for right, found in zip(alone * 3, together, strict=True):
        np.testing.assert_array_equal(found["logits"], right)


def test_answers_outlive_the_next_call(graph: Path) -> None:
    engine = OpenVinoEngine(graph, threads=1)
    first = engine.run(BATCHES[1])
    kept = {name: array.copy() for name, array in first.items()}
    engine.run(BATCHES[2])
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])


@pytest.mark.parametrize(
    ("name", "array", "found", "expected"),
    [
        ("input_ids", np.full((3, 6), 7), "int64 [3, 6]", "int64 [2, tokens]"),
        ("text_lengths", np.array([1, 2, 3]), "int64 [3]", "int64 [2]"),
        ("text_lengths", np.array([1.0, 2]), "float64 [2]", "int64 [2]"),
        ("input_ids", np.full((2, 6, 1), 7), "int64 [2, 6, 1]", "int64 [2, tokens]"),
        ("input_values", np.zeros((2, 0), np.float32), "float32 [2, 0]", "float32 [batch, samples]"),
    ],
)
def test_inputs_that_do_not_belong_together(
    graph: Path, tone_bundle: Path, name: str, array: np.ndarray, found: str, expected: str
) -> None:
    """OpenVINO itself answers all of these, with nothing or with what it answered before."""
    config = open_bundle(tone_bundle).config
    engine = OpenVinoEngine(graph, threads=1)
    engine.require(FUSED.of(config.modalities, config.sizes))
    with pytest.raises(EngineError) as caught:
        engine.run(BATCHES[1] | {name: array})
    assert str(caught.value) == f"{graph}: {name} {found}, expected {name} {expected}"


# Devices, threads and files


@pytest.mark.parametrize("device", ["tpu", "cuda", "cpu:0", "gpu:", "GPU"])
def test_a_device_that_there_is_not(graph: Path, device: str) -> None:
    expected = "expected cpu, gpu or gpu:N with engine openvino"
    assert refusal(graph, device) == f"device {device!r}, {expected}"


def test_a_device_that_is_not_here(graph: Path) -> None:
    message = refusal(graph, "gpu:7")
    assert message.startswith("device gpu:7: OpenVINO finds CPU")
    assert message.endswith(", expected GPU.7")


@pytest.mark.parametrize("threads", [1, 2])
def test_it_works_with_as_many_threads_as_it_is_told(graph: Path, threads: int) -> None:
    """Of a call that takes long enough no more processor time is used than there are threads for."""
    code = (
        "import sys, time, numpy as np; from pathlib import Path\n"
        "from mtab.engines.openvino import OpenVinoEngine\n"
        "engine = OpenVinoEngine(Path(sys.argv[1]), threads=int(sys.argv[2]))\n"
        "n = 160_000\n"
        "inputs = {'input_values': np.zeros((2, n), np.float32), 'audio_lengths': np.full(2, n),\n"
        "          'input_ids': np.full((2, 3), 7), 'text_lengths': np.full(2, 3)}\n"
        "engine.run(inputs)\n"
        "wall, busy = time.perf_counter(), time.process_time()\n"
        "for _ in range(5): engine.run(inputs)\n"
        "print((time.process_time() - busy) / (time.perf_counter() - wall))\n"
    )
    command = [sys.executable, "-c", code, str(graph), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(done.stdout) <= threads + 0.1


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_that_are_none(graph: Path, threads: int) -> None:
    assert refusal(graph, threads=threads) == f"{threads} threads, expected 1 or more"


def test_without_openvino_the_extra_is_named(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert refusal(graph) == "engine openvino: not installed: pip install 'mtab[openvino]'"


@pytest.mark.parametrize("content", [b"no graph", b"\x0a\xff", None])
def test_what_is_no_graph(tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: OpenVINO cannot load it (")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("way", ["above", "absolute", "link", "linked folder", "in and out"])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, way: str) -> None:
    """No graph reads what its folder does not hold: OpenVINO sees to it, and is held to it here."""
    secret, bundle = tmp_path / "secret", tmp_path / "bundle"
    bundle.mkdir()
    secret.write_bytes(np.arange(256, dtype=np.float32).tobytes())
    (bundle / "link").symlink_to(secret)
    (bundle / "folder").symlink_to(tmp_path)
    location = {
        "above": "../secret",
        "absolute": str(secret),
        "link": "link",
        "linked folder": "folder/secret",
        "in and out": "../bundle/../secret",
    }[way]
    weight = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[256], data_location=TensorProto.EXTERNAL
    )
    weight.external_data.add(key="location", value=location)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [256]) for name in "xy"]
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "add", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    assert refusal(bundle / "model.onnx").startswith(f"{bundle / 'model.onnx'}: OpenVINO cannot load it (")


def test_what_cannot_compute_is_an_error(tone_bundle: Path) -> None:
    """With so little of the processor OpenVINO fails, or gives an empty array and says nothing."""
    code = (
        "import sys, numpy, mtab\n"
        "model = mtab.load(sys.argv[1], engine='openvino')\n"
        "for samples in (400, 8000, 8000):\n"
        "    try: print(model.predict(numpy.ones(samples, 'f4'), 'a tone').label)\n"
        "    except mtab.errors.EngineError: print('refused')\n"
    )
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "SSE41"}
    command = [sys.executable, "-c", code, tone_bundle]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert len(said) == 3
    assert set(said) <= {"high", "low", "refused"}
