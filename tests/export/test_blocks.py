"""A graph in blocks of time answers as the whole does, whatever the blocks, and comes back as it was."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.memory import MemoryNeed
from mtab_export import blocks
from mtab_export.blocks import load_model, save_model, save_whole
from mtab_export.int8 import quantize
from mtab_export.memory import memory_need
from mtab_export.onnx_graph import export_graph
from mtab_export.precision import convert, emulate
from mtab_train.config import PRESETS, ModelConfig
from mtab_train.model import MulTAB

TINY = PRESETS["tiny"].model


def small(config: ModelConfig, **audio: object) -> ModelConfig:
    assert config.audio_config is not None
    return dataclasses.replace(
        config, audio_config=config.audio_config | {"conv_dim": [16] * 7, "num_hidden_layers": 1} | audio
    )


def write(config: ModelConfig, folder: Path) -> Path:
    torch.manual_seed(0)
    model = MulTAB.from_config(config)
    with torch.no_grad():
        model.head.classifier.weight.mul_(50)  # random weights alone answer every utterance alike
    export_graph(model, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(small(TINY), tmp_path_factory.mktemp("blocks"))


@pytest.fixture(scope="module")
def whole(graph: Path) -> Path:
    path = graph.with_name("whole.onnx")
    save_whole(load_model(graph), path)
    return path


def batch(samples: list[int], tokens: list[int]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    waves = np.zeros((len(samples), max(samples)), np.float32)
    texts = np.full((len(tokens), max(tokens)), 1)
    for row, (length, count) in enumerate(zip(samples, tokens, strict=True)):
        waves[row, :length] = random.standard_normal(length)
        texts[row, :count] = random.integers(4, 900, count)
    return {
        "input_values": waves,
        "audio_lengths": np.array(samples),
        "input_ids": texts,
        "text_lengths": np.array(tokens),
    }


def alone(inputs: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    """One of a batch's utterances, without padding."""
    samples, tokens = inputs["audio_lengths"][row], inputs["text_lengths"][row]
    return {
        "input_values": inputs["input_values"][row : row + 1, :samples],
        "audio_lengths": inputs["audio_lengths"][row : row + 1],
        "input_ids": inputs["input_ids"][row : row + 1, :tokens],
        "text_lengths": inputs["text_lengths"][row : row + 1],
    }


def loops(path: Path) -> list[str]:
    return [node.name or "" for node in ir.load(path).graph if node.op_type == "Loop"]


def test_all_that_grows_with_the_square_of_the_speech_is_in_blocks(graph: Path) -> None:
    modules = [name.rpartition("/")[0] for name in loops(graph)]
    assert modules == [
        "audio_encoder.backbone.feature_extractor.conv_layers.0.conv",
        "audio_encoder.backbone.encoder.layers.0.attention",
        "self_attention.audio.layers.0.self_attn",
        "self_attention.audio.layers.1.self_attn",
        "cross_modal.speech_to_text.attention",
        "cross_modal.text_to_speech.attention",
    ]
    onnx.checker.check_model(graph, full_check=True)


def test_the_whole_comes_back_node_by_node(graph: Path, tmp_path: Path) -> None:
    plain = load_model(graph)
    names = [node.name for node in plain.graph]
    assert not [node for node in plain.graph if node.op_type == "Loop"]
    save_model(plain, tmp_path / "again.onnx")
    again = load_model(tmp_path / "again.onnx")
    assert [node.name for node in again.graph] == names
    assert {v.name for v in again.graph.initializers.values()} == {
        v.name for v in load_model(graph).graph.initializers.values()
    }


@pytest.mark.parametrize(("scores", "frames"), [(1, 1), (40, 3), (2**10, 7), (2**14, 50)])
def test_blocks_of_any_size_change_nothing(
    scores: int, frames: int, graph: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ATTENTION_SCORES", scores)
    monkeypatch.setattr(blocks, "CONVOLVED_FRAMES", frames)
    save_model(load_model(graph), tmp_path / "cut.onnx")
    cut, plain = OnnxRuntimeEngine(tmp_path / "cut.onnx"), OnnxRuntimeEngine(whole)
    border = 400 + 320 * (frames - 1)
    for samples in (400, 719, 720, border, border + 319, border + 320, 12_345):
        inputs = batch([samples], [9])
        for name, expected in plain.run(inputs).items():
            np.testing.assert_allclose(cut.run(inputs)[name], expected, atol=1e-4, rtol=1e-4)


def test_padding_reaches_no_answer_through_a_block(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ATTENTION_SCORES", 500)
    monkeypatch.setattr(blocks, "CONVOLVED_FRAMES", 20)
    save_model(load_model(graph), tmp_path / "cut.onnx")
    cut = OnnxRuntimeEngine(tmp_path / "cut.onnx")
    inputs = batch([16_000, 400, 9_000], [3, 20, 11])
    together = cut.run(inputs)["probabilities"]
    for row in range(3):
        np.testing.assert_allclose(cut.run(alone(inputs, row))["probabilities"][0], together[row], atol=1e-5)


@pytest.mark.parametrize("precision", ["fp16", "int8", "emulated"])
def test_every_precision_is_in_the_same_blocks(precision: str, graph: Path, tmp_path: Path) -> None:
    path = tmp_path / "low.onnx"
    if precision == "int8":
        quantize(graph, path, reduce_range=True)
    else:
        convert(graph, path, "fp16")
    if precision == "emulated":
        emulate(path, path := tmp_path / "emulated.onnx")
    assert [name.rpartition("/")[0] for name in loops(path)] == [
        name.rpartition("/")[0] for name in loops(graph)
    ]
    inputs = batch([9_000], [5])
    expected = OnnxRuntimeEngine(graph).run(inputs)["probabilities"]
    np.testing.assert_allclose(OnnxRuntimeEngine(path).run(inputs)["probabilities"], expected, atol=0.3)


def test_weights_are_read_where_a_link_leads(graph: Path, tmp_path: Path) -> None:
    """As in a hub's cache, where every file is a link to a blob out of its folder."""
    low, blobs, linked = (
        tmp_path / "low.onnx",
        tmp_path / "blobs",
        tmp_path / "snapshots" / "0f1e" / "low.onnx",
    )
    convert(graph, low, "fp16")
    emulate(low, tmp_path / "expected.onnx")
    blobs.mkdir()
    linked.parent.mkdir(parents=True)
    for number, name in enumerate(("low.onnx", "low.onnx.data")):
        (tmp_path / name).rename(blobs / f"{number}")
        (linked.parent / name).symlink_to(f"../../blobs/{number}")
    emulate(linked, tmp_path / "found.onnx")
    expected, found = ((tmp_path / f"{name}.onnx.data").read_bytes() for name in ("expected", "found"))
    assert found == expected


def test_layer_norms_after_the_convolutions_are_in_blocks_too(tmp_path: Path) -> None:
    config = dataclasses.replace(
        small(TINY, feat_extract_norm="layer", do_stable_layer_norm=True, model_type="hubert"),
        text_config=None,
    )
    path = write(config, tmp_path)
    assert len(loops(path)) == 1 + 1 + 2
    need = memory_need(config, path)
    assert (need.scores_at_once, need.frames_at_once) == (blocks.ATTENTION_SCORES, blocks.CONVOLVED_FRAMES)


def test_attention_with_a_bias_for_each_pair_is_left_whole_and_counted(tmp_path: Path) -> None:
    config = dataclasses.replace(
        small(TINY, feat_extract_norm="layer", do_stable_layer_norm=True, model_type="wavlm"),
        text_config=None,
    )
    need = memory_need(config, write(config, tmp_path))
    assert need.scores_at_once is None
    assert need.size(1, 600) > 40e9


LIMIT = """
import re, sys, numpy as np
from pathlib import Path
from mtab.engines.onnxruntime import OnnxRuntimeEngine
engine = OnnxRuntimeEngine(Path(sys.argv[1]))
def run(seconds):
    n = 16_000 * seconds
    engine.run({"input_values": np.zeros((1, n), np.float32), "audio_lengths": np.array([n]),
                "input_ids": np.ones((1, 5), np.int64), "text_lengths": np.array([5])})
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(-run(1) + run(int(sys.argv[2])))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_a_clip_of_150_s_takes_the_memory_that_is_said(graph: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMIT, str(graph), "150"], capture_output=True, text=True, check=True
    )
    taken = int(done.stdout)
    assert taken < 0.9e9  # whole, one matrix of attention alone would be 1.8e9
    need: MemoryNeed = memory_need(small(TINY), graph)
    assert taken < need.size(1, 150) < 4 * taken
