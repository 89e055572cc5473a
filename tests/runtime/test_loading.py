"""`mtab.load`: what is asked for is used or refused, and what ``auto`` stands for."""

import dataclasses
import pickle
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import mtab
import mtab.engines.onnxruntime
import mtab.engines.opening
from mtab.bundle import open_bundle
from mtab.choice import Choice, store_choice
from mtab.engines.opening import open_engine
from mtab.errors import BundleError, EngineError, MtabError
from mtab.graphs import BUDGETS
from mtab.machine import instruction_sets, saturates_int8

try:
    import openvino
except ModuleNotFoundError:
    openvino = None

needs_openvino = pytest.mark.skipif(openvino is None, reason="needs the extra openvino")
no_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="ONNX Runtime has CUDA here"
)
TONE = np.sin(np.arange(8000) / 5).astype(np.float32)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))


def refusal(*arguments: object, kind: type[MtabError] = EngineError, **options: object) -> str:
    with pytest.raises(kind) as caught:
        mtab.load(*arguments, **options)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@no_cuda
def test_auto_is_onnx_runtime_in_float32_on_the_cpu(tone_bundle: Path) -> None:
    model = mtab.load(tone_bundle)
    assert (model.engine.name, model.engine.device, model.engine.precision) == ("onnxruntime", "cpu", "fp32")
    assert model.graph.file == "model.onnx"
    weights = sum((tone_bundle / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert repr(model) == (
        f"Model({str(tone_bundle)!r}, engine='onnxruntime', device='cpu', precision='fp32', "
        "streams=1, batch_size=8, modalities='audio+text', "
        "inputs='input_values, audio_lengths, input_ids, text_lengths', "
        f"labels='high, low', size='{weights / 1e6:.1f} MB')"
    )


@needs_openvino
def test_engines_agree(tone_bundle: Path) -> None:
    models = [mtab.load(tone_bundle, "cpu", engine=name, threads=1) for name in ("onnxruntime", "openvino")]
    assert [model.engine.name for model in models] == ["onnxruntime", "openvino"]
    assert "engine='openvino', device='cpu', precision='fp32'" in repr(models[1])
    first, second = (model.predict(TONE, "it is high").probabilities for model in models)
    assert second == pytest.approx(first, abs=BUDGETS["fp32"].max_difference)


def test_what_it_does_not_know(tone_bundle: Path) -> None:
    engines = "onnxruntime, onnxruntime-tensorrt, onnxruntime-tensorrt-rtx, openvino, tensorrt, tensorrt-rtx"
    assert refusal(tone_bundle, engine="tvm") == f"engine 'tvm', expected auto, {engines}"
    assert refusal(tone_bundle, device="tpu").startswith("device 'tpu', expected cpu, cuda or cuda:N")
    found = refusal(tone_bundle, tuned_for="speed")
    assert found == "tuned_for is 'speed', expected 'latency' or 'throughput'"
    found = refusal(tone_bundle, kind=BundleError, precision="fp16")
    assert found.startswith(f"{tone_bundle}: graphs are fused fp32")
    assert found.endswith(", expected fused fp16")


@no_cuda
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"device": "cuda"},
            "has no CUDAExecutionProvider, expected one that has; in a new environment: pip",
        ),
        (
            {"engine": "onnxruntime-tensorrt"},
            "device cuda: this ONNX Runtime has no TensorrtExecutionProvider",
        ),
        ({"engine": "onnxruntime-tensorrt", "device": "cpu"}, "device 'cpu', expected cuda or cuda:N with"),
        (
            {"engine": "tensorrt", "device": "cpu"},
            "device 'cpu', expected cuda or cuda:N with engine tensorrt",
        ),
    ],
)
def test_what_is_not_here(tone_bundle: Path, options: dict[str, str], expected: str) -> None:
    assert expected in refusal(tone_bundle, **options)


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_a_bundle_without_engines(tone_bundle: Path, engine: str) -> None:
    found = refusal(tone_bundle, kind=BundleError, engine=engine)
    expected = f"expected one of {engine} from fused, built by mtab-export"
    assert found == f"{tone_bundle}: engines are none, {expected}"


def test_without_onnx_runtime(tone_bundle: Path) -> None:
    code = (
        "import sys, mtab; sys.modules['onnxruntime'] = None\n"
        "try: mtab.load(sys.argv[1])\n"
        "except mtab.MtabError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tone_bundle], capture_output=True, text=True, check=False
    )
    assert done.stdout == "mtab needs onnxruntime, which is not installed: pip install 'mtab[cpu]'\n", (
        done.stderr
    )


@needs_openvino
def test_another_engine_needs_no_onnx_runtime(tone_bundle: Path) -> None:
    code = (
        "import sys, mtab; sys.modules['onnxruntime'] = None\n"
        "print(mtab.load(sys.argv[1], engine='openvino', threads=1).engine.name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tone_bundle], capture_output=True, text=True, check=False
    )
    assert done.stdout == "openvino\n", done.stderr


# What was tuned


@needs_openvino
def test_auto_is_what_was_tuned(tone_bundle: Path) -> None:
    store_choice(open_bundle(tone_bundle), Choice("openvino", "cpu", "fp32", 1))
    for options in ({}, {"device": "cpu"}, {"precision": "fp32"}, {"threads": 2}):
        assert mtab.load(tone_bundle, **options).engine.name == "openvino"
    for options in ({"engine": "onnxruntime"}, {"engine": "onnxruntime", "device": "cpu"}):
        assert mtab.load(tone_bundle, **options).engine.name == "onnxruntime"


def test_what_was_tuned_gives_way_to_what_is_asked_for(tone_bundle: Path) -> None:
    store_choice(open_bundle(tone_bundle), Choice("openvino", "gpu", "bf16"))
    assert mtab.load(tone_bundle, device="cpu", threads=1).engine.name == "onnxruntime"
    assert mtab.load(tone_bundle, precision="fp32", threads=1).engine.name == "onnxruntime"


def test_what_was_tuned_and_is_gone_is_no_silent_fall_back(
    tone_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store_choice(open_bundle(tone_bundle), Choice("tensorrt", "cuda", "fp32"))
    assert mtab.load(tone_bundle, threads=1).engine.name == "onnxruntime"
    (said,) = caplog.messages
    assert "engines are none" in said


# What was tuned for many


MANY = Choice("onnxruntime", "cpu", "fp32", 2, streams=2, batch_size=3)


def test_what_was_tuned_for_many_is_taken_where_it_is_asked_for(tone_bundle: Path) -> None:
    store_choice(open_bundle(tone_bundle), MANY, "throughput")
    alone, many = mtab.load(tone_bundle), mtab.load(tone_bundle, tuned_for="throughput")
    assert [(each.engine.streams, each.batch_size) for each in (alone, many)] == [(1, 8), (2, 3)]
    assert "streams=2, batch_size=3" in repr(many)
    again = pickle.loads(pickle.dumps(many))
    assert (again.engine.streams, again.batch_size) == (2, 3)
    # As few threads as are asked for, and no stream without one.
    few = mtab.load(tone_bundle, threads=1, tuned_for="throughput")
    assert (few.engine.streams, few.batch_size) == (1, 3)
    other = mtab.load(tone_bundle, engine="onnxruntime", tuned_for="throughput")
    assert (other.engine.streams, other.batch_size) == (1, 8)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_several_batches_at_once_are_answered_as_one_at_a_time(tone_bundle: Path, engine: str) -> None:
    """To the last bit, in order."""
    pytest.importorskip(engine)
    random = np.random.default_rng(0)
    clips = [random.normal(size=random.integers(400, 9_000)) for _ in range(60)]
    texts = ["it is high" if n % 2 else "it is low, is it not" for n in range(60)]
    one = mtab.load(tone_bundle, engine=engine, threads=1)
    store_choice(open_bundle(tone_bundle), dataclasses.replace(MANY, engine=engine), "throughput")
    many = mtab.load(tone_bundle, tuned_for="throughput")
    assert (many.engine.name, many.engine.streams) == (engine, 2)
    assert many.predict(clips, texts) == one.predict(clips, texts, batch_size=3)


def test_what_was_not_tuned_for_many_is_told(tone_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    store_choice(open_bundle(tone_bundle), Choice("openvino", "cpu", "fp32", 1))
    model = mtab.load(tone_bundle, threads=1, tuned_for="throughput")
    assert (model.engine.name, model.engine.streams, model.batch_size) == ("onnxruntime", 1, 8)
    assert caplog.messages == [
        f"{tone_bundle}: not tuned for throughput on this machine, expected a choice of mtab tune "
        "--for throughput; the default is taken"
    ]


# Int8


def as_int8(reduced: bool | None) -> Callable[[dict], None]:
    """The float32 graph under the name of int8: how it is chosen and refused does not depend on its nodes."""

    def edit(values: dict) -> None:
        fused = next(graph for graph in values["graphs"] if graph["part"] == "fused")
        fused.update(precision="int8", reduce_range=reduced)

    return edit


@pytest.mark.parametrize(("sets", "fits"), [(["avx2"], False), (["avx2", "vnni"], True), (None, False)])
def test_full_int8_on_x86(
    copied: Path,
    change: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    sets: list[str] | None,
    fits: bool,
) -> None:
    monkeypatch.setattr(mtab.engines.opening, "instruction_sets", lambda: sets)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    change(copied, "manifest.json", as_int8(reduced=False))
    if fits:
        assert mtab.load(copied, "cpu", threads=1).engine.precision == "int8"
        return
    assert refusal(copied, "cpu") == (
        f"{copied / 'model.onnx'}: sums of its int8 products saturate on a processor without VNNI, "
        "expected a graph exported with --reduce-range"
    )


@pytest.mark.parametrize(("machine", "reduced"), [("aarch64", False), ("x86_64", True), ("x86_64", None)])
def test_int8_that_does_not_saturate(
    copied: Path,
    change: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    reduced: bool | None,
) -> None:
    monkeypatch.setattr(mtab.engines.opening, "instruction_sets", lambda: ["avx2"])
    monkeypatch.setattr(platform, "machine", lambda: machine)
    change(copied, "manifest.json", as_int8(reduced))
    assert mtab.load(copied, "cpu", precision="int8", threads=1).engine.precision == "int8"


def test_openvino_needs_the_float32_graph(copied: Path, change: Callable[..., None]) -> None:
    change(copied, "manifest.json", as_int8(reduced=True))
    found = refusal(copied, kind=BundleError, engine="openvino", precision="int8")
    assert found.endswith(", expected fused fp32")


def test_saturation_is_real_where_it_is_said_to_be(tmp_path: Path) -> None:
    """ONNX Runtime's own product of the largest uint8 and int8, two of which do not fit an int16."""
    from onnx import TensorProto, helper

    path = tmp_path / "product.onnx"
    ends = [
        helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 4]),
        helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1]),
    ]
    weight = helper.make_tensor("w", TensorProto.INT8, [4, 1], [127] * 4)
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.full((1, 4), 255, np.uint8)})
    exact = 4 * 255 * 127
    assert saturates_int8(platform.machine(), instruction_sets()) == (np.asarray(found).item() < exact)


# Files


def test_the_optimised_graph_is_kept_and_used(tone_bundle: Path, tmp_path: Path) -> None:
    probabilities = [
        mtab.load(tone_bundle, "cpu", threads=1).predict(TONE, "a").probabilities for _ in range(3)
    ]
    assert len(list((tmp_path / "cache" / "graphs").iterdir())) == 1
    assert probabilities[0] == probabilities[1] == probabilities[2]


def test_what_is_not_verified_is_not_kept(tone_bundle: Path, tmp_path: Path) -> None:
    """A later load would take it for the bundle that its manifest describes."""
    assert mtab.load(tone_bundle, "cpu", threads=1, verify=False).predict(TONE, "a").label
    assert not (tmp_path / "cache").exists()


def test_another_graph_is_not_answered_from_the_cache(
    copied: Path, counting_bundle: Callable[[str], Path], tone_bundle: Path
) -> None:
    mtab.load(tone_bundle, "cpu", threads=1)
    counting = mtab.load(counting_bundle("text"), "cpu", threads=1)
    assert counting.engine.inputs == ("input_ids", "text_lengths")


def test_open_engine_alone(tone_bundle: Path) -> None:
    graph, engine = open_engine(open_bundle(tone_bundle), "onnxruntime", "cpu", "fp32", 1)
    assert (graph.file, engine.precision) == ("model.onnx", "fp32")


def test_open_engine_checks_the_signature(tone_bundle: Path) -> None:
    bundle = open_bundle(tone_bundle)
    config = dataclasses.replace(bundle.config, embedding_size=7)
    with pytest.raises(EngineError, match=r"embeddings float32 \[batch, 7\]$"):
        open_engine(dataclasses.replace(bundle, config=config), "onnxruntime", "cpu")
