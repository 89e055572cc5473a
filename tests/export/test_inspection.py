"""What `mtab-export inspect` says of graphs worked out by hand, and of the model as PyTorch counts it."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mtab.bundle import BundleConfig, Checkpoint, GraphEntry, Manifest, file_entries, open_bundle
from mtab.certificate import Certificate
from mtab.config import to_dict
from mtab.errors import EngineError
from mtab.files import write_json
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE, PreprocessorConfig
from mtab.provenance import Training
from mtab_export.inspect_command import format_facts, inspect
from mtab_export.inspection import MODEL, Share, Use, inspect_graph
from mtab_export.precision import convert
from mtab_train.checkpoint import load_model
from mtab_train.tokenizer import train_tokenizer


def save(path: Path, text: str, **weights: np.ndarray) -> Path:
    """A graph in ONNX's notation and its weights, which lie in a file of their own as in a bundle."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> graph {text}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(w, name) for name, w in weights.items())
    # The types of what lies between, as the exporter writes them.
    model = onnx.shape_inference.infer_shapes(model)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


@pytest.fixture
def products(tmp_path: Path) -> Path:
    """Every operator that counts, on a batch whose size the file does not say."""
    return save(
        tmp_path / "products.onnx",
        """(float[batch, 4, 9] x) => (float[batch, 6, d] conv, float[7, 5] gemm, float[batch, 4, 3] whole) {
            ["encoder.conv/Conv_0"] conv = Conv <group = 2, strides = [2]> (x, kernels)
            ["head.fc/Gemm_1"] gemm = Gemm <transA = 1> (left, right)
            ["encoder/MatMul_2"] weighted = MatMul (x, matrix)
            ["encoder/Relu_3"] positive = Relu (weighted)
            ["tab/DynamicQuantizeLinear_4"] rounded, scale, zero = DynamicQuantizeLinear (positive)
            ["tab/MatMulInteger_5"] product = MatMulInteger (rounded, small, zero)
            ["/Cast_6"] whole = Cast <to = 1> (product)
        }""",
        kernels=zeros(6, 2, 3),
        left=zeros(11, 7),
        right=zeros(11, 5),
        matrix=zeros(9, 8),
        small=zeros(8, 3, dtype=np.int8),
    )


def test_flops_are_those_worked_out_by_hand(products: Path) -> None:
    facts = inspect_graph(products, {"x": zeros(2, 4, 9)})
    # Two for each of a product's summands. The convolution makes 4 steps of 9, each from 2 channels of 3.
    conv = 2 * (2 * 6 * 4) * (2 * 3)
    gemm = 2 * (7 * 5) * 11
    matmul = 2 * (2 * 4 * 8) * 9
    whole = 2 * (2 * 4 * 3) * 8
    assert facts.flops == conv + gemm + matmul + whole
    assert facts.operators == {
        "MatMul": Share(1, matmul),
        "Gemm": Share(1, gemm),
        "Conv": Share(1, conv),
        "MatMulInteger": Share(1, whole),
        "Cast": Share(1, 0),
        "DynamicQuantizeLinear": Share(1, 0),
        "Relu": Share(1, 0),
    }
    assert next(iter(facts.operators)) == "MatMul"
    assert facts.modules == {
        "encoder": Share(3, matmul + conv),
        "head": Share(1, gemm),
        "tab": Share(2, whole),
        MODEL: Share(1, 0),
    }
    assert facts.inputs == {"x": (2, 4, 9)}
    assert "element-wise operators not counted, for x [2, 4, 9]" in format_facts(facts)
    assert inspect_graph(products, {"x": zeros(4, 4, 9)}).flops == 2 * (conv + matmul + whole) + gemm


def test_weights_are_counted_by_dtype(products: Path) -> None:
    facts = inspect_graph(products, {"x": zeros(1, 4, 9)})
    floats = 6 * 2 * 3 + 11 * 7 + 11 * 5 + 9 * 8
    assert facts.parameters == floats + 8 * 3
    assert facts.weights == {"float32": 4 * floats, "int8": 8 * 3}
    assert facts.opset == 18


def test_the_products_left_alone_are_the_islands_of_an_int8_graph(products: Path, tmp_path: Path) -> None:
    facts = inspect_graph(products, {"x": zeros(1, 4, 9)})
    assert facts.islands == {"encoder.conv": {"Conv": 1}, "head.fc": {"Gemm": 1}, "encoder": {"MatMul": 1}}
    fused_by_an_engine = save(
        tmp_path / "qdq.onnx",
        """(float[n, 4] x) => (float[n, 3] y, float[n, 4] z) {
            ["a/QuantizeLinear_0"] q = QuantizeLinear (x, one, zero)
            ["a/DequantizeLinear_1"] p = DequantizeLinear (q, one, zero)
            ["a/DequantizeLinear_2"] w = DequantizeLinear (small, one, zero)
            ["a/MatMul_3"] y = MatMul (p, w)
            ["b/MatMul_4"] z = MatMul (p, plain)
        }""",
        one=np.array(1, np.float32),
        zero=np.array(0, np.int8),
        small=zeros(4, 3, dtype=np.int8),
        plain=zeros(4, 4),
    )
    facts = inspect_graph(fused_by_an_engine, {"x": zeros(1, 4)})
    assert facts.islands == {"b": {"MatMul": 1}}
    assert facts.flops == 2 * 3 * 4 + 2 * 4 * 4


def test_the_islands_of_a_half_precision_graph_are_what_stayed_in_float32(tmp_path: Path) -> None:
    source = save(
        tmp_path / "model.onnx",
        """(float[n, 8] x) => (float[n, 3] y) {
            ["encoder.layers.0.fc/MatMul_0"] a = MatMul (x, matrix)
            ["encoder.layers.0.norm/LayerNormalization_1"] b = LayerNormalization (a, gain)
            ["head/Relu_2"] c = Relu (b)
            ["head/Softmax_3"] y = Softmax (c)
        }""",
        matrix=zeros(8, 3),
        gain=zeros(3),
    )
    convert(source, tmp_path / "model_fp16.onnx", "fp16")
    x = {"x": zeros(1, 8)}
    assert inspect_graph(source, x).islands == {}
    facts = inspect_graph(tmp_path / "model_fp16.onnx", x)
    assert facts.islands == {
        "encoder.layers.0.norm": {"LayerNormalization": 1},
        "head": {"Softmax": 1},
    }
    assert facts.weights == {"float16": 2 * 24, "float32": 4 * 3}
    assert facts.flops == inspect_graph(source, x).flops == 2 * 3 * 8
    assert "encoder.layers.*.norm" in format_facts(facts)


@pytest.fixture
def bf16(tmp_path: Path) -> Path:
    return save(
        tmp_path / "bf16.onnx",
        """(float[n, 4] x) => (float[n, 4] y) {
            ["a/Cast_0"] low = Cast <to = 16> (x)
            ["a/MatMul_1"] product = MatMul (low, low)
            ["a/Cast_2"] y = Cast <to = 1> (product)
        }""",
    )


def test_a_graph_that_cannot_be_run_is_described_without_a_run(bf16: Path) -> None:
    facts = inspect_graph(bf16, {"x": zeros(4, 4)})
    assert facts.operators == {"Cast": Share(2, None), "MatMul": Share(1, None)}
    assert facts.flops is None
    assert facts.providers is None
    assert facts.not_run is not None
    assert "MatMul" in facts.not_run
    assert len([line for line in format_facts(facts).splitlines() if "not run" in line]) == 1


def test_a_missing_input_is_named(products: Path) -> None:
    facts = inspect_graph(products, {"other": zeros(1)})
    assert facts.not_run is not None
    assert "no x " in facts.not_run
    assert facts.inputs == {}


def test_a_device_that_is_not_here_is_refused(products: Path) -> None:
    with pytest.raises(EngineError, match="tpu"):
        inspect_graph(products, {"x": zeros(1, 4, 9)}, device="tpu")


def test_no_profile_is_left_behind(
    products: Path, bf16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(scratch)
    made = []
    real = onnxruntime.InferenceSession

    class Watched(real):
        def end_profiling(self) -> str:
            made.append(super().end_profiling())
            return made[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Watched)
    inspect_graph(products, {"x": zeros(1, 4, 9)})
    inspect_graph(products, {"x": zeros(1, 4, 7)})
    inspect_graph(bf16, {"x": zeros(4, 4)})
    assert len(made) == 2
    assert all(Path(file).is_relative_to(scratch) for file in made)
    assert list(scratch.iterdir()) == []


def test_a_provider_takes_the_nodes_of_the_optimised_graph(tmp_path: Path) -> None:
    path = save(
        tmp_path / "model.onnx",
        """(float[n, 4] x) => (float[n, 4] y) {
            ["/Add_0"] constant = Add (one, one)
            ["/Mul_1"] a = Mul (x, constant)
            ["/Identity_2"] b = Identity (a)
            ["/Relu_3"] y = Relu (b)
        }""",
        one=np.array(1, np.float32),
    )
    facts = inspect_graph(path, {"x": zeros(1, 4)})
    assert sum(share.nodes for share in facts.operators.values()) == 4
    assert facts.providers is not None
    assert list(facts.providers) == ["CPUExecutionProvider"]
    taken = facts.providers["CPUExecutionProvider"]
    # The constant is folded and the identity is gone.
    assert {operator: use.nodes for operator, use in taken.items()} == {"Mul": 1, "Relu": 1}
    assert all(isinstance(use, Use) and use.milliseconds >= 0 for use in taken.values())


def test_the_model_costs_what_pytorch_counts(tone_run: Path, tone_bundle: Path) -> None:
    model = load_model(tone_run)
    random = np.random.default_rng(0)
    inputs = {
        "input_values": random.standard_normal((3, 4000), dtype=np.float32),
        "audio_lengths": np.array([4000, 3000, 1000]),
        "input_ids": random.integers(5, 200, (3, 9)),
        "text_lengths": np.array([9, 4, 2]),
    }
    # Operators that PyTorch counts, rather than one fused operator that it does not.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    facts = inspect_graph(tone_bundle / "model.onnx", inputs)
    counted = counter.get_flop_counts()
    # The first convolution's filters in another basis: a product of weights alone, which an export folds.
    folded = {"audio_encoder": counted["MulTAB.audio_encoder"][torch.ops.aten.mm]}
    assert 0 < folded["audio_encoder"] < 20_000
    assert facts.flops == counter.get_total_flops() - folded["audio_encoder"]
    for module in ("audio_encoder", "text_encoder", "cross_modal", "fusion", "tab", "head"):
        expected = sum(counted[f"MulTAB.{module}"].values()) - folded.get(module, 0)
        assert facts.modules[module].flops == expected
    assert set(facts.modules) - {MODEL} == {name for name, module in model.named_children()}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert facts.parameters == pytest.approx(parameters, rel=0.02)


MODALITIES = ("text",)
LABELS = ("high", "low")
TRAINING = Training("tones", synthetic=False, preset="nano", protocol="honest", seed=0)


@pytest.fixture
def certificate(make_certificate: Callable[..., Certificate]) -> Certificate:
    return make_certificate()


@pytest.fixture
def parts(tmp_path: Path, certificate: Certificate) -> Path:
    """A bundle of text alone in two parts, the second also in a precision that no CPU computes."""
    folder = tmp_path / "parts"
    folder.mkdir()
    save(
        folder / "text_encoder.onnx",
        """(int64[batch, tokens] input_ids, int64[batch] text_lengths)
            => (float[batch, tokens, 8] text_hidden_states) {
            ["text_encoder/Gather_0"] text_hidden_states = Gather (words, input_ids)
        }""",
        words=zeros(300, 8),
    )
    cme = """(float[batch, tokens, 8] text_hidden_states, int64[batch] text_lengths)
        => (float[batch, steps, 4] fused_states, int64[batch] fused_lengths) {
        ["projection/MatMul_0"] fused_states = MatMul (text_hidden_states, matrix)
        ["/Identity_1"] fused_lengths = Identity (text_lengths)
    }"""
    save(folder / "cme.onnx", cme, matrix=zeros(8, 4))
    convert(folder / "cme.onnx", folder / "cme_bf16.onnx", "bf16")
    write_json(folder / CONFIG_FILE, to_dict(PreprocessorConfig(modalities=MODALITIES, max_tokens=32)))
    train_tokenizer(["it is a tone"], 300, folder / TOKENIZER_FILE)
    id2label = {str(i): label for i, label in enumerate(LABELS)}
    write_json(
        folder / "config.json", to_dict(BundleConfig(id2label, MODALITIES, (MODALITIES,), 4, {"text": 8}))
    )
    write_manifest(
        folder,
        GraphEntry("text_encoder", "fp32", "text_encoder.onnx", 18, certificate),
        GraphEntry("cme", "fp32", "cme.onnx", 18, certificate),
        GraphEntry("cme", "bf16", "cme_bf16.onnx", 18, certificate),
    )
    return folder


def write_manifest(folder: Path, *graphs: GraphEntry) -> None:
    manifest = Manifest(
        2, "2026-01-01T00:00:00+00:00", Checkpoint("0", 1.0), file_entries(folder), graphs, TRAINING, {}
    )
    write_json(folder / "manifest.json", to_dict(manifest))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(inspect, [str(argument) for argument in arguments])


def test_a_part_is_run_on_what_the_parts_before_it_make(parts: Path) -> None:
    done = run(parts, "--tokens", 7, "--json")
    assert done.exit_code == 0, done.output
    described = json.loads(done.stdout)
    assert [(each["part"], each["precision"]) for each in described] == [
        ("text_encoder", "fp32"),
        ("cme", "fp32"),
        ("cme", "bf16"),
    ]
    encoder, cme, low = described
    assert encoder["inputs"] == {"input_ids": [1, 7], "text_lengths": [1]}
    assert cme["inputs"] == {"text_hidden_states": [1, 7, 8], "text_lengths": [1]}
    assert cme["flops"] == 2 * 7 * 4 * 8
    assert cme["modules"]["projection"] == {"nodes": 1, "flops": cme["flops"]}
    assert low["flops"] is None
    assert low["not_run"]
    assert low["weights"] == {"bfloat16": 2 * 8 * 4}


def test_graphs_are_chosen_by_part_and_precision(parts: Path) -> None:
    done = run(parts, "--part", "cme", "--precision", "fp32")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("cme fp32: cme.onnx\n")
    assert "bf16" not in done.stdout
    assert "projection" in done.stdout
    assert "CPUExecutionProvider" in done.stdout
    refused = run(parts, "--part", "fused", "--precision", "int8")
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "expected fused int8" in refused.stderr
    assert "cme bf16" in refused.stderr


def test_a_part_without_the_parts_before_it_is_not_run(parts: Path, certificate: Certificate) -> None:
    for name in ("text_encoder.onnx", "text_encoder.onnx.data"):
        (parts / name).unlink()
    write_manifest(parts, GraphEntry("cme", "fp32", "cme.onnx", 18, certificate))
    [described] = json.loads(run(parts, "--json").stdout)
    assert described["not_run"] == "there is no text_hidden_states to run it with"


def test_more_than_the_encoder_takes_is_wrong_use(parts: Path) -> None:
    assert run(parts, "--tokens", 32).exit_code == 0
    for option, value in (("--tokens", 33), ("--tokens", 0), ("--seconds", 0), ("--seconds", 0.01)):
        refused = run(parts, option, value)
        assert refused.exit_code == 2
        assert option in refused.stderr


def test_the_command_describes_a_real_bundle(tone_bundle: Path) -> None:
    done = run(tone_bundle, "--seconds", 0.5, "--tokens", 6, "--json")
    assert done.exit_code == 0, done.output
    [described] = [each for each in json.loads(done.stdout) if each["part"] == "fused"]
    assert described["inputs"]["input_values"] == [1, 8000]
    assert described["inputs"]["input_ids"] == [1, 6]
    assert described["weights"].keys() >= {"float32"}
    assert described["flops"] > 0
    assert open_bundle(tone_bundle).manifest.graphs[0].opset == described["opset"]
