"""The dimensions in the graph: as PyTorch answers them, in each part and precision, and over their budget."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from mtab.bundle import file_entries, open_bundle
from mtab.config import to_dict
from mtab.data import Corpus
from mtab.engines import run_in_sequence
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.graphs import BUDGETS, SPLIT
from mtab.preprocess import Preprocessor
from mtab.reference import load_reference
from mtab.sample import read_sample
from mtab_export import graph_exporter
from mtab_train.checkpoint import load_model

from .commands import fp32, run


@pytest.fixture
def own_run(rated_run: Path, tmp_path: Path) -> Path:
    """A copy of the run without a bundle."""
    ignored = shutil.ignore_patterns("bundle")
    return Path(shutil.copytree(rated_run, tmp_path / "run", ignore=ignored))


def test_whole_and_in_parts_they_are_pytorchs(
    rated_run: Path, rated_bundle: Path, rated_tones: Corpus
) -> None:
    model, preprocess = load_model(rated_run), Preprocessor.from_folder(rated_bundle)
    sample = read_sample(rated_tones, rated_tones.utterances, preprocess, (("audio", "text"),), 9)
    inputs = preprocess.collate(sample.features)
    expected = model.run(inputs)["dimensions"]
    assert expected.shape == (9, 2)
    assert expected[:, 1].std() > 5
    bundle = open_bundle(rated_bundle)
    for specs in ((None,), SPLIT):
        names = ["model.onnx" if spec is None else f"{spec.name}.onnx" for spec in specs]
        engines = [OnnxRuntimeEngine(bundle.path(name), threads=1) for name in names]
        found = run_in_sequence(engines, inputs)["dimensions"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_the_bundle_says_what_they_are_and_what_was_proved(rated_run: Path, rated_bundle: Path) -> None:
    bundle, head = open_bundle(rated_bundle), load_model(rated_run).head.dimensions
    assert head is not None
    assert bundle.config.deviations == dict(zip(("valence", "arousal"), head.std.tolist(), strict=True))
    certificate = fp32(bundle.manifest).certificate
    assert certificate.dimensions is not None
    assert 0 < certificate.dimensions.largest <= certificate.budget.max_dimension_difference == 1e-4
    reference = load_reference(bundle)
    assert np.shape(reference.dimensions) == (len(reference.utterances), 2)
    sequence = bundle.manifest.sequences["fp32"].dimensions
    assert sequence is not None
    assert sequence.largest <= 1e-4
    ccc = json.loads((rated_run / "results.json").read_text())["test"]["ccc"]
    card = (rated_bundle / "README.md").read_text()
    assert f"| CCC arousal | {ccc['arousal']:.3f} |" in card
    assert "in the units of the corpus that it learned from: valence, arousal." in card


def test_lower_precisions_and_verifying_them(own_run: Path) -> None:
    done = run("--checkpoint", own_run, "--fp16", "--int8")
    assert done.exit_code == 0, done.output
    (header,) = [line for line in done.output.splitlines() if line.startswith("part")]
    assert header.split()[-2:] == ["dimensions", "verdict"]
    assert "of a dimension 1e-02" in done.output
    manifest = open_bundle(own_run / "bundle").manifest
    for precision in ("fp16", "int8"):
        graph = manifest.graph("fused", precision)
        assert graph is not None
        assert graph.certificate.dimensions is not None
        assert 1e-6 < graph.certificate.dimensions.largest <= BUDGETS[precision].max_dimension_difference
    verified = run("verify", own_run / "bundle")
    assert verified.exit_code == 0, verified.output
    # Far from the checkpoint, against the answers that the bundle keeps.
    shutil.move(own_run / "bundle", own_run.parent / "moved")
    alone = run("verify", own_run.parent / "moved", "--data-dir", json_of(own_run)["data_dir"])
    assert alone.exit_code == 0, alone.output
    assert "as stored" in alone.output


def json_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter is handed a model whose arousal is one thousandth of a standard deviation off."""
    real = graph_exporter.export_graph

    def spoilt(model, *arguments) -> None:
        with torch.no_grad():
            model.head.dimensions.bias[1] += 1e-3
        real(model, *arguments)
        with torch.no_grad():
            model.head.dimensions.bias[1] -= 1e-3

    monkeypatch.setattr(graph_exporter, "export_graph", spoilt)


@pytest.mark.usefixtures("off")
def test_a_graph_over_their_budget_is_not_written_unless_that_is_wider(own_run: Path) -> None:
    done = run("--checkpoint", own_run)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "a dimension differs by 0.001 standard deviations unbatched (utterance " in done.stderr
    assert "expected at most 0.0001" in done.stderr
    assert "a probability differs" not in done.stderr
    assert not (own_run / "bundle").exists()
    done = run("--checkpoint", own_run, "--dimensions-atol", "0.01")
    assert done.exit_code == 0, done.output
    assert "of a dimension 1e-02" in done.output


@pytest.mark.slow
@pytest.mark.usefixtures("off")
def test_what_is_lower_in_precision_is_taken_apart(own_run: Path) -> None:
    """A graph whose float32 is off too has no layer to blame; the error says so, and is one line."""
    done = run(
        "--checkpoint",
        own_run,
        "--dtype",
        "fp16",
        "--utterances",
        4,
        "--dimensions-atol",
        "1e-4",
        "--auto-islands",
    )
    assert done.exit_code == 1
    assert "off in float32 already" in done.stderr
    assert done.stderr.count("\n") == 1


def test_verify_finds_a_head_that_was_changed(own_run: Path) -> None:
    assert run("--checkpoint", own_run).exit_code == 0
    bundle = own_run / "bundle"
    model = onnx.load(bundle / "model.onnx")
    (bias,) = [w for w in model.graph.initializer if w.name == "head.dimensions.bias"]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
    onnx.save(model, bundle / "model.onnx", save_as_external_data=True, location="model.onnx.data")
    values = json.loads((bundle / "manifest.json").read_text())
    values["files"] = {name: to_dict(entry) for name, entry in file_entries(bundle).items()}
    (bundle / "manifest.json").write_text(json.dumps(values))
    done = run("verify", bundle)
    assert done.exit_code == 1
    assert "a dimension differs by 0.01 standard deviations" in done.stderr
