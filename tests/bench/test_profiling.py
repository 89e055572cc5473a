"""Where an engine's time goes: every operator and operation in one row, none twice, whatever is fused."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from mtab.bundle import Bundle, open_bundle
from mtab.errors import BundleError, EngineError
from mtab.loading import open_preprocessor
from mtab_bench.backends import Backend, Inputs, bundle_backends
from mtab_bench.cases import make_cases
from mtab_bench.cli import main
from mtab_bench.profiling import (
    ATTENTION,
    CONVOLUTIONS,
    PRODUCTS,
    Profile,
    _operations,
    profile_backend,
)
from mtab_export.blocks import load_model
from mtab_export.inspection import inspect_graph


@pytest.fixture(scope="module")
def bundle(tone_bundle: Path) -> Bundle:
    return open_bundle(tone_bundle)


def inputs_of(bundle: Bundle, seconds: float) -> Inputs:
    (case,) = make_cases(open_preprocessor(bundle), [2], [seconds])
    return case.inputs


def backend_of(bundle: Bundle, key: str) -> Backend:
    return next(each for each in bundle_backends(bundle, 1) if each.key == key)


@pytest.fixture(scope="module", params=["onnxruntime-fp32", "openvino-fp32", "openvino-int8"])
def profile(request: pytest.FixtureRequest, bundle: Bundle) -> Profile:
    try:
        return profile_backend(bundle, backend_of(bundle, request.param), inputs_of(bundle, 0.5))
    except EngineError as error:  # int8 without VNNI
        pytest.skip(str(error))


def test_every_operation_is_counted_once(bundle: Bundle, profile: Profile) -> None:
    facts = inspect_graph(bundle.path("model.onnx"), inputs_of(bundle, 0.5))
    assert facts.flops is not None
    assert profile.gflop == pytest.approx(1e-9 * facts.flops)
    for part, share in facts.modules.items():
        assert share.flops is not None
        found = sum(row.gflop for row in profile.rows if row.part == part)
        assert found == pytest.approx(1e-9 * share.flops)
    assert {row.part for row in profile.rows} <= {*facts.modules, "(model)"}


def test_time_is_spent_where_something_is_computed(profile: Profile) -> None:
    rows = {(row.part, row.kind): row for row in profile.rows}
    assert len(rows) == len(profile.rows)
    for place in (
        ("audio_encoder", CONVOLUTIONS),
        ("audio_encoder", PRODUCTS),
        ("text_encoder", PRODUCTS),
        ("self_attention", ATTENTION),
        ("tab", CONVOLUTIONS),
    ):
        assert rows[place].gflop > 0
        assert rows[place].milliseconds > 0
    times = [row.milliseconds for row in profile.rows]
    assert times == sorted(times, reverse=True)
    assert times[-1] >= 0
    # Norms are fused under names that tell nothing, and belong to a part all the same.
    assert ("(model)", "normalisation") not in rows


def test_operations_in_bf16_are_counted_without_it(tmp_path: Path) -> None:
    """Which ONNX Runtime has not on a CPU: 2 * 5 * 16 * 4 of a product by hand."""
    low, exact = TensorProto.BFLOAT16, TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["x"], ["low"], name="cast", to=low),
        helper.make_node("MatMul", ["low", "w"], ["product"], name="product"),
        helper.make_node("Cast", ["product"], ["y"], name="back", to=exact),
    ]
    ends = [helper.make_tensor_value_info(name, exact, [5, size]) for name, size in (("x", 16), ("y", 4))]
    inside = [
        helper.make_tensor_value_info(name, low, [5, size]) for name, size in (("low", 16), ("product", 4))
    ]
    weight = helper.make_tensor("w", low, [16, 4], [1.0] * 64)
    graph = helper.make_graph(nodes, "product", ends[:1], ends[1:], [weight], value_info=inside)
    path = tmp_path / "model_bf16.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), path)
    found = _operations(path, list(load_model(path).graph), {"x": np.ones((5, 16), np.float32)}, "bf16")
    assert {name: count for name, count in found.items() if count} == {"product": 2 * 5 * 16 * 4}


def test_bytes_are_those_that_are_read_and_written(bundle: Bundle) -> None:
    def of(inputs: Inputs) -> int:
        profile = profile_backend(bundle, backend_of(bundle, "onnxruntime-fp32"), inputs)
        sizes = {(row.part, row.kind): row.bytes for row in profile.rows}
        assert None not in sizes.values()
        return sizes["audio_encoder", CONVOLUTIONS] or 0

    short, long = (inputs_of(bundle, seconds) for seconds in (0.5, 1.5))
    assert of(long) == pytest.approx(3 * of(short), rel=0.05), "three times the samples"
    # The first convolution alone reads every sample, and writes 16 channels of a fifth as many.
    assert of(long) > 4 * np.prod(long["input_values"].shape) * (1 + 16 / 5)


def test_the_command(bundle: Bundle) -> None:
    arguments = ["profile", "--bundle", str(bundle.folder), "--seconds", "0.5", "--threads", "1"]
    arguments += ["--backend", "onnxruntime-fp32"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    first, _, head, *rows = done.stdout.splitlines()
    rates = r"\d+ in fp32, (\d+ in bf16, )?\d+ in int8"
    said = f"large matrices at best, in GFLOP/s: {rates}"
    assert re.fullmatch(rf"1 x 0\.5 s, \d tokens, 1 threads; {said}", first)
    assert re.fullmatch(
        r"ONNX Runtime fp32: [\d.]+ ms, [\d.e-]+ GFLOP at \d+ GFLOP/s \(\d+% of the rate in fp32\); "
        r"operators [\d.]+ ms by its counters",
        head,
    )
    assert rows[0].split() == ["part", "kind", "operators", "ms", "share", "GFLOP", "GFLOP/s", "MB"]
    shares = [float(found[1]) for row in rows[2:] if (found := re.search(r"([\d.]+)%", row))]
    assert sum(shares) == pytest.approx(100, abs=0.1 * len(shares))

    done = CliRunner().invoke(main, [*arguments, "--json"])
    values = json.loads(done.stdout)
    assert [each["backend"] for each in values["backends"]] == ["ONNX Runtime fp32"]
    assert values["rates"]["matrix"]["fp32"]["value"] > 0


def test_refusals(bundle: Bundle) -> None:
    done = CliRunner().invoke(main, ["profile", "--bundle", str(bundle.folder), "--backend", "fp64"])
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        2,
        "Error: --backend fp64: expected onnxruntime-fp32, openvino-fp32, openvino-int8",
    )
    backend = Backend("x", "X", "bundle", str(bundle.folder), "cpu", "fp16", 1, "onnxruntime")
    with pytest.raises(BundleError, match="holds no whole model for X, expected one"):
        profile_backend(bundle, backend, {})
