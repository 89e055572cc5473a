"""Where a lower precision's error enters, and the islands that cure it: found, and found to be right."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mtab.errors import BundleError
from mtab_export.bisect import Culprit, Trial, bisect, cure
from mtab_export.int8 import quantize
from mtab_export.onnx_graph import export_graph
from mtab_export.precision import convert, emulate
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB

Arrays = dict[str, np.ndarray]
FLOAT = onnx.TensorProto.FLOAT


def run(path: Path, feed: Arrays) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    answers = session.run(None, {value.name: feed[value.name] for value in session.get_inputs()})
    return {value.name: np.asarray(a) for value, a in zip(session.get_outputs(), answers, strict=True)}


def fp16_trial(source: Path, feeds: Sequence[Arrays], output: str, budget: float, scratch: Path) -> Trial:
    expected = [run(source, feed)[output] for feed in feeds]

    def measure(path: Path) -> float:
        emulate(path, scratch / "emulated.onnx")
        found = [run(scratch / "emulated.onnx", feed)[output] for feed in feeds]
        return float(np.max([np.abs(f - e).max() for f, e in zip(found, expected, strict=True)]))

    def make(path: Path, fp32_nodes: Sequence[str]) -> None:
        convert(source, path, "fp16", fp32_nodes)

    return Trial(source, make, measure, feeds, budget, scratch)


def save_graph(path: Path, steps: Sequence[tuple[str, str, str]], numbers: Mapping[str, float]) -> Path:
    """y from x, both (batch,): each step has a node's name, its inputs and its output."""
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node(name.rpartition("/")[2].partition("_")[0], inputs.split(), [output], name=name)
        for name, inputs, output in steps
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [value("x", FLOAT, ["batch"])],
        [value("y", FLOAT, ["batch"])],
        [onnx.numpy_helper.from_array(np.asarray(n, np.float32), name) for name, n in numbers.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), path)
    return path


X = np.asarray([1.25], np.float32)
"""Exact in fp16, whose numbers are 2 apart past 2048, and 1 past 1024: 1.25 is 1 after a visit there."""


def test_the_layer_that_loses_bits_is_named(tmp_path: Path) -> None:
    """net.layers.1 adds 2048 and takes it away again; net.layers.10, beside it, and all others are exact."""
    steps = [
        ("net.layers.0/Mul_0", "x two", "a"),
        ("net.layers.1.lift/Add_1", "a much", "b"),
        ("net.layers.1.drop/Sub_2", "b much", "c"),
        ("net.layers.10/Mul_3", "c half", "d"),
        ("out/Identity_4", "d", "y"),
    ]
    source = save_graph(tmp_path / "g.onnx", steps, {"two": 2, "much": 2048, "half": 0.5})
    trial = fp16_trial(source, [{"x": X}], "y", 0.1, tmp_path)
    assert trial.error(()) == 0.25  # 2050.5 is 2050 in fp16: 2.5 becomes 2
    # Each alone does it: what the one hands to the other is rounded.
    up, down = "net.layers.1.lift", "net.layers.1.drop"
    assert bisect(trial) == [
        Culprit(up, f"{up}/Add_1", 0.25, None, f"{up}/*"),
        Culprit(down, f"{down}/Sub_2", 0.25, None, f"{down}/*"),
    ]
    assert cure(trial) == (f"{up}/*", f"{down}/*")
    assert trial.error((f"{up}/*", f"{down}/*")) == 0
    # Without the module's own name in it, a pattern would match its tenth neighbour.
    assert cure(trial, ["net.layers.1[./]*"]) == ("net.layers.1[./]*",)


def test_what_many_layers_add_alike_is_named_by_their_module(tmp_path: Path) -> None:
    """Eight branches that lose a quarter each, 12 % of the whole; beside them one that loses nothing."""
    steps = [("exact/Mul_0", "x two", "sum0")]
    for i in range(8):
        steps += [
            (f"net.layers.{i}/Add_1", "x much", f"up{i}"),
            (f"net.layers.{i}/Sub_2", f"up{i} much", f"down{i}"),
            (f"sum/Add_{i}", f"sum{i} down{i}", f"sum{i + 1}"),
        ]
    steps.append(("sum/Identity_9", "sum8", "y"))
    source = save_graph(tmp_path / "g.onnx", steps, {"two": 2, "much": 1024})
    trial = fp16_trial(source, [{"x": X}], "y", 0.5, tmp_path)
    assert trial.error(()) == 2.0
    assert bisect(trial) == [Culprit("net.layers", "net.layers.0/Add_1", 2.0, None, "net.layers[./]*")]
    assert cure(trial) == ("net.layers[./]*",)
    assert trial.error(["net.layers[./]*"]) == 0


def test_numbers_past_the_range_come_first(tmp_path: Path) -> None:
    """A weight in one layer, an activation that two layers share in others; then what loses bits."""
    steps = [
        ("lossy/Add_0", "x much", "a"),
        ("lossy/Sub_1", "a much", "b"),
        ("weight/Min_2", "b huge", "c"),
        ("up/Mul_3", "c many", "d"),
        ("up/Mul_4", "d many", "e"),
        ("pass/Neg_5", "e", "f"),
        ("down/Mul_6", "f few", "g"),
        ("down/Mul_7", "g few", "y"),
    ]
    # `huge` is an array: a single number past the range is taken for the fill of a mask.
    numbers: Any = {"much": 1024, "huge": [1e5] * 2, "many": 1024, "few": 2**-10}
    source = save_graph(tmp_path / "g.onnx", steps, numbers)
    feeds = [{"x": np.asarray([1.25, -0.5], np.float32)}, {"x": np.asarray([0.5, 3.0], np.float32)}]
    trial = fp16_trial(source, feeds, "y", 0.01, tmp_path)
    assert trial.error(()) == math.inf
    culprits = bisect(trial)
    assert [(c.layer, c.error, c.largest) for c in culprits] == [
        ("lossy", 0.5, None),
        ("weight", math.inf, np.float32(1e5)),
        ("up", math.inf, pytest.approx(3 * 2.0**20, rel=1e-6)),
        ("pass", math.inf, pytest.approx(3 * 2.0**20, rel=1e-6)),
        ("down", math.inf, pytest.approx(3 * 2.0**20, rel=1e-6)),
    ]
    assert [c.node for c in culprits] == [
        "lossy/Add_0",
        "weight/Min_2",
        "up/Mul_4",
        "pass/Neg_5",
        "down/Mul_6",
    ]
    patterns = cure(trial, (), culprits)
    assert set(patterns) == {"lossy/*", "weight/*", "up/*", "pass/*", "down/*"}
    assert patterns[-1] == "lossy/*"
    assert trial.error(patterns) <= 0.01


def test_a_graph_that_float32_does_not_save_is_refused(tmp_path: Path) -> None:
    source = save_graph(tmp_path / "g.onnx", [("net/Mul_0", "x two", "y")], {"two": 2})
    trial = fp16_trial(source, [{"x": X}], "y", 0.1, tmp_path)
    assert bisect(trial) == []
    assert cure(trial) == ()
    beyond = dataclasses.replace(
        trial, measure=lambda path: float(np.abs(run(path, {"x": X})["y"] - 3).max())
    )
    with pytest.raises(
        BundleError, match=r"g\.onnx: is 5\.0e-01 off in float32 already, expected .* 1\.0e-01"
    ):
        cure(beyond)
    tried: list[object] = []
    assert bisect(dataclasses.replace(beyond, make=lambda *trial: tried.append(trial))) == []
    assert tried == []


CHANNEL, FACTOR = 3, 1e6


def first_layer(model: MulTAB) -> Any:
    """Of the self-attention over text."""
    return model.get_submodule("self_attention.text.layers.0")


@pytest.fixture(scope="module")
def outlier(nano: ModelConfig) -> MulTAB:
    """A model of text with one channel, of the ReLU in a feed-forward, that is a million times too large.

    The column that reads it is as much smaller, so that the answers are as before.
    """
    torch.manual_seed(0)
    model = MulTAB.from_config(dataclasses.replace(nano, audio_config=None)).eval()
    feeds = {name: torch.from_numpy(array) for name, array in text_feeds()[0].items()}
    with torch.no_grad():
        model.head.classifier.weight.mul_(50)
        layer = first_layer(model)
        layer.linear1.bias[CHANNEL] = 1.0
        before = model(**feeds).probabilities
        layer.linear1.weight[CHANNEL] *= FACTOR
        layer.linear1.bias[CHANNEL] *= FACTOR
        layer.linear2.weight[:, CHANNEL] /= FACTOR
        torch.testing.assert_close(model(**feeds).probabilities, before, rtol=0, atol=1e-5)
    return model


@pytest.fixture(scope="module")
def source(outlier: MulTAB, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outlier") / "model.onnx"
    export_graph(outlier, path)
    return path


def text_feeds() -> list[Arrays]:
    random = np.random.default_rng(3)
    return [
        {"input_ids": random.integers(4, 300, size=(1, tokens)), "text_lengths": np.array([tokens])}
        for tokens in (20, 1, 7)
    ]


def test_a_model_that_overflows_is_bisected_and_cured(outlier: MulTAB, source: Path, tmp_path: Path) -> None:
    trial = fp16_trial(source, text_feeds(), "probabilities", 2e-3, tmp_path)
    assert trial.error(()) > 0.05
    # PyTorch, where the layer is entered: past fp16's range in that channel alone.
    seen: list[torch.Tensor] = []
    handle = first_layer(outlier).linear1.register_forward_hook(
        lambda module, inputs, output: seen.append(output)
    )
    with torch.no_grad():
        for feed in text_feeds():
            outlier(**{name: torch.from_numpy(array) for name, array in feed.items()})
    handle.remove()
    channels = torch.cat([each.reshape(-1, each.shape[-1]) for each in seen])
    assert set(torch.nonzero(channels.half().isinf())[:, 1].tolist()) == {CHANNEL}

    culprits = bisect(trial)
    path = "self_attention.text.layers.0"
    assert [c.layer for c in culprits] == [f"{path}.linear1", path, f"{path}.linear2"]
    assert culprits[0].node.startswith(f"{path}.linear1/MatMul_")
    assert all(c.error == math.inf for c in culprits)
    assert culprits[0].largest == pytest.approx(float(channels.abs().max()), rel=1e-4)
    patterns = cure(trial, (), culprits)
    assert patterns == (f"{path}.linear1/*", f"{path}/*", f"{path}.linear2/*")
    assert trial.error(patterns) < 2e-3
    # Each of the three is needed.
    for pattern in patterns:
        assert trial.error([other for other in patterns if other != pattern]) > 0.05


def test_int8_is_bisected_by_the_same_names(source: Path, tmp_path: Path) -> None:
    feeds = text_feeds()
    expected = [run(source, feed)["probabilities"] for feed in feeds]

    def make(path: Path, fp32_nodes: Sequence[str]) -> None:
        quantize(source, path, False, fp32_nodes)

    def measure(path: Path) -> float:
        found = [run(path, feed)["probabilities"] for feed in feeds]
        return float(np.max([np.abs(f - e).max() for f, e in zip(found, expected, strict=True)]))

    trial = Trial(source, make, measure, feeds, 0.0, tmp_path)
    whole = trial.error(())
    trial = dataclasses.replace(trial, budget=whole / 4)
    culprits = bisect(trial)
    assert all(c.largest is None and c.error < math.inf for c in culprits)
    # The worst of all layers, each measured alone.
    weighted = {"MatMul", "Gemm"}
    nodes = [n.name for n in onnx.load(source, load_external_data=False).graph.node if n.op_type in weighted]
    layers = {name.rpartition("/")[0] for name in nodes}
    alone = {layer: trial.error([n for n in nodes if n.rpartition("/")[0] != layer]) for layer in layers}
    worst = max(culprits, key=lambda culprit: culprit.error)
    assert worst.layer == max(alone, key=lambda layer: alone[layer])
    assert worst.error == pytest.approx(alone[worst.layer])
    patterns = cure(trial, (), culprits)
    assert patterns[0] == worst.pattern
    assert trial.error(patterns) <= whole / 4
