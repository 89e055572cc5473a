"""`mtab-export`: a bundle with proof, or nothing at all."""

import dataclasses
import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from mtab.bundle import GraphEntry, Manifest, open_bundle
from mtab.config import from_dict
from mtab.data import Corpus, corpus_hash
from mtab.engines import run_in_sequence
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.errors import ConfigError, DataError
from mtab.files import sha256
from mtab.graphs import Budget
from mtab.preprocess import Preprocessor
from mtab.provenance import Scores
from mtab.reference import load_reference
from mtab_export import graph_exporter
from mtab_export.cli import main
from mtab_export.exporter import export_bundle
from mtab_export.options import Options
from mtab_export.utterances import utterances_to_compare
from mtab_export.verify import verify_bundle
from mtab_train.checkpoint import load_model
from mtab_train.run import Run, open_run, run_parts, write_run
from mtab_train.start import Start, untrained_run


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fp32(manifest: Manifest) -> GraphEntry:
    graph = manifest.graph("fused", "fp32")
    assert graph is not None
    return graph


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
    assert training.test == from_dict(Scores, results["test"], "results")
    assert (training.folds, training.fold, training.protocol) == ("speaker", "speaker-0", "honest")
    certificate = fp32(bundle.manifest).certificate
    test = run_parts(open_run(tone_run), tones).test
    assert certificate.utterances == len(test) == 6
    assert certificate.corpus_sha256 == corpus_hash(test)
    assert 0 < certificate.max_batched_difference < 1e-5
    assert certificate.worst in {utterance.id for utterance in test}
    assert certificate.budget == Budget(1e-5, 1.0)
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


def test_a_bundle_of_another_checkpoint_is_not_added_to(own_run: Path, tone_bundle: Path) -> None:
    bundle = Path(shutil.copytree(tone_bundle, own_run / "bundle"))
    weights = load_file(own_run / "model.safetensors")
    weights["head.classifier.bias"] += 0.01
    save_file(weights, own_run / "model.safetensors")
    before = {path.name: sha256(path) for path in bundle.iterdir()}
    refused = run("--checkpoint", own_run)
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "holds the graphs of checkpoint" in refused.stderr
    assert {path.name: sha256(path) for path in bundle.iterdir()} == before
    replaced = run("--checkpoint", own_run, "--overwrite")
    assert replaced.exit_code == 0, replaced.output
    assert open_bundle(bundle).manifest.checkpoint.sha256 == sha256(own_run / "model.safetensors")


def test_a_damaged_bundle_is_not_added_to(own_run: Path, tone_bundle: Path) -> None:
    bundle = Path(shutil.copytree(tone_bundle, own_run / "bundle"))
    with (bundle / "model.onnx.data").open("r+b") as file:
        file.write(b"x")
    refused = run("--checkpoint", own_run)
    assert refused.exit_code == 1
    assert "the bundle was damaged or changed" in refused.stderr


def test_a_folder_that_holds_something_else(own_run: Path) -> None:
    (own_run / "bundle").mkdir()
    (own_run / "bundle" / "thesis.txt").write_text("mine")
    refused = run("--checkpoint", own_run)
    assert refused.exit_code == 1
    assert "exists already" in refused.stderr
    assert (own_run / "bundle" / "thesis.txt").read_text() == "mine"


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter is handed a model whose classifier is a little off."""
    real = graph_exporter.export_graph

    def spoilt(model, *arguments) -> None:
        with torch.no_grad():
            model.head.classifier.weight[0] += 0.05
        real(model, *arguments)
        with torch.no_grad():
            model.head.classifier.weight[0] -= 0.05

    monkeypatch.setattr(graph_exporter, "export_graph", spoilt)


@pytest.mark.usefixtures("off")
def test_a_graph_that_answers_differently_is_not_written(own_run: Path) -> None:
    done = run("--checkpoint", own_run)
    assert done.exit_code == 1
    assert "over budget" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "no graph answers as PyTorch does" in done.stderr
    assert "expected at most 1e-05" in done.stderr
    assert not [path for path in own_run.iterdir() if "bundle" in path.name]


@pytest.mark.usefixtures("off")
def test_what_is_within_budget_stays(own_run: Path) -> None:
    """Of the parts, only the last has the classifier."""
    done = run("--checkpoint", own_run, "--parts", "split")
    assert done.exit_code == 1
    assert "over budget and left out: tab_head fp32" in done.stderr
    manifest = open_bundle(own_run / "bundle").manifest
    assert [graph.part for graph in manifest.graphs] == ["audio_encoder", "text_encoder", "cme"]
    assert manifest.sequences == {}
    assert not (own_run / "bundle" / "tab_head.onnx").exists()


@pytest.mark.slow
def test_what_overflows_in_fp16_is_refused_taken_apart_and_cured(own_run: Path) -> None:
    """An outlier channel, made in one layer and undone in the next: in float32 nothing changes."""
    weights = load_file(own_run / "model.safetensors")
    layer = "self_attention.audio.layers.1.linear"
    weights[f"{layer}1.weight"][3] *= 2.0**20
    weights[f"{layer}1.bias"][3] = 2.0**20
    weights[f"{layer}2.weight"][:, 3] /= 2.0**20
    save_file(weights, own_run / "model.safetensors")
    refused = run("--checkpoint", own_run, "--dtype", "fp32", "--fp16")
    assert refused.exit_code == 1
    assert "over budget and left out: fused fp16" in refused.stderr
    assert f"{layer}1" in refused.stdout
    bundle = own_run / "bundle"
    assert [graph.precision for graph in open_bundle(bundle).manifest.graphs] == ["fp32"]
    assert not list(bundle.glob("*fp16*"))

    cured = run("--checkpoint", own_run, "--fp16", "--auto-islands")
    assert cured.exit_code == 0, cured.output
    graph = open_bundle(bundle).manifest.graph("fused", "fp16")
    assert graph is not None
    assert any(pattern.startswith(layer) for pattern in graph.fp32_nodes)
    assert graph.certificate.max_probability_difference < 2e-3
    again = run("--checkpoint", own_run, "--fp16", *(f"--fp32-nodes={p}" for p in graph.fp32_nodes))
    assert again.exit_code == 0, again.output


def test_a_run_that_has_not_ended_is_refused_or_called_that(own_run: Path) -> None:
    (own_run / "results.json").unlink()
    (own_run / "calibration.json").unlink()
    refused = run("--checkpoint", own_run)
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "its training has not ended" in refused.stderr
    assert f"mtab-train fit --resume {own_run}" in refused.stderr
    assert "--unfinished" in refused.stderr
    assert not (own_run / "bundle").exists()
    done = run("--checkpoint", own_run, "--unfinished")
    assert done.exit_code == 0, done.output
    training = open_bundle(own_run / "bundle").manifest.training
    assert (training.finished, training.test, training.selected_epoch) == (False, None, None)
    card = (own_run / "bundle" / "README.md").read_text()
    assert "**Training had not ended.**" in card
    assert "None: the training had not ended." in card


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


SHAPES = "input_values:{0}x{1},audio_lengths:{0},input_ids:{0}x{2},text_lengths:{0}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "graphs"),
    [
        (("--int8", "--target", "ort-trt"), ["fp32", "int8-static"]),
        (
            ("--int8", "--target", "ort-trt", "--calibration-data", "CORPUS", "--flavor", "trt"),
            ["fp32", "int8-static"],
        ),
        (("--dtype", "bf16", "--opset", 22), ["fp32", "bf16"]),
        (("--parts", "split", "--int8", "--no-reduce-range"), ["fp32", *("int8",) * 4]),
        (
            ("--dtype", "fp16", "--fp32-nodes", "*classifier*", "--atol", 0.01, "--min-agreement", 0.9),
            ["fp32", "fp16"],
        ),
        (
            ("--dtype", "int8", "--auto-islands", "--reduce-range", "--batch-size", 2, "--device", "cpu"),
            ["fp32", "int8"],
        ),
        (
            (
                *("--target", "ort-trt", "--min-shapes", SHAPES.format(1, 400, 1), "--workspace", 64),
                *("--opt-shapes", SHAPES.format(1, 4000, 4), "--max-shapes", SHAPES.format(2, 8000, 8)),
            ),
            ["fp32"],
        ),
        (("--dtype", "fp32", "--dataset", "manifest", "--data-dir", "CORPUS", "--overwrite"), ["fp32"]),
    ],
    ids=lambda value: " ".join(map(str, value[:4])) if isinstance(value, tuple) else None,
)
def test_what_may_be_asked_for(
    own_run: Path, tone_bundle: Path, tones: Corpus, arguments: tuple, graphs: list[str]
) -> None:
    bundle = Path(shutil.copytree(tone_bundle, own_run / "bundle"))
    given = [tones.root if each == "CORPUS" else each for each in arguments]
    done = run("--checkpoint", own_run, "--out", bundle, "--utterances", 4, *given)
    assert done.exit_code == 0, done.output
    found = open_bundle(bundle).manifest
    shown = [graph for graph in found.graphs if graph.part == "fused" or graph.precision != "fp32"]
    assert [graph.precision for graph in shown] == graphs
    assert (f"{Path(shown[-1].file).stem}_ort_trt.json" in found.files) == ("ort-trt" in arguments)


def test_every_option_is_in_the_help_below_its_heading() -> None:
    done = run("--help")
    assert done.exit_code == 0
    headings = ("Options:", "Comparing with PyTorch:", "Lower precisions:", "TensorRT, and", "Commands:")
    places = [done.output.index(f"\n{heading}") for heading in headings]
    assert places == sorted(places)
    for option, heading in (("--overwrite", 0), ("--columns", 1), ("--auto-islands", 2), ("--refit", 3)):
        assert places[heading] < done.output.index(f"\n  {option}") < places[heading + 1]


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


def test_an_untrained_model_needs_a_corpus_to_compare_on(tmp_path: Path, start: Start, tones: Corpus) -> None:
    untrained_run(tmp_path / "run", start, ["some words", "and others"])
    refused = run("--checkpoint", tmp_path / "run")
    assert refused.exit_code == 1
    assert "was never trained, expected --dataset" in refused.stderr
    opened = open_run(tmp_path / "run")
    manifest = export_bundle(
        opened, tmp_path / "bundle", tones, tones.utterances, Options(utterances=5)
    ).manifest
    assert fp32(manifest).certificate.utterances == 5
    assert "random weights" in manifest.training.title


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
        (("--dtype", "fp8"), 2, "'fp8' is not one of 'fp32', 'fp16', 'bf16', 'int8'"),
        (("--parts", "some"), 2, "'some' is not one of 'fused', 'split', 'all'"),
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
    def full(model: object, path: Path, *_: object) -> None:
        path.write_bytes(b"half a graph")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(graph_exporter, "export_graph", full)
    done = run("--checkpoint", own_run)
    assert done.exit_code == 1
    assert "No space left on device" in done.stderr
    assert not [path for path in own_run.iterdir() if "bundle" in path.name]
