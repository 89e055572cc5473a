"""The graph of reasons has the attention that the model's own weights give, and no weights of its own."""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import mtab_export.reasons
from mtab.bundle import open_bundle
from mtab.data import Corpus
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.errors import BundleError
from mtab.graphs import FUSED, REASONS, reasons_of
from mtab.preprocess import Features, Preprocessor
from mtab_export.onnx_graph import export_graph, graph_sizes
from mtab_export.reasons import cut, outputs_of
from mtab_train.checkpoint import load_model
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB
from mtab_train.run import open_run

from .commands import run


def by_hand(model: MulTAB, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Attention from the formulas, in float64, of one utterance: softmax(Q Kᵀ / √d) and A = F / x."""
    found: dict[str, np.ndarray] = {}

    def tab(module: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        x, mask = arguments
        found["tab_attention"] = (output / x)[0].mean(dim=1)[mask[0]].numpy()

    def cross(name: str):
        def read(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            query, other, mask = arguments
            attention: nn.MultiheadAttention = module.attention  # pyright: ignore[reportAssignmentType]
            weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
            heads = attention.num_heads
            q, k = (
                (values @ weight.T + bias).unflatten(-1, (heads, -1)).transpose(1, 2)
                for values, weight, bias in zip((query, other), weights[:2], biases[:2], strict=True)
            )
            scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
            scores = scores.masked_fill(~mask[:, None, None], -torch.inf)
            found[name] = scores.softmax(dim=-1).mean(dim=1)[0][:, mask[0]].numpy()

        return read

    double = MulTAB.from_config(model.config).eval()
    double.load_state_dict(model.state_dict())
    double.double()
    hooks = [] if double.tab is None else [double.tab.register_forward_hook(tab)]
    if len(model.config.modalities) == 2:
        names = ("speech_to_text", "text_to_speech")
        hooks += [
            getattr(double.cross_modal, name).register_forward_pre_hook(cross(f"{name}_attention"))
            for name in names
        ]
    wide = {
        name: values.astype(np.float64) if values.dtype == np.float32 else values
        for name, values in inputs.items()
    }
    double.run(wide)
    for hook in hooks:
        hook.remove()
    return found


def require_same(
    model: MulTAB, engine: OnnxRuntimeEngine, preprocess: Preprocessor, features: Sequence[Features]
) -> None:
    """Each utterance alone, and all of them in one padded batch."""
    alone = [engine.run(preprocess.collate([each])) for each in features]
    together = engine.run(preprocess.collate(features))
    for i, each in enumerate(features):
        expected = by_hand(model, preprocess.collate([each]))
        assert set(alone[i]) == set(outputs_of(model.config)) <= set(expected)
        for name in alone[i]:
            wanted = expected[name]
            part = tuple(slice(size) for size in wanted.shape)
            np.testing.assert_allclose(alone[i][name][0][part], wanted, atol=2e-5)
            np.testing.assert_allclose(together[name][i][part], wanted, atol=2e-5)
            if name != "tab_attention":
                np.testing.assert_allclose(wanted.sum(axis=-1), 1, atol=1e-9)


def read(corpus: Corpus, preprocess: Preprocessor, count: int = 4) -> list[Features]:
    return [preprocess(each.audio, each.text) for each in corpus.utterances[:count]]


def test_both_modalities(tone_run: Path, tone_bundle: Path, tones: Corpus) -> None:
    preprocess = Preprocessor.from_folder(tone_bundle)
    engine = OnnxRuntimeEngine(tone_bundle / "reasons.onnx")
    require_same(load_model(open_run(tone_run)), engine, preprocess, read(tones, preprocess))


def test_a_model_that_learned_to_do_without_one(drop_run: Path, drop_bundle: Path, tones: Corpus) -> None:
    preprocess = Preprocessor.from_folder(drop_bundle)
    engine = OnnxRuntimeEngine(drop_bundle / "reasons.onnx")
    whole = read(tones, preprocess, 2)
    deaf = [dataclasses.replace(each, input_values=None, seconds=None) for each in whole]
    blind = [dataclasses.replace(each, input_ids=None) for each in whole]
    model = load_model(open_run(drop_run))
    for features in (whole, blind, deaf):
        # A stand-in is as long as a batch's longest: here each is alone.
        for each in features:
            found = engine.run(preprocess.collate([each]))
            for name, wanted in by_hand(model, preprocess.collate([each])).items():
                part = tuple(slice(size) for size in wanted.shape)
                np.testing.assert_allclose(found[name][0][part], wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("change", "outputs"),
    [
        ({"text_config": None}, ("tab_attention",)),
        ({"audio_config": None}, ("tab_attention",)),
        ({"num_tab_layers": 0}, ("speech_to_text_attention", "text_to_speech_attention")),
        ({"fusion_align": "pool"}, ("speech_to_text_attention", "text_to_speech_attention")),
        ({"text_config": None, "num_tab_layers": 0}, ()),
    ],
    ids=["audio", "text", "no TAB", "pooled", "none"],
)
def test_other_models(
    nano: ModelConfig,
    change: dict,
    outputs: tuple[str, ...],
    tone_bundle: Path,
    tones: Corpus,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    model = MulTAB.from_config(dataclasses.replace(nano, **change)).eval()
    assert outputs_of(model.config) == outputs
    if not outputs:
        return
    export_graph(model, tmp_path / "model.onnx")
    modalities = model.config.modalities
    spec = reasons_of(FUSED.of(modalities, graph_sizes(model)), outputs)
    cut(tmp_path / "model.onnx", tmp_path / "reasons.onnx", spec)
    both = Preprocessor.from_folder(tone_bundle)
    preprocess = Preprocessor(dataclasses.replace(both.config, modalities=modalities), both.tokenizer)
    require_same(model, OnnxRuntimeEngine(tmp_path / "reasons.onnx"), preprocess, read(tones, preprocess))


def test_its_weights_are_those_of_the_fused_graph(tone_bundle: Path) -> None:
    graph = onnx.load(tone_bundle / "reasons.onnx", load_external_data=False).graph
    places = {
        entry.value
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert places == {"model.onnx.data"}
    assert not (tone_bundle / "reasons.onnx.data").exists()
    own = sum(len(tensor.raw_data) for tensor in graph.initializer)
    assert own < (tone_bundle / "model.onnx.data").stat().st_size / 10


def test_the_manifest_has_its_proof(tone_bundle: Path) -> None:
    manifest = open_bundle(tone_bundle).manifest
    assert manifest.reasons is not None
    assert manifest.reasons.outputs == tuple(tensor.name for tensor in REASONS)
    assert manifest.reasons.hop == 320
    certificate = manifest.reasons.certificate
    assert certificate.utterances == 6
    for differences in (certificate.differences, certificate.batched_differences):
        assert set(differences) == set(manifest.reasons.outputs)
        assert all(0 <= each < 1e-4 for each in differences.values())


def test_graphs_that_join_later_leave_it(tone_run: Path, tone_bundle: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(tone_run, tmp_path / "run"))
    before = (own / "bundle" / "reasons.onnx").read_bytes()
    done = run("--checkpoint", own, "--fp16")
    assert done.exit_code == 0, done.output
    assert (own / "bundle" / "reasons.onnx").read_bytes() == before
    assert open_bundle(own / "bundle").manifest.reasons is not None


def test_one_that_differs_is_not_written(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = mtab_export.reasons.pytorch_attention

    def other(*arguments) -> dict[str, np.ndarray]:  # type: ignore[no-untyped-def]
        found = right(*arguments)
        return found | {"tab_attention": found["tab_attention"] + 0.01}

    monkeypatch.setattr(mtab_export.reasons, "pytorch_attention", other)
    done = run("--checkpoint", own_run)
    assert "tab_attention differs from PyTorch's by 1.0e-02 for" in done.output
    assert not (own_run / "bundle" / "reasons.onnx").exists()
    assert json.loads((own_run / "bundle" / "manifest.json").read_text())["reasons"] is None
    assert done.exit_code == 1


def test_a_changed_one_is_refused(tone_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tone_bundle, tmp_path / "bundle"))
    with (folder / "reasons.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\0\0\0\0")
    with pytest.raises(BundleError, match=r"reasons\.onnx: SHA-256 .* the bundle was damaged or changed"):
        open_bundle(folder)
