"""What only a GPU can show, as docs/gpu-checklist.md lists it; one command runs it all: ``pytest -m gpu``.

The tests of a TensorRT flavor or of an execution provider that is not installed are skipped, each with its
reason, so that what was left unchecked can be read off the summary.
"""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import mtab
from mtab.bundle import open_bundle
from mtab.cuda import find_cuda
from mtab.data import Corpus
from mtab.data.reading import read_utterances
from mtab.engines import run_in_sequence
from mtab.engines.base import Engine
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.engines.tensorrt import FLAVORS, Flavor, TensorRTEngine
from mtab.errors import EngineError
from mtab.files import write_json
from mtab.graphs import BUDGETS, FUSED, GraphSpec, split_of
from mtab.parity import Answers, answer_unbatched, forward, measure_parity
from mtab.preprocess import Features, Preprocessor, PreprocessorConfig
from mtab.types import Precision
from mtab_export.int8 import quantize_static
from mtab_export.onnx_graph import export_graph, graph_sizes
from mtab_export.precision import convert, emulate
from mtab_export.shapes import LEVELS, Profile, shape_profile
from mtab_export.tensorrt import (
    PROVIDERS,
    build_engine,
    capabilities,
    make_ep_context,
    ort_trt_options,
    provider_options,
    tensorrt_version,
)
from mtab_train.checkpoint import load_model
from mtab_train.config import PRESETS
from mtab_train.model import MulTAB
from mtab_train.start import Start, begin_run
from mtab_train.trainer import Trainer

CUDA = find_cuda()
if not CUDA.gpus:
    pytest.skip(f"needs an NVIDIA GPU ({CUDA.problem or 'none is here'})", allow_module_level=True)

pytestmark = pytest.mark.gpu
needs_torch = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a torch built for CUDA")
needs_cuda_provider = pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="needs ONNX Runtime with CUDA: in a new environment, pip install 'mtab[gpu]'",
)


@dataclasses.dataclass(frozen=True)
class Fixture:
    """A model that tells tones apart, its bundle, and the utterances that engines are compared on."""

    model: MulTAB
    bundle: Path
    preprocess: Preprocessor
    features: Sequence[Features]

    @property
    def graph(self) -> Path:
        return self.bundle / "model.onnx"

    def profile(self, spec: GraphSpec = FUSED, max_shapes: str | None = None) -> Profile:
        spec = spec.of(self.model.config.modalities, graph_sizes(self.model))
        return shape_profile(spec, self.preprocess.config, max_shapes=max_shapes)

    def require_parity(self, run: Callable[[dict[str, np.ndarray]], Answers], precision: Precision) -> None:
        """Hold an engine against ONNX Runtime on the CPU in fp32: alone, in mixed batches, and between."""
        reference = OnnxRuntimeEngine(self.graph)
        budget = BUDGETS[precision]
        parity = measure_parity(
            answer_unbatched(forward(reference.run, self.preprocess), self.features),
            forward(run, self.preprocess),
            self.features,
            budget,
        )
        assert parity.failures(budget) == []


@pytest.fixture(scope="module")
def tone(tone_run: Path, tone_bundle: Path, tones: Corpus) -> Fixture:
    preprocess = Preprocessor.from_folder(tone_bundle)
    supported = open_bundle(tone_bundle).config.supported_modalities
    features = [
        found
        for _, found in read_utterances(tones.utterances, preprocess, supported)
        if isinstance(found, Features)
    ]
    return Fixture(load_model(tone_run), tone_bundle, preprocess, features)


@pytest.fixture(params=["rtx", "trt"])
def flavor(request: pytest.FixtureRequest) -> Flavor:
    """A flavor of TensorRT that is installed and builds for this machine's first GPU."""
    try:
        known = capabilities(request.param)
    except EngineError as error:
        pytest.skip(str(error))
    if (own := own_capability()) not in known:
        pytest.skip(f"{request.param} {tensorrt_version(request.param)} does not build for this GPU's {own}")
    return request.param


@pytest.fixture(params=["rtx", "trt"])
def provider(request: pytest.FixtureRequest) -> Flavor:
    """A flavor whose execution provider ONNX Runtime has here."""
    try:
        provider_options(request.param, {})
    except EngineError as error:
        pytest.skip(str(error))
    return request.param


def own_capability() -> str:
    return CUDA.gpus[0].compute_capability


def engine_name(flavor: Flavor) -> str:
    return next(name for name, each in FLAVORS.items() if each == flavor)


def open_engine(path: Path, flavor: Flavor, weights: Path | None = None) -> Engine:
    return TensorRTEngine(path, name=engine_name(flavor), weights=weights)


def write_product(path: Path, weight: np.ndarray) -> Path:
    """A graph from x (batch, inner) to y = x · weight, all of float32."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in zip("xy", weight.shape, strict=True)
    )
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", [x], [y], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


# PyTorch


@needs_torch
@pytest.mark.parametrize("mixed_precision", ["no", "fp16", "bf16"])
def test_training_on_a_gpu_learns_and_answers_on_a_cpu_too(
    tmp_path: Path, start: Start, tones: Corpus, mixed_precision: Any
) -> None:
    config = dataclasses.replace(start.train, epochs=8, mixed_precision=mixed_precision)
    run = begin_run(tmp_path / "run", dataclasses.replace(start, train=config), tones, "speaker", "speaker-0")
    results = Trainer(run, tones, "cuda", cache=False).fit()
    assert results.test.war > 0.8
    model, batch = (
        load_model(run),
        {
            "input_values": torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)),
            "audio_lengths": torch.tensor([8000, 5000]),
            "input_ids": torch.tensor([[0, 5, 6, 2], [0, 7, 2, 1]]),
            "text_lengths": torch.tensor([4, 3]),
        },
    )
    with torch.inference_mode():
        on_cpu = model(**batch).probabilities
        on_gpu = model.cuda()(**{name: tensor.cuda() for name, tensor in batch.items()}).probabilities.cpu()
    torch.testing.assert_close(on_gpu, on_cpu, rtol=0, atol=1e-4)


# ONNX Runtime's CUDA provider


@needs_cuda_provider
def test_on_cuda_nothing_is_rounded_to_tf32(tmp_path: Path) -> None:
    """TF32 keeps 10 bits of each factor: an error of some 3e-4 of a sum of products, 1000 times fp32's."""
    random = np.random.default_rng(0)
    x, weight = random.normal(size=(64, 1024)), random.normal(size=(1024, 64))
    x, weight = x.astype(np.float32), weight.astype(np.float32)
    found = OnnxRuntimeEngine(write_product(tmp_path / "product.onnx", weight), "cuda").run({"x": x})["y"]
    expected = x.astype(np.float64) @ weight.astype(np.float64)
    assert np.abs(found - expected).max() < 1e-5 * np.sqrt(1024)


@needs_cuda_provider
def test_on_cuda_answers_are_those_of_the_cpu(tone: Fixture) -> None:
    tone.require_parity(OnnxRuntimeEngine(tone.graph, "cuda").run, "fp32")


@needs_cuda_provider
def test_the_runtime_answers_on_cuda(tone: Fixture, tones: Corpus) -> None:
    cpu, cuda = (mtab.load(tone.bundle, device, engine="onnxruntime") for device in ("cpu", "cuda"))
    for utterance in tones.utterances[:4]:
        expected, found = (model.predict(utterance.audio, utterance.text) for model in (cpu, cuda))
        assert found.label == expected.label
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


@needs_cuda_provider
def test_fp16_on_cuda_is_what_the_gate_measures_on_a_cpu(tone: Fixture, tmp_path: Path) -> None:
    """The gate rounds every tensor to fp16: a stand-in for a GPU if they differ by less than the budget."""
    convert(tone.graph, tmp_path / "fp16.onnx", "fp16")
    on_cuda = OnnxRuntimeEngine(tmp_path / "fp16.onnx", "cuda")
    tone.require_parity(on_cuda.run, "fp16")
    emulate(tmp_path / "fp16.onnx", tmp_path / "emulated.onnx")
    batch = tone.preprocess.collate(tone.features[:8])
    expected = OnnxRuntimeEngine(tmp_path / "emulated.onnx").run(batch)["probabilities"]
    found = on_cuda.run(batch)["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=BUDGETS["fp16"].max_difference)


@needs_cuda_provider
def test_what_overflows_on_cuda_overflows_in_the_gate(tmp_path: Path) -> None:
    weight = np.full((16, 4), 1000, np.float32)
    convert(write_product(tmp_path / "fp32.onnx", weight), tmp_path / "fp16.onnx", "fp16")
    emulate(tmp_path / "fp16.onnx", tmp_path / "emulated.onnx")
    x = np.stack([np.full(16, 1.0), np.full(16, 100.0)]).astype(np.float32)
    on_cuda = OnnxRuntimeEngine(tmp_path / "fp16.onnx", "cuda").run({"x": x})["y"]
    by_gate = OnnxRuntimeEngine(tmp_path / "emulated.onnx").run({"x": x})["y"]
    np.testing.assert_array_equal(np.isinf(on_cuda), [[False] * 4, [True] * 4])
    np.testing.assert_array_equal(on_cuda, by_gate)


@needs_cuda_provider
def test_an_export_is_judged_on_cuda(tone_run: Path, tmp_path: Path) -> None:
    from mtab_export.cli import main

    arguments = ["--checkpoint", tone_run, "--out", tmp_path / "bundle", "--parts", "all", "--device", "cuda"]
    done = CliRunner().invoke(main, [str(argument) for argument in [*arguments, "--dtype", "fp32", "--fp16"]])
    assert done.exit_code == 0, done.output
    for graph in open_bundle(tmp_path / "bundle").manifest.graphs:
        assert graph.certificate.arithmetic == "ONNX Runtime on cuda"


# TensorRT engines


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8-static"])
def test_an_engine_answers_as_onnx_runtime_does(
    tone: Fixture, tmp_path: Path, flavor: Flavor, precision: Precision
) -> None:
    graph = write_precision(tone, tmp_path, precision)
    build_engine(graph, tmp_path / "engine", flavor, own_capability(), tone.profile())
    tone.require_parity(open_engine(tmp_path / "engine", flavor).run, precision)


def write_precision(tone: Fixture, folder: Path, precision: Precision) -> Path:
    """The fused graph in another precision."""
    source, target = tone.graph, folder / f"{precision}.onnx"
    if precision == "bf16":
        # The first opset that has a convolution of bf16.
        source = folder / "opset22.onnx"
        export_graph(tone.model, source, 22)
    if precision == "int8-static":
        quantize_static(source, target, (tone.preprocess.collate([each]) for each in tone.features))
    elif precision != "fp32":
        convert(source, target, "bf16" if precision == "bf16" else "fp16")
    return source if precision == "fp32" else target


def test_the_parts_in_sequence_answer_as_the_whole(tone: Fixture, tmp_path: Path, flavor: Flavor) -> None:
    engines = []
    for spec in split_of(tone.model.config.modalities):
        graph, target = tmp_path / f"{spec.name}.onnx", tmp_path / f"{spec.name}.engine"
        export_graph(tone.model, graph, spec=spec)
        build_engine(graph, target, flavor, own_capability(), tone.profile(spec))
        engines.append(open_engine(target, flavor))
    tone.require_parity(lambda batch: run_in_sequence(engines, batch), "fp32")


def test_an_engine_takes_its_whole_profile_and_no_more(tone: Fixture, tmp_path: Path, flavor: Flavor) -> None:
    profile = tone.profile(max_shapes="input_values:4x32000,audio_lengths:4,input_ids:4x16,text_lengths:4")
    build_engine(tone.graph, tmp_path / "engine", flavor, own_capability(), profile)
    engine, reference = open_engine(tmp_path / "engine", flavor), OnnxRuntimeEngine(tone.graph)
    for level in LEVELS:
        batch = full_batch(profile[level])
        expected, found = reference.run(batch), engine.run(batch)
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=0, atol=1e-5)
    batch = full_batch(profile["max"] | {"input_values": (4, 32001)})
    with pytest.raises(EngineError, match=r"input_values is \[4, 32001\], expected \[1, 400\] to"):
        engine.run(batch)


def full_batch(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Utterances as long as the batch, of noise and of tokens that every vocabulary has."""
    random = np.random.default_rng(0)
    batch, samples = shapes["input_values"]
    tokens = shapes["input_ids"][1]
    return {
        "input_values": random.normal(size=(batch, samples)).astype(np.float32),
        "audio_lengths": np.full(batch, samples),
        "input_ids": random.integers(5, 200, (batch, tokens)),
        "text_lengths": np.full(batch, tokens),
    }


def test_a_bundle_with_an_engine_for_this_gpu_runs_on_it(
    tone: Fixture, tones: Corpus, tone_run: Path, tmp_path: Path, flavor: Flavor
) -> None:
    from mtab_export.cli import main

    bundle = shutil.copytree(tone.bundle, tmp_path / "bundle")
    arguments = ["--checkpoint", str(tone_run), "--out", str(bundle), "--target", "tensorrt"]
    done = CliRunner().invoke(main, [*arguments, "--flavor", flavor])
    assert done.exit_code == 0, done.output
    assert [entry.compute_capability for entry in open_bundle(bundle).manifest.engines] == [own_capability()]
    on_cpu = mtab.load(bundle, device="cpu", engine="onnxruntime")
    on_gpu = mtab.load(bundle, device="cuda", engine=engine_name(flavor))
    for utterance in tones.utterances[:4]:
        expected, found = (model.predict(utterance.audio, utterance.text) for model in (on_cpu, on_gpu))
        assert found.label == expected.label
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


@pytest.mark.parametrize("option", ["refit", "strip"])
def test_weights_can_be_replaced(tone: Fixture, tmp_path: Path, flavor: Flavor, option: str) -> None:
    """An engine of other weights, or of none, answers as this model does once it is refitted with its own."""
    other = MulTAB.from_config(tone.model.config).eval()
    export_graph(other, tmp_path / "other.onnx")
    source = tmp_path / "other.onnx" if option == "refit" else tone.graph
    profile = tone.profile()
    built = build_engine(source, tmp_path / "engine", flavor, own_capability(), profile, **{option: True})
    if option == "strip":
        whole = build_engine(source, tmp_path / "whole", flavor, own_capability(), profile)
        assert built.size < whole.size
    tone.require_parity(open_engine(tmp_path / "engine", flavor, tone.graph).run, "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_papers_model_runs_at_the_ends_of_the_default_profile(
    tmp_path: Path, flavor: Flavor, precision: str
) -> None:
    """8 utterances of 30 s and 128 tokens fit into the GPU's memory, and give numbers."""
    torch.manual_seed(0)
    model = MulTAB.from_config(PRESETS["base"].model).eval()
    graph = tmp_path / "fp32.onnx"
    export_graph(model, graph)
    spec = FUSED.of(model.config.modalities, graph_sizes(model))
    profile = shape_profile(spec, PreprocessorConfig())
    if precision == "fp16":
        convert(graph, tmp_path / "fp16.onnx", "fp16")
        graph = tmp_path / "fp16.onnx"
    build_engine(graph, tmp_path / "engine", flavor, own_capability(), profile)
    engine = open_engine(tmp_path / "engine", flavor)
    for level in LEVELS:
        probabilities = engine.run(full_batch(profile[level]))["probabilities"]
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-3)


# ONNX Runtime's TensorRT providers


def test_a_provider_takes_the_whole_graph_and_answers_as_the_cpu(
    tone: Fixture, tmp_path: Path, provider: Flavor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bundle has it: the options beside the graph. What is left to the CPU is arithmetic on shapes."""
    # The providers have no option for it; TensorRT's default would round to TF32.
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    graph = tmp_path / "model.onnx"
    for path in (tone.graph, tone.graph.with_name("model.onnx.data")):
        shutil.copy(path, tmp_path)
    write_json(
        tmp_path / "model_ort_trt.json", {PROVIDERS[provider]: ort_trt_options(tone.profile(), provider)}
    )
    engine = OnnxRuntimeEngine(graph, "cuda", name=f"onnxruntime-{engine_name(provider)}")
    tone.require_parity(engine.run, "fp32")


def test_an_ep_context_model_stands_for_the_graph(
    tone: Fixture, tmp_path: Path, provider: Flavor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    settings = ort_trt_options(tone.profile(), provider)
    target = tmp_path / "context" / "model.onnx"
    make_ep_context(tone.graph, target, provider, settings)
    assert [path.name for path in target.parent.iterdir()] == ["model.onnx"]
    assert {node.op_type for node in onnx.load(target).graph.node} == {"EPContext"}
    session = onnxruntime.InferenceSession(target, provider_options(provider, settings), enable_fallback=0)
    tone.require_parity(answers_of(session), "fp32")


def answers_of(session: onnxruntime.InferenceSession) -> Callable[[dict[str, np.ndarray]], Answers]:
    names = [output.name for output in session.get_outputs()]

    def run(batch: dict[str, np.ndarray]) -> Answers:
        return dict(zip(names, cast(list[np.ndarray], session.run(names, batch)), strict=True))

    return run
