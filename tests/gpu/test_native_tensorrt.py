"""TensorRT natively on this machine's GPU, against ONNX Runtime on the CPU."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mtab
from mtab.bundle import open_bundle
from mtab.cuda import find_cuda, find_gpu
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.engines.tensorrt import FLAVORS, TensorRTEngine, tensorrt_module
from mtab.errors import EngineError
from mtab.graphs import FUSED
from mtab.preprocess import Preprocessor

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not find_cuda().gpus, reason="needs an NVIDIA GPU with its driver"),
]

MAX_SHAPES = "input_values:4x32000,audio_lengths:4,input_ids:4x16,text_lengths:4"
TONE = np.sin(np.arange(8000) / 5).astype(np.float32)


@pytest.fixture(params=FLAVORS)
def name(request: pytest.FixtureRequest) -> str:
    try:
        tensorrt_module(FLAVORS[request.param])
    except EngineError as error:
        pytest.skip(str(error))
    return request.param


@pytest.fixture
def graph(tone_bundle: Path) -> Path:
    return tone_bundle / "model.onnx"


@pytest.fixture
def build(tone_bundle: Path, graph: Path, name: str, tmp_path: Path) -> Callable[..., Path]:
    """Builds the engine of a graph for this GPU."""
    from mtab_export.shapes import shape_profile
    from mtab_export.tensorrt import build_engine

    bundle = open_bundle(tone_bundle)
    spec = FUSED.of(bundle.config.modalities, bundle.config.sizes)
    profile = shape_profile(spec, Preprocessor.from_folder(tone_bundle).config, None, None, MAX_SHAPES)

    def built(source: Path = graph, **options: bool) -> Path:
        target = tmp_path / "model.engine"
        build_engine(source, target, FLAVORS[name], find_gpu(0).compute_capability, profile, **options)
        return target

    return built


def batch(rows: int, samples: int, tokens: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(samples)
    return {
        "input_values": random.normal(size=(rows, samples)).astype(np.float32),
        "audio_lengths": np.array([samples // (1 + i % 2) for i in range(rows)]),
        "input_ids": random.integers(5, 200, (rows, tokens)),
        "text_lengths": np.array([max(1, tokens // (1 + i % 2)) for i in range(rows)]),
    }


BATCHES = [batch(1, 400, 1), batch(2, 8000, 6), batch(4, 32_000, 16)]


def require_same(engine: TensorRTEngine, reference: OnnxRuntimeEngine, inputs: dict[str, np.ndarray]) -> None:
    expected, found = reference.run(inputs), engine.run(inputs)
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=0, atol=1e-5)


def test_it_answers_as_the_cpu_does(build: Callable[..., Path], graph: Path, name: str) -> None:
    engine, reference = TensorRTEngine(build(), name=name), OnnxRuntimeEngine(graph)
    bundle = open_bundle(graph.parent)
    engine.require(FUSED.of(bundle.config.modalities, bundle.config.sizes))
    for inputs in BATCHES:
        require_same(engine, reference, inputs)


def test_shapes_that_repeat_run_as_a_graph(build: Callable[..., Path], graph: Path, name: str) -> None:
    """With new values each time: a graph replays the work, and not the answer."""
    engine, reference = TensorRTEngine(build(), name=name), OnnxRuntimeEngine(graph)
    for _ in range(4):
        for number, inputs in enumerate(BATCHES):
            values = inputs["input_values"] * (1 + number)
            require_same(engine, reference, inputs | {"input_values": values.astype(np.float32)})
    random = np.random.default_rng(1)
    for _ in range(3):
        noise = random.normal(size=(2, 8000)).astype(np.float32)
        require_same(engine, reference, BATCHES[1] | {"input_values": noise})


def test_more_shapes_than_graphs_are_kept(build: Callable[..., Path], graph: Path, name: str) -> None:
    engine, reference = TensorRTEngine(build(), name=name), OnnxRuntimeEngine(graph)
    for samples in (*range(4000, 8000, 200), *range(4000, 8000, 200), 4000):
        require_same(engine, reference, batch(1, samples, 5))


def test_what_the_profile_does_not_hold(build: Callable[..., Path], name: str) -> None:
    engine = TensorRTEngine(build(), name=name)
    with pytest.raises(
        EngineError, match=r"input_values is \[1, 32001\], expected \[1, 400\] to \[4, 32000\]$"
    ):
        engine.run(batch(1, 32_001, 5))
    engine.run(BATCHES[1])


def test_from_many_threads_at_once(build: Callable[..., Path], name: str) -> None:
    engine = TensorRTEngine(build(), name=name)
    batches = [batch(2, samples, 5) for samples in range(1000, 5000, 250)]
    alone = [engine.run(each)["logits"] for each in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(engine.run, batches * 3))
    for expected, found in zip(alone * 3, together, strict=True):
        np.testing.assert_allclose(found["logits"], expected, rtol=0, atol=1e-5)


def test_a_stripped_engine_takes_the_graphs_weights(
    build: Callable[..., Path], graph: Path, name: str
) -> None:
    path = build(strip=True)
    with pytest.raises(EngineError, match="holds no weights"):
        TensorRTEngine(path, name=name)
    require_same(TensorRTEngine(path, name=name, weights=graph), OnnxRuntimeEngine(graph), BATCHES[1])


def test_what_is_no_engine(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"no engine" * 100)
    with pytest.raises(EngineError) as caught:
        TensorRTEngine(path, name=name)
    assert str(caught.value).startswith(f"{path}: cannot be used on cuda by ")


def test_a_gpu_that_is_not_here(build: Callable[..., Path], name: str) -> None:
    count = len(find_cuda().gpus)
    with pytest.raises(EngineError, match=rf"device cuda:{count}: the driver sees {count} GPUs"):
        TensorRTEngine(build(), f"cuda:{count}", name=name)


def test_a_bundle_is_loaded_on_its_engine(tone_bundle: Path, tmp_path: Path, name: str) -> None:
    from mtab_export.engines import EngineOptions, build_engines, chosen_graphs

    copied = shutil.copytree(tone_bundle, tmp_path / "bundle")
    bundle = open_bundle(copied)
    options = EngineOptions(flavor=FLAVORS[name], max_shapes=MAX_SHAPES)
    list(build_engines(bundle, chosen_graphs(bundle, "fused", ["fp32"]), options))
    model = mtab.load(copied, engine=name)
    assert (model.engine.name, model.engine.device, model.engine.precision) == (name, "cuda", "fp32")
    expected = mtab.load(copied, "cpu").predict(TONE, "it is high").probabilities
    assert model.predict(TONE, "it is high").probabilities == pytest.approx(expected, abs=1e-5)
