"""`mtab-export`: a bundle with proof."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mtab.bundle import open_bundle
from mtab.config import from_dict
from mtab.data import Corpus, corpus_hash
from mtab.engines import run_in_sequence
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.errors import DataError
from mtab.files import sha256
from mtab.graphs import Budget
from mtab.preprocess import Preprocessor
from mtab.provenance import Scores
from mtab.reference import load_reference
from mtab_export.utterances import utterances_to_compare
from mtab_export.verify import verify_bundle
from mtab_train.checkpoint import load_model
from mtab_train.run import Run, open_run, run_parts, write_run

from .commands import fp32, run


def test_the_bundle_says_what_it_is_and_where_it_comes_from(
    tone_bundle: Path, tone_run: Path, tones: Corpus
) -> None:
    bundle = open_bundle(tone_bundle)
    assert {path.name for path in tone_bundle.iterdir()} == {*bundle.manifest.files, "manifest.json"}
    for name, entry in bundle.manifest.files.items():
        assert entry.sha256 == sha256(tone_bundle / name)
    assert bundle.config.labels == ("high", "low")
    assert bundle.config.supported_modalities == (("audio", "text"),)
    assert bundle.manifest.checkpoint.sha256 == sha256(tone_run / "model.safetensors")
    training = bundle.manifest.training
    results = json.loads((tone_run / "results.json").read_text())
    assert training.test == from_dict(Scores, results["test"], "results")
    assert (training.folds, training.fold, training.protocol) == ("speaker", "speaker-0", "honest")
    certificate = fp32(bundle.manifest).certificate
    test = run_parts(open_run(tone_run), tones).test
    assert certificate.utterances == len(test) == 6
    assert certificate.corpus_sha256 == corpus_hash(test)
    assert 0 < certificate.max_batched_difference < 1e-5
    assert certificate.worst in {utterance.id for utterance in test}
    assert certificate.budget == Budget(1e-5, 1.0, 1e-4)
    assert certificate.dimensions is None
    assert certificate.accuracy is not None
    assert certificate.accuracy.war.pytorch == results["test"]["war"]

    model = onnx.load(tone_bundle / "model.onnx", load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["labels"]) == ["high", "low"]
    assert metadata["checkpoint_sha256"] == bundle.manifest.checkpoint.sha256


def test_the_measured_parity_is_the_graphs(tone_bundle: Path, tone_run: Path, tones: Corpus) -> None:
    """Measured again with nothing of the exporter's: onnxruntime and torch, an utterance at a time."""
    session = onnxruntime.InferenceSession(tone_bundle / "model.onnx")
    model = load_model(tone_run)
    preprocess = Preprocessor.from_folder(tone_bundle)
    differences = []
    for utterance in run_parts(open_run(tone_run), tones).test:
        arrays = preprocess.collate([preprocess(utterance.audio, utterance.text)])
        (found,) = session.run(["probabilities"], arrays)
        with torch.inference_mode():
            expected = model(
                **{name: torch.from_numpy(array) for name, array in arrays.items()}
            ).probabilities
        differences.append(np.abs(np.asarray(found) - expected.numpy()).max())
    certificate = fp32(open_bundle(tone_bundle).manifest).certificate
    assert certificate.max_probability_difference == pytest.approx(max(differences), abs=1e-6)


def test_what_it_prints(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_run.parent / "runs").mkdir()
    title = open_run(own_run).config.title
    own_run.rename(own_run.parent / "runs" / "mine")
    monkeypatch.chdir(own_run.parent)
    done = run()
    assert done.exit_code == 0, done.output
    assert "runs/mine/bundle" in done.output
    assert f"Against PyTorch on 6 utterances of {title}" in done.output
    (row,) = [line.split() for line in done.output.splitlines() if line.startswith("fused")]
    assert (row[1], row[-3], row[-1]) == ("fp32", "100.00%", "passed")


def test_a_bundle_of_the_same_checkpoint_is_added_to(own_run: Path, tone_bundle: Path) -> None:
    bundle = Path(shutil.copytree(tone_bundle, own_run / "bundle"))
    before = open_bundle(bundle).manifest
    done = run("--checkpoint", own_run, "--parts", "split", "--utterances", 4)
    assert done.exit_code == 0, done.output
    after = open_bundle(bundle).manifest
    assert after.graph("fused", "fp32") == before.graph("fused", "fp32")
    assert [graph.part for graph in after.graphs] == [
        *("fused", "audio_encoder", "text_encoder", "cme", "tab_head")
    ]
    assert after.sequences["fp32"].utterances == 4
    # The same arithmetic, cut in four.
    preprocess, utterance = Preprocessor.from_folder(bundle), "it is high"
    arrays = preprocess.collate([preprocess(np.sin(np.arange(4_000) / 5), utterance)])
    parts = [OnnxRuntimeEngine(bundle / graph.file) for graph in after.graphs[1:]]
    whole = OnnxRuntimeEngine(bundle / "model.onnx").run(arrays)
    np.testing.assert_allclose(
        run_in_sequence(parts, arrays)["probabilities"], whole["probabilities"], atol=1e-6
    )


@pytest.mark.slow
def test_a_new_bundle_of_lower_precisions_has_the_base_graph_too(own_run: Path) -> None:
    done = run("--checkpoint", own_run, "--fp16", "--int8", "--utterances", 3)
    assert done.exit_code == 0, done.output
    precisions = [graph.precision for graph in open_bundle(own_run / "bundle").manifest.graphs]
    assert precisions == ["fp32", "fp16", "int8"]
    before = sha256(own_run / "bundle" / "model.onnx")
    again = run("--checkpoint", own_run, "--int8", "--utterances", 3)
    assert again.exit_code == 0, again.output
    assert "fused  fp32" not in again.output
    assert sha256(own_run / "bundle" / "model.onnx") == before
    alone = run("--checkpoint", own_run, "--dtype", "int8", "--utterances", 3, "--overwrite")
    assert alone.exit_code == 0, alone.output
    assert [graph.precision for graph in open_bundle(own_run / "bundle").manifest.graphs] == ["int8"]


def test_every_option_is_in_the_help_below_its_heading() -> None:
    done = run("--help")
    assert done.exit_code == 0
    headings = ("Options:", "Comparing with PyTorch:", "Lower precisions:", "TensorRT, and", "Commands:")
    places = [done.output.index(f"\n{heading}") for heading in headings]
    assert places == sorted(places)
    for option, heading in (("--overwrite", 0), ("--columns", 1), ("--auto-islands", 2), ("--refit", 3)):
        assert places[heading] < done.output.index(f"\n  {option}") < places[heading + 1]


def test_names_of_columns_are_remembered_from_the_run_to_the_bundle(
    own_run: Path, tones: Corpus, tmp_path: Path
) -> None:
    """A run on a manifest with names of its own is exported and verified without saying them again."""
    folder = Path(shutil.copytree(tones.root, tmp_path / "calls"))
    content = (folder / "manifest.csv").read_text().split("\n", 1)
    assert content[0] == "audio,text,label,speaker"
    (folder / "manifest.csv").write_text(f"path,words,emotion,who\n{content[1]}")
    columns = {"audio": "path", "text": "words", "label": "emotion", "speaker": "who"}
    begun = open_run(own_run)
    write_run(replace_config(begun, data_dir=str(folder), columns=columns, title="calls"))
    done = run("--checkpoint", own_run)
    assert done.exit_code == 0, done.output
    assert "Against PyTorch on 6 utterances of calls:" in done.output
    bundle = open_bundle(own_run / "bundle")
    assert bundle.manifest.training.columns == columns
    assert load_reference(bundle).columns == columns
    for dataset, data_dir in ((None, None), (None, folder), ("manifest", None)):
        reference, checks = verify_bundle(bundle, dataset, data_dir)
        assert reference == "PyTorch, run here"
        assert all(check.verdict is None or not check.verdict.failures for check in checks)
    with pytest.raises(DataError, match="--columns audio=path,text=words,label=emotion"):
        verify_bundle(bundle, "manifest", folder)
    assert utterances_to_compare(begun, "manifest", folder, columns)[0].title == "calls"


def replace_config(run: Run, **values: Any) -> Run:
    return dataclasses.replace(run, config=dataclasses.replace(run.config, **values))
