"""OpenVINO against ONNX Runtime, and the precisions that a processor has or has not."""

import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

import mtab.engines.openvino as module
from mtab.bundle import open_bundle
from mtab.data import Corpus
from mtab.engines.base import Engine
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.engines.openvino import OpenVinoEngine, compress_weights, hint_of, keep_float32, read_graph
from mtab.errors import EngineError
from mtab.graphs import BUDGETS, FUSED
from mtab.preprocess import Preprocessor
from mtab.types import Precision

openvino = pytest.importorskip("openvino", reason="needs the extra openvino")

HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
HAS_VNNI = module.multiplies_int8()


def batch(samples: int, tokens: int = 6, rows: int = 2) -> dict[str, np.ndarray]:
    """Noise of full and of half length."""
    random = np.random.default_rng(samples)
    return {
        "input_values": random.normal(size=(rows, samples)).astype(np.float32),
        "audio_lengths": np.array([samples // (1 + i % 2) for i in range(rows)]),
        "input_ids": random.integers(5, 200, (rows, tokens)),
        "text_lengths": np.array([max(1, tokens // (1 + i % 2)) for i in range(rows)]),
    }


BATCHES = [
    batch(samples, tokens, rows) for samples, tokens, rows in ((400, 1, 1), (8000, 6, 2), (20_000, 9, 3))
]


@pytest.fixture(scope="module")
def graph(tone_bundle: Path) -> Path:
    return tone_bundle / "model.onnx"


@pytest.fixture(scope="module")
def expected(graph: Path) -> list[dict[str, np.ndarray]]:
    engine = OnnxRuntimeEngine(graph, threads=1)
    return [engine.run(each) for each in BATCHES]


def refusal(*arguments: object, **options: object) -> str:
    with pytest.raises(EngineError) as caught:
        OpenVinoEngine(*arguments, **options)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_answers_as_onnx_runtime_does(graph: Path, expected: list[dict[str, np.ndarray]]) -> None:
    engine = OpenVinoEngine(graph, threads=1)
    assert (engine.name, engine.device, engine.precision) == ("openvino", "cpu", "fp32")
    assert engine.outputs == ("logits", "probabilities", "embeddings")
    for each, right in zip(BATCHES, expected, strict=True):
        found = engine.run(each | {"unasked": np.zeros(1)})
        assert list(found) == list(right)
        for tensor in FUSED.outputs:
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


# Precisions


@pytest.fixture(scope="module")
def lower(tone_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the half precisions, judged at export by rounding as on any machine."""
    from mtab_export.cli import main

    folder = tmp_path_factory.mktemp("lower") / "bundle"
    precisions = [word for precision in ("fp32", "fp16", "bf16") for word in ("--dtype", precision)]
    done = CliRunner().invoke(main, ["--checkpoint", str(tone_run), "--out", str(folder), *precisions])
    assert done.exit_code == 0, done.output
    return folder


def largest_difference(engine: Engine, bundle: Path, tones: Corpus) -> float:
    """Of a probability, from the float32 graph's in ONNX Runtime, over a padded batch of all tones."""
    preprocess = Preprocessor.from_folder(bundle)
    inputs = preprocess.collate([preprocess(each.audio, each.text) for each in tones.utterances])
    exact = OnnxRuntimeEngine(bundle / "model.onnx", threads=1).run(inputs)
    return float(np.abs(engine.run(inputs)["probabilities"] - exact["probabilities"]).max())


def test_bf16_is_used_or_refused(lower: Path, tones: Corpus) -> None:
    """Where the processor lacks it OpenVINO computes in float32 and says nothing: mtab does."""
    path = lower / "model_bf16.onnx"
    if not HAS_BF16:
        message = refusal(path, precision="bf16")
        assert message.startswith("engine openvino: cpu here has FP32")
        assert message.endswith("expected BF16 for bf16")
        return
    engine = OpenVinoEngine(path, threads=1, precision="bf16")
    assert engine.precision == "bf16"
    assert 0 < largest_difference(engine, lower, tones) <= BUDGETS["bf16"].max_difference


def test_int8_is_used_or_refused(tone_bundle: Path, tones: Corpus) -> None:
    path = tone_bundle / "model.onnx"
    if not HAS_VNNI:
        message = refusal(path, precision="int8")
        assert message == "engine openvino: int8 needs a processor with VNNI, expected fp32 here"
        return
    engine = OpenVinoEngine(path, threads=1, precision="int8")
    assert 0 < largest_difference(engine, tone_bundle, tones) <= BUDGETS["int8"].max_difference


PLAIN, SAPPHIRE_RAPIDS = ["FP32", "INT8", "BIN"], ["FP32", "FP16", "INT8", "BIN", "BF16"]


@pytest.mark.parametrize(
    ("precision", "capabilities", "expected"),
    [
        ("fp32", PLAIN, "f32"),
        ("fp32", SAPPHIRE_RAPIDS, "f32"),
        ("bf16", SAPPHIRE_RAPIDS, "f32"),
        ("fp16", SAPPHIRE_RAPIDS, "f16"),
        ("bf16", PLAIN, None),
        ("fp16", PLAIN, None),
    ],
)
def test_what_arithmetic_is_asked_for(
    precision: Precision, capabilities: list[str], expected: str | None
) -> None:
    """bf16 is what its graph is typed in: asked for bf16, OpenVINO would round the islands as well."""
    if expected is not None:
        assert hint_of("cpu", precision, capabilities) == expected
        return
    with pytest.raises(EngineError, match=f"expected {precision.upper()} for {precision}"):
        hint_of("cpu", precision, capabilities)


@pytest.mark.parametrize(
    ("sets", "limit", "has"),
    [
        (["avx2"], None, False),
        (["avx2", "avx512f", "vnni"], None, True),
        (["avx2", "avx512f", "vnni", "bf16", "amx"], "AVX2", False),
        (["avx2", "avx512f", "vnni", "bf16", "amx"], "avx512_core", False),
        (["avx2", "avx512f", "vnni", "bf16", "amx"], "AVX512_CORE_VNNI", True),
    ],
)
@pytest.mark.parametrize("capabilities", [PLAIN, SAPPHIRE_RAPIDS])
def test_int8_by_what_the_processor_has_and_onednn_may_use(
    monkeypatch: pytest.MonkeyPatch, sets: list[str], limit: str | None, has: bool, capabilities: list[str]
) -> None:
    monkeypatch.setattr(module, "instruction_sets", lambda: sets)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    if has:
        assert hint_of("cpu", "int8", capabilities) == "f32"
        return
    with pytest.raises(EngineError, match="int8 needs a processor with VNNI"):
        hint_of("cpu", "int8", capabilities)


SUMS = ("MVN", "Softmax", "ReduceSum", "ReduceMean")
"""What adds up many numbers: normalisations, attention's weights, means and counts over time."""


MOMENTS = "masked_group_norm/"
"""What the names of the nodes begin with that sum a whole utterance up, by products and a convolution."""


def operators(model: Any) -> Iterator[Any]:
    """All nodes of a model, those of its loops' bodies too."""
    for node in model.get_ops():
        yield node
        if node.get_type_name() == "Loop":
            yield from operators(node.get_function())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_leaves_sums_in_float32(lower: Path, tones: Corpus, precision: str) -> None:
    """As the graph that was judged at export has it, on any machine."""
    model = read_graph(lower / f"model_{precision}.onnx")
    nodes = [node for node in operators(model) if MOMENTS not in node.get_friendly_name()]
    types = {
        kind: {str(node.get_output_element_type(0)) for node in nodes if node.get_type_name() == kind}
        for kind in (*SUMS, "Convolution", "GroupConvolution")
    }
    half = openvino.Type.bf16 if precision == "bf16" else openvino.Type.f16
    assert types["Convolution"] | types["GroupConvolution"] == {str(half)}
    assert set().union(*(types[kind] for kind in SUMS)) == {str(openvino.Type.f32)}
    products = [node for node in nodes if node.get_type_name() == "MatMul"]
    assert sum(node.get_output_element_type(0) == half for node in products) > 0.9 * len(products)
    # Weights in half precision, whatever the processor makes of the arithmetic.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.compile_model(model, "CPU", settings).create_infer_request()
    preprocess = Preprocessor.from_folder(lower)
    for each in tones.utterances[:4]:
        inputs = preprocess.collate([preprocess(each.audio, each.text)])
        exact = OnnxRuntimeEngine(lower / "model.onnx", threads=1).run(inputs)
        off = np.abs(request.infer(inputs)["probabilities"] - exact["probabilities"]).max()
        assert 0 < off <= BUDGETS["bf16"].max_difference


def test_islands_of_a_graph_in_fp16_are_marked(lower: Path, tmp_path: Path) -> None:
    """OpenVINO would convert them where it computes in fp16; its own file says of what it would not."""
    model = read_graph(lower / "model_fp16.onnx")
    marked = keep_float32(model)
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    layers = ElementTree.parse(tmp_path / "model.xml").getroot().iter("layer")
    kept = {
        layer.get("type")
        for layer in layers
        if layer.find("rt_info/attribute") is not None and MOMENTS not in str(layer.get("name"))
    }
    assert marked > 20
    assert {"MVN", "SoftMax"} <= kept
    assert "Convolution" not in kept


def test_weights_in_int8(tmp_path: Path) -> None:
    """Of y = x @ w for each column of w: the largest weight exactly, all within half a step."""
    random = np.random.default_rng(0)
    w = random.normal(size=(32, 8)).astype(np.float32) * np.logspace(-3, 2, 8, dtype=np.float32)
    w[:, 5] = 0
    path = tmp_path / "product.onnx"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", size])
        for name, size in (("x", 32), ("y", 8))
    ]
    weight = helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.tobytes(), raw=True)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())

    read = read_graph(path)
    assert compress_weights(read) == 1
    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = openvino.compile_model(read, "CPU", settings)
    found = compiled.create_infer_request().infer({"x": np.eye(32, dtype=np.float32)})[0]
    step = np.abs(w).max(axis=0) / 127
    assert (np.abs(found - w) <= step * 0.501).all()
    rows = np.abs(w).argmax(axis=0)
    np.testing.assert_allclose(found[rows, range(8)], w[rows, range(8)], rtol=1e-6)
    assert np.unique(np.rint(found[:, 0] / step[0])).size > 16


def test_the_whole_model_with_int8_weights(graph: Path, expected: list[dict[str, np.ndarray]]) -> None:
    model = read_graph(graph)
    assert compress_weights(model) > 10
    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    request = openvino.compile_model(model, "CPU", settings).create_infer_request()
    for each, right in zip(BATCHES, expected, strict=True):
        off = np.abs(request.infer(each)["probabilities"] - right["probabilities"]).max()
        assert 0 < off <= BUDGETS["int8"].max_difference


@pytest.mark.parametrize("precision", ["int8-static", "fp8"])
def test_a_precision_that_it_has_not(graph: Path, precision: str) -> None:
    expected = "expected fp32, bf16, fp16 or int8"
    assert refusal(graph, precision=precision) == f"engine openvino: precision {precision}, {expected}"


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
