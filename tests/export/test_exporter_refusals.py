"""`mtab-export`: nothing at all, where a bundle cannot be proved or what is asked for cannot be had."""

import dataclasses
import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mtab.bundle import open_bundle
from mtab.data import Corpus
from mtab.errors import ConfigError, DataError
from mtab.files import sha256
from mtab_export import graph_exporter
from mtab_export.exporter import export_bundle
from mtab_export.options import Options
from mtab_export.utterances import utterances_to_compare
from mtab_train.run import open_run
from mtab_train.start import Start, untrained_run

from .commands import fp32, run


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


def test_a_head_for_each_corpus(own_run: Path) -> None:
    config = json.loads((own_run / "config.json").read_text())
    (own_run / "config.json").write_text(json.dumps(config | {"classifier_heads": "corpus"}))
    refused = run("--checkpoint", own_run)
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert f"has a head for each of several corpora, expected one; mtab-train fit --init-from {own_run}" in (
        refused.stderr
    )
    assert not (own_run / "bundle").exists()


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
    # The temperature is that of an earlier end, or of one that was not reached.
    assert "The probabilities are not calibrated" in card
    assert "calibration error" not in card


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
