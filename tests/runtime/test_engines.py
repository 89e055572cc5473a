"""ONNX Runtime and what all engines share: devices and threads as asked for, nothing from elsewhere."""

import dataclasses
import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from mtab.engines import ENGINES, run_in_sequence
from mtab.engines.onnxruntime import PROVIDERS, OnnxRuntimeEngine, operators_on, require_no_compute
from mtab.errors import EngineError
from mtab.graphs import FUSED

WEIGHT = np.arange(256, dtype=np.float32)


def external_graph(path: Path, location: str, x: str = "x", y: str = "y") -> Path:
    """y = x + w, with w in the file ``location``."""
    weight = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=WEIGHT.shape, data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", location), ("offset", "0"), ("length", str(WEIGHT.nbytes))):
        weight.external_data.add(key=key, value=value)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, WEIGHT.shape) for name in (x, y)]
    node = helper.make_node("Add", [x, "w"], [y])
    graph = helper.make_graph([node], "add", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def refusal(*arguments: object, **options: object) -> str:
    with pytest.raises(EngineError) as caught:
        OnnxRuntimeEngine(*arguments, **options)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def graph(counting_bundle: Callable[[str], Path]) -> Path:
    """Logits are an utterance's tokens and 0."""
    return counting_bundle("text") / "model.onnx"


def test_it_computes_the_graph(graph: Path) -> None:
    engine = OnnxRuntimeEngine(graph, threads=1)
    assert engine.inputs == ("input_ids", "text_lengths")
    assert engine.outputs == ("logits", "probabilities", "embeddings")
    assert (engine.name, engine.device) == ("onnxruntime", "cpu")
    inputs = {"input_ids": np.zeros((2, 3), np.int64), "text_lengths": np.array([3, 1])}
    answers = engine.run(inputs | {"unasked": np.zeros(1)})
    assert list(answers) == list(engine.outputs)
    np.testing.assert_array_equal(answers["logits"], [[3, 0], [1, 0]])
    np.testing.assert_array_equal(answers["embeddings"], [[3], [1]])
    softmax = [[1 / (1 + math.exp(-tokens)), 1 / (1 + math.exp(tokens))] for tokens in (3, 1)]
    np.testing.assert_allclose(answers["probabilities"], softmax, atol=1e-7)
    assert all(answer.dtype == np.float32 for answer in answers.values())


@pytest.mark.parametrize(
    ("ids", "found"),
    [(np.zeros((2, 3)), "float64 [2, 3]"), (np.zeros((2, 3, 1), np.int64), "int64 [2, 3, 1]")],
)
def test_an_input_of_another_type_or_rank(graph: Path, ids: np.ndarray, found: str) -> None:
    engine = OnnxRuntimeEngine(graph, threads=1)
    with pytest.raises(EngineError) as caught:
        engine.run({"input_ids": ids, "text_lengths": np.array([3, 1])})
    assert str(caught.value) == f"{graph}: input_ids {found}, expected input_ids int64 [batch, tokens]"


def test_an_input_of_another_fixed_size(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(WEIGHT.tobytes())
    engine = OnnxRuntimeEngine(external_graph(tmp_path / "model.onnx", "w.data"), threads=1)
    with pytest.raises(EngineError, match=r"x float32 \[255\], expected x float32 \[256\]$"):
        engine.run({"x": WEIGHT[1:]})


def test_what_fails_inside_is_one_line(tone_bundle: Path) -> None:
    """A clip that is shorter than one frame."""
    path = tone_bundle / "model.onnx"
    inputs = {
        "input_values": np.zeros((1, 20), np.float32),
        "audio_lengths": np.array([20]),
        "input_ids": np.zeros((1, 3), np.int64),
        "text_lengths": np.array([3]),
    }
    with pytest.raises(EngineError) as caught:
        OnnxRuntimeEngine(path, threads=1).run(inputs)
    message = str(caught.value)
    start = (
        f"{path}: ONNX Runtime fails on cpu with input_values [1, 20], audio_lengths [1], input_ids [1, 3]"
    )
    assert message.startswith(start)
    assert "([ONNXRuntimeError]" in message
    assert "\n" not in message


def test_what_the_graph_must_take_and_answer(graph: Path) -> None:
    engine = OnnxRuntimeEngine(graph, threads=1)
    spec = FUSED.of(("text",), {"classes": 2, "embedding": 1})
    engine.require(spec)
    outputs = "logits float32 [batch, {0}], probabilities float32 [batch, {0}]"
    for wrong, message in (
        (FUSED.of(("text",), {"classes": 3, "embedding": 1}), f"expected {outputs.format(3)}"),
        (
            FUSED.of(("audio",), {"classes": 2, "embedding": 1}),
            "takes input_ids int64 [batch, tokens], text_lengths int64 [batch], expected ",
        ),
        (dataclasses.replace(spec, outputs=spec.outputs[::-1]), f"answers {outputs.format(2)}"),
        (dataclasses.replace(spec, outputs=spec.outputs[:2]), "answers logits"),
    ):
        with pytest.raises(EngineError) as caught:
            engine.require(wrong)
        assert str(caught.value).startswith(f"{graph}: ")
        assert message in str(caught.value)


def test_from_many_threads_at_once(tone_bundle: Path) -> None:
    engine = OnnxRuntimeEngine(tone_bundle / "model.onnx", threads=1)
    random = np.random.default_rng(0)
    batches = [
        {
            "input_values": random.normal(size=(2, samples)).astype(np.float32),
            "audio_lengths": np.array([samples, samples // 2]),
            "input_ids": random.integers(5, 200, (2, 4)),
            "text_lengths": np.array([4, 2]),
        }
        for samples in range(1000, 5000, 250)
    ]
    alone = [engine.run(batch)["logits"] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(engine.run, batches * 3))
    for expected, found in zip(alone * 3, together, strict=True):
        np.testing.assert_array_equal(found["logits"], expected)


# Devices and threads


@pytest.mark.parametrize(
    "device",
    ["tpu", "", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "cuda:1:2", " cpu", "cuda:1\n", "cuda:\u0663"],
)
def test_a_device_that_there_is_not(graph: Path, device: str) -> None:
    expected = "expected cpu, cuda or cuda:N with engine onnxruntime"
    assert refusal(graph, device) == f"device {device!r}, {expected}"


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="ONNX Runtime has CUDA here"
)
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_here(graph: Path, device: str) -> None:
    assert refusal(graph, device) == (
        f"device {device}: this ONNX Runtime has no CUDAExecutionProvider, expected one that has; "
        "in a new environment: pip install 'mtab[gpu]'"
    )


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="ONNX Runtime has CUDA here"
)
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_it_goes_on_on_no_other_device(
    graph: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime says that it has CUDA, and then chooses the CPU: as the GPU's wheel does without a GPU."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert refusal(graph, "cuda") == (
        "device cuda: ONNX Runtime chose CPUExecutionProvider, expected CUDAExecutionProvider"
    )
    assert capfd.readouterr().out == ""


def test_a_plugin_that_is_not_installed(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)
    assert refusal(graph, "cuda", name="onnxruntime-tensorrt-rtx") == (
        "device cuda: TensorRT-RTX's plugin for ONNX Runtime is not installed: "
        "pip install onnxruntime-ep-nv-tensorrt-rtx"
    )


@pytest.mark.parametrize("name", [name for name in PROVIDERS if "tensorrt" in name])
def test_a_provider_for_gpus_alone(graph: Path, name: str) -> None:
    assert name in ENGINES
    assert refusal(graph, "cpu", name=name) == f"device 'cpu', expected cuda or cuda:N with engine {name}"


def test_what_a_provider_leaves_to_the_cpu_is_counted(tone_bundle: Path) -> None:
    """Of a session that leaves all to it: there matrix products are, and would be a fall-back."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    path = tone_bundle / "model.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    left = operators_on(session, "CPUExecutionProvider")
    assert left["MatMul"] > 5
    assert operators_on(session, "CUDAExecutionProvider") == {}
    with pytest.raises(EngineError) as caught:
        require_no_compute(left, path, "CUDAExecutionProvider", "cuda")
    message = str(caught.value)
    assert message.startswith(f"{path}: CUDAExecutionProvider leaves ")
    assert f"{left['MatMul']} MatMul" in message
    require_no_compute({"Shape": 7, "Gather": 3, "Concat": 2}, path, "CUDAExecutionProvider", "cuda")


def test_parts_in_sequence(tmp_path: Path) -> None:
    """Each takes what the one before answered: y = x + w, then z = y + w."""
    (tmp_path / "w.data").write_bytes(WEIGHT.tobytes())
    engines = [
        OnnxRuntimeEngine(external_graph(tmp_path / f"{y}.onnx", "w.data", x, y), threads=1)
        for x, y in ("xy", "yz")
    ]
    values = run_in_sequence(engines, {"x": np.ones_like(WEIGHT)})
    assert list(values) == ["x", "y", "z"]
    np.testing.assert_array_equal(values["z"], 2 * WEIGHT + 1)


@pytest.mark.gpu
def test_on_a_gpu_answers_are_those_of_the_cpu(tone_bundle: Path) -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("needs onnxruntime-gpu and an NVIDIA GPU")
    random = np.random.default_rng(0)
    inputs = {
        "input_values": random.normal(size=(2, 16_000)).astype(np.float32),
        "audio_lengths": np.array([16_000, 8_000]),
        "input_ids": random.integers(5, 200, (2, 8)),
        "text_lengths": np.array([8, 3]),
    }
    path = tone_bundle / "model.onnx"
    cpu, gpu = (OnnxRuntimeEngine(path, device).run(inputs)["probabilities"] for device in ("cpu", "cuda"))
    np.testing.assert_allclose(gpu, cpu, rtol=0, atol=1e-5)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_that_are_none(graph: Path, threads: int) -> None:
    assert refusal(graph, threads=threads) == f"{threads} threads, expected 1 or more"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc (Linux)")
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_it_works_with_as_many_threads_as_it_is_told(graph: Path, threads: int) -> None:
    """The thread that calls is one of them."""
    code = (
        "import os, sys; from pathlib import Path; from mtab.engines.onnxruntime import OnnxRuntimeEngine\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "engine = OnnxRuntimeEngine(Path(sys.argv[1]), threads=int(sys.argv[2]))\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    command = [sys.executable, "-c", code, str(graph), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) == threads - 1
    assert done.stderr == ""


# Files


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x07", os.urandom(5000)])
def test_what_is_no_graph(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: ONNX Runtime cannot load it (")
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    assert refusal(path).startswith(f"{path}: ONNX Runtime cannot load it (")


def test_weights_lie_beside_the_graph(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(WEIGHT.tobytes())
    engine = OnnxRuntimeEngine(external_graph(tmp_path / "model.onnx", "w.data"), threads=1)
    answer = engine.run({"x": np.ones_like(WEIGHT)})["y"]
    np.testing.assert_array_equal(answer, WEIGHT + 1)


@pytest.mark.parametrize("way", ["above", "absolute", "link", "linked folder", "in and out", "memory"])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, way: str) -> None:
    """No graph reads what its folder does not hold: ONNX Runtime sees to it, and is held to it here."""
    secret, bundle = tmp_path / "secret", tmp_path / "bundle"
    bundle.mkdir()
    secret.write_bytes(WEIGHT.tobytes())
    (bundle / "link").symlink_to(secret)
    (bundle / "folder").symlink_to(tmp_path)
    location = {
        "above": "../secret",
        "absolute": str(secret),
        "link": "link",
        "linked folder": "folder/secret",
        "in and out": "../bundle/../secret",
        "memory": "*/_ORT_MEM_ADDR_/*",
    }[way]
    path = external_graph(bundle / "model.onnx", location)
    assert refusal(path, threads=1).startswith(f"{path}: ONNX Runtime cannot load it (")
