"""The precisions of OpenVINO: what a processor has or has not, and what stays in float32."""

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

import mtab.engines.openvino as module
from mtab.data import Corpus
from mtab.engines.base import Engine
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.engines.openvino import OpenVinoEngine, hint_of, keep_float32, read_graph
from mtab.errors import EngineError
from mtab.graphs import BUDGETS
from mtab.preprocess import Preprocessor
from mtab.types import Precision

from .openvino_engine import BATCHES, LIMITED, refusal

openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
pytestmark = pytest.mark.skipif(LIMITED, reason="OpenVINO computes nothing with SSE4.1 alone")

HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
HAS_VNNI = module.multiplies_int8()


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


@pytest.mark.skipif(not HAS_BF16, reason="needs a processor with bf16")
def test_bf16_from_the_cache(lower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path))
    compiled, kept, begun = (
        OpenVinoEngine(lower / "model_bf16.onnx", threads=1, precision="bf16", content=content)
        for content in (None, "a hash", "a hash")
    )
    assert len(list(tmp_path.glob("graphs/*/model.blob"))) == 1
    for each in (*BATCHES, *BATCHES):
        for name, expected in compiled.run(each).items():
            for engine in (kept, begun):
                np.testing.assert_array_equal(engine.run(each)[name], expected)


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


@pytest.mark.parametrize("precision", ["int8-static", "fp8"])
def test_a_precision_that_it_has_not(tone_bundle: Path, precision: str) -> None:
    expected = "expected fp32, bf16, fp16 or int8"
    found = refusal(tone_bundle / "model.onnx", precision=precision)
    assert found == f"engine openvino: precision {precision}, {expected}"
