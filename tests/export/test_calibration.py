"""A calibrated model's graphs answer its calibrated probabilities."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.graphs import FUSED, TAB_HEAD, GraphSpec
from mtab_export.onnx_graph import export_graph, graph_sizes, run_part
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB


def inputs_of(spec: GraphSpec) -> dict[str, np.ndarray]:
    """Three utterances for the fused graph of a text model, or for its head."""
    random = np.random.default_rng(0)
    if spec.name == TAB_HEAD.name:
        width = next(tensor.axes[2] for tensor in spec.inputs if tensor.name == "fused_states")
        states = random.normal(size=(3, 9, int(width))).astype(np.float32)
        return {"fused_states": states, "fused_lengths": np.array([9, 4, 1])}
    return {
        "input_ids": random.integers(4, 300, size=(3, 8)),
        "text_lengths": np.array([8, 1, 5]),
    }


@pytest.mark.parametrize(
    ("part", "temperature"),
    [(FUSED, 2.7182817), (TAB_HEAD, 0.4), (TAB_HEAD, 1.0)],
    ids=["fused", "sharper", "uncalibrated"],
)
def test_a_graph_has_the_temperature_of_its_model(
    tmp_path: Path, nano: ModelConfig, part: GraphSpec, temperature: float
) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(nano, labels=("high", "low", "none"), audio_config=None)
    model = MulTAB.from_config(config).eval()
    with torch.no_grad():
        # Random weights alone answer every utterance alike.
        model.head.classifier.weight.mul_(50)
    model.temperature.fill_(temperature)
    spec = part.of(model.config.modalities, graph_sizes(model))
    export_graph(model, tmp_path / "model.onnx", spec=spec)
    inputs = inputs_of(spec)
    found = OnnxRuntimeEngine(tmp_path / "model.onnx", threads=1).run(inputs)
    expected = run_part(model, spec, inputs)
    for tensor in spec.outputs:
        assert tensor.tolerance is not None
        assert tensor.tolerance.used(found[tensor.name], expected[tensor.name]).max() <= 1, tensor.name
    assert np.ptp(found["probabilities"], axis=1).min() > 0.05
    powers = np.exp(found["logits"].astype(np.float64) / temperature)
    np.testing.assert_allclose(found["probabilities"], powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
