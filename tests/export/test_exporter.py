"""`mtab-export`: a bundle with proof, or nothing at all."""

import dataclasses
import errno
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from mtab.bundle import open_bundle
from mtab.data import Corpus, corpus_hash
from mtab.errors import ConfigError, DataError
from mtab.files import sha256
from mtab.preprocess import Preprocessor
from mtab_export import exporter
from mtab_export.cli import main
from mtab_export.exporter import Budget, export_bundle, utterances_to_compare
from mtab_train.checkpoint import load_model
from mtab_train.run import open_run, run_parts
from mtab_train.start import Start, untrained_run


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def own_run(tone_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, without its bundle."""
    return Path(shutil.copytree(tone_run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle")))


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
    assert training["test"] == results["test"]
    assert (training["folds"], training["fold"], training["protocol"]) == ("speaker", "speaker-0", "honest")
    parity = bundle.manifest.graphs["fused"].parity
    test = run_parts(open_run(tone_run), tones)["test"]
    assert parity["utterances"] == len(test) == 6
    assert parity["corpus_sha256"] == corpus_hash(test)
    assert 0 < parity["max_batched_difference"] < 1e-5
    assert parity["worst"] in {utterance.id for utterance in test}

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
    for utterance in run_parts(open_run(tone_run), tones)["test"]:
        arrays = preprocess.collate([preprocess(utterance.audio, utterance.text)])
        (found,) = session.run(["probabilities"], arrays)
        with torch.inference_mode():
            expected = model(
                **{name: torch.from_numpy(array) for name, array in arrays.items()}
            ).probabilities
        differences.append(np.abs(np.asarray(found) - expected.numpy()).max())
    parity = open_bundle(tone_bundle).manifest.graphs["fused"].parity
    assert parity["max_probability_difference"] == pytest.approx(max(differences), abs=1e-6)


def test_what_it_prints(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_run.parent / "runs").mkdir()
    own_run.rename(own_run.parent / "runs" / "mine")
    monkeypatch.chdir(own_run.parent)
    done = run()
    assert done.exit_code == 0, done.output
    assert "runs/mine/bundle" in done.output
    assert "labels that agree" in done.output
    assert "100.00%" in done.output
    refused = run()
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "exists already" in refused.stderr


def test_a_graph_that_answers_differently_is_not_written(
    own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter is handed a model whose classifier is a little off."""
    real = exporter.export_graph

    def off(model, path, opset, metadata) -> None:
        with torch.no_grad():
            model.head.classifier.weight[0] += 0.05
        real(model, path, opset, metadata)
        with torch.no_grad():
            model.head.classifier.weight[0] -= 0.05

    monkeypatch.setattr(exporter, "export_graph", off)
    done = run("--checkpoint", own_run)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "does not answer as PyTorch does" in done.stderr
    assert "expected at most 1e-05" in done.stderr
    assert not [path for path in own_run.iterdir() if "bundle" in path.name]


def test_weights_that_are_no_numbers_are_refused(own_run: Path, tones: Corpus) -> None:
    path = own_run / "model.safetensors"
    weights = load_file(path)
    weights["head.classifier.weight"][0, 0] = float("nan")
    save_file(weights, path)
    opened = open_run(own_run)
    with pytest.raises(ConfigError, match=r"model\.safetensors: 'head.classifier.weight' holds NaN"):
        export_bundle(opened, own_run / "bundle", tones, tones.utterances)
    assert not (own_run / "bundle").exists()


def test_the_corpus_must_be_there_and_the_same(
    own_run: Path, tones: Corpus, tmp_path: Path, make_tones
) -> None:
    opened = open_run(own_run)
    moved = dataclasses.replace(
        opened, config=dataclasses.replace(opened.config, data_dir=str(tmp_path / "gone"))
    )
    with pytest.raises(DataError, match="gone"):
        utterances_to_compare(moved)
    corpus, chosen = utterances_to_compare(moved, data_dir=tones.root)
    assert len(chosen) == 6
    assert corpus.root == tones.root
    other = tmp_path / "other"
    other.mkdir()
    make_tones(other)
    (other / "0-0.wav").write_bytes((other / "0-1.wav").read_bytes())
    with pytest.raises(DataError, match="has changed since"):
        utterances_to_compare(moved, data_dir=other)
    assert len(utterances_to_compare(moved, "manifest", other)[1]) == 36


def test_an_untrained_model_needs_a_corpus_to_compare_on(tmp_path: Path, start: Start, tones: Corpus) -> None:
    untrained_run(tmp_path / "run", start, ["some words", "and others"])
    refused = run("--checkpoint", tmp_path / "run")
    assert refused.exit_code == 1
    assert "was never trained, expected --dataset" in refused.stderr
    opened = open_run(tmp_path / "run")
    manifest = export_bundle(
        opened, tmp_path / "bundle", tones, tones.utterances, budget=Budget(utterances=5)
    )
    assert manifest.graphs["fused"].parity["utterances"] == 5
    assert "random weights" in manifest.training["title"]


def test_no_usable_utterance(own_run: Path, tones: Corpus) -> None:
    mute = [dataclasses.replace(utterance, text=None) for utterance in tones.utterances]
    with pytest.raises(DataError, match="none of 36 utterances"):
        export_bundle(open_run(own_run), own_run / "bundle", tones, mute)
    assert not (own_run / "bundle").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--checkpoint", "nowhere"), 1, "nowhere: not found, expected a run folder"),
        ((), 1, "no finished run"),
        (("--opset", "12"), 2, "opset"),
        (("--dataset", "nonsense"), 2, "nonsense"),
    ],
)
def test_wrong_use(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert message in done.output


def test_a_full_disk_leaves_nothing(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model: object, path: Path, opset: int, metadata: dict) -> None:
        path.write_bytes(b"half a graph")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(exporter, "export_graph", full)
    done = run("--checkpoint", own_run)
    assert done.exit_code == 1
    assert "No space left on device" in done.stderr
    assert not [path for path in own_run.iterdir() if "bundle" in path.name]
