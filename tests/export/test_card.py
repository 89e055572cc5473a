import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from mtab.bundle import BundleConfig, Checkpoint, EngineEntry, FileEntry, GraphEntry, Manifest
from mtab.certificate import Certificate
from mtab.config import from_dict
from mtab.provenance import BeforeAfter, Calibration, CalibrationScores, Scores, Training
from mtab_export.card import model_card
from mtab_train.metrics import scores

MakeManifest = Callable[..., Manifest]

LABELS = ("anger", "neutral", "sad|low")
TRAINING = Training(
    title="iemocap",
    synthetic=False,
    preset="base",
    protocol="honest",
    seed=7,
    dataset="iemocap",
    folds="session",
    fold="session-2",
    selected_epoch=31,
    test=from_dict(Scores, scores([0, 0, 0, 0, 1], [0, 0, 0, 1, 1], LABELS), "scores"),
)
NEVER_TRAINED = {
    "dataset": None,
    "title": "untrained, random weights",
    "folds": None,
    "fold": None,
    "selected_epoch": None,
    "test": None,
}


@pytest.fixture
def make_manifest(make_certificate: Callable[..., Certificate]) -> MakeManifest:
    def make(**training: Any) -> Manifest:
        sizes = {
            "config.json": 7,
            "model.onnx": 200_000,
            "model.onnx.data": 9_800_000,
            "cme_fp16.onnx": 100_000,
            "cme_fp16.onnx.data": 1_900_000,
            "engines/model.engine": 5_000_000,
        }
        rounded = "float32, every tensor rounded to fp16, ONNX Runtime on cpu"
        return Manifest(
            format_version=2,
            created="2026-01-02T03:04:05+00:00",
            checkpoint=Checkpoint("c" * 64, 1.0),
            files={name: FileEntry("0" * 64, size) for name, size in sizes.items()},
            graphs=(
                GraphEntry("fused", "fp32", "model.onnx", 18, make_certificate()),
                GraphEntry(
                    "cme", "fp16", "cme_fp16.onnx", 18, make_certificate(accuracy=None, arithmetic=rounded)
                ),
            ),
            training=dataclasses.replace(TRAINING, **training),
            versions={"mtab": "0.1.0", "onnx": "1.23.2"},
            sequences={"fp32": make_certificate(max_probability_difference=4.5e-6)},
            engines=(
                EngineEntry(
                    "engines/model.engine", "model.onnx", "rtx", "1.7", "89", {}, "k", 18.0, verified=False
                ),
            ),
        )

    return make


def make_config(*modalities: Any) -> BundleConfig:
    modalities = modalities or ("audio", "text")
    id2label = {str(i): label for i, label in enumerate(LABELS)}
    return BundleConfig(id2label, modalities, (modalities,), 256, dict.fromkeys(modalities, 128))


def front_matter(card: str) -> Any:
    """As the Hub's own library reads it."""
    return ModelCard(card).data


def rows(card: str, heading: str) -> list[list[str]]:
    """The cells of the tables below a heading."""
    section = card.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("| ").replace(r"\|", "¦") for line in section.splitlines() if line.startswith("|")]
    shown = [[cell.strip().replace("¦", "|") for cell in line.split("|")] for line in lines]
    return [[re.sub(r"\\(\W|_)", r"\1", cell) for cell in line] for line in shown]


def test_the_hub_reads_the_front_matter(make_manifest: MakeManifest) -> None:
    card = front_matter(model_card(make_manifest(), make_config()))
    data = card.to_dict()
    assert data["library_name"] == "mtab"
    assert data["pipeline_tag"] == "audio-classification"
    assert data["language"] == "en"
    assert data["datasets"] == ["iemocap"]
    assert {"onnx", "multimodal", "tensorrt"} <= set(data["tags"])
    assert "license" not in data
    results = {result.metric_type: result for result in card.eval_results}
    assert {name: result.metric_value for name, result in results.items()} == {
        "accuracy": pytest.approx(0.8),
        "recall": pytest.approx((0.75 + 1) / 2),
        "f1": pytest.approx((4 * 6 / 7 + 2 / 3) / 5),
    }
    assert results["accuracy"].metric_name == "WAR (honest protocol)"
    assert results["accuracy"].dataset_args == {"folds": "session", "fold": "session-2", "seed": 7}


def test_the_front_matter_is_yaml_whatever_the_corpus_is_called(
    make_manifest: MakeManifest,
) -> None:
    title = 'mine: "a" #1\n--- | b'
    card = model_card(make_manifest(dataset="manifest", title=title), make_config())
    front, _ = card.removeprefix("---\n").split("\n---\n\n# ", 1)
    data = yaml.safe_load(front)
    assert data["model-index"][0]["results"][0]["dataset"]["name"] == title
    assert dict(rows(card, "Training"))["data"] == 'mine: "a" #1 --- | b'
    # Nobody has said what a manifest's language is, and the Hub knows no data set of that name.
    assert "language" not in data
    assert "datasets" not in data


def test_what_was_trained_and_tested_on_is_said(make_manifest: MakeManifest) -> None:
    card = model_card(make_manifest(), make_config())
    training = dict(rows(card, "Training"))
    assert training["test part"] == "session-2"
    assert training["epoch"] == "31"
    assert training["protocol"].startswith("honest")
    assert rows(card, "Test figures") == [
        ["metric", "value"],
        ["---", "--:"],
        ["WAR", "0.800"],
        ["UAR", "0.875"],
        ["weighted F1", "0.819"],
        ["class", "recall", "utterances"],
        ["---", "--:", "--:"],
        ["anger", "0.750", "4"],
        ["neutral", "1.000", "1"],
        ["sad|low", "-", "0"],
    ]
    assert "chance: 0.500" in card
    assert "synthetic" not in card.lower()
    assert "flatter" in model_card(make_manifest(protocol="paper"), make_config())


def test_synthetic_speech_is_never_taken_for_the_corpus_of_its_layout(
    make_manifest: MakeManifest,
) -> None:
    title = "iemocap layout, synthetic speech"
    card = model_card(make_manifest(title=title, synthetic=True), make_config())
    data = front_matter(card).to_dict()
    assert "datasets" not in data
    assert data["model-index"][0]["results"][0]["dataset"]["type"] == "synthetic"
    assert "**Trained on synthetic speech.**" in card


def test_a_model_that_was_never_trained_has_no_figures(make_manifest: MakeManifest) -> None:
    card = model_card(make_manifest(**NEVER_TRAINED), make_config())
    assert "**Never trained: random weights.**" in card
    assert "## Test figures\n\nNone: random weights.\n" in card
    assert not {"language", "datasets", "metrics", "model-index"} & set(front_matter(card).to_dict())


def test_a_run_without_results_is_not_called_untrained(make_manifest: MakeManifest) -> None:
    card = model_card(make_manifest(test=None, selected_epoch=None), make_config())
    assert "## Test figures\n\nNone: the run has none.\n" in card
    assert "random weights" not in card
    assert "epoch" not in dict(rows(card, "Training"))


def test_every_graph_stands_with_its_proof(make_manifest: MakeManifest) -> None:
    _, _, fused, cme, sequence = rows(model_card(make_manifest(), make_config()), "Graphs")
    figures = ["1.5e-06", "2.5e-06", "3.5e-07", "99.50%", "1 of 2", "2e-03, 99.5%"]
    assert fused == [
        "fused",
        "fp32",
        "model.onnx",
        "10.0",
        *figures,
        "-0.005 (-0.015 to +0.000)",
        "200",
        "iemocap",
    ]
    assert cme == ["cme", "fp16", "cme_fp16.onnx", "2.0", *figures, "-", "200", "iemocap"]
    assert sequence[:5] == ["all parts", "fp32", "-", "-", "4.5e-06"]
    assert "- fp16: float32, every tensor rounded to fp16" in model_card(make_manifest(), make_config())


def test_an_engine_that_did_not_run_is_not_called_verified(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    built = rows(model_card(manifest, make_config()), "TensorRT engines")[2]
    assert built == ["engines/model.engine", "model.onnx", "rtx 1.7", "89", "5.0", "built, not run"]
    verified = dataclasses.replace(manifest.engines[0], verified=True)
    ran = model_card(dataclasses.replace(manifest, engines=(verified,)), make_config())
    assert rows(ran, "TensorRT engines")[2][-1] == "verified"
    none = model_card(dataclasses.replace(manifest, engines=()), make_config())
    assert "## TensorRT engines\n\nNone.\n" in none
    assert "tensorrt" not in front_matter(none).tags


@pytest.mark.parametrize(
    ("modalities", "task", "command"),
    [
        (("audio",), "audio-classification", "$ mtab predict BUNDLE clip.wav\n"),
        (("text",), "text-classification", '$ mtab predict BUNDLE --text "What a joy!"\n'),
        (("audio", "text"), "audio-classification", '$ mtab predict BUNDLE clip.wav --text "What a joy!"\n'),
    ],
)
def test_use_is_that_of_its_modalities(
    modalities: tuple[str, ...], task: str, command: str, make_manifest: MakeManifest
) -> None:
    card = model_card(make_manifest(), make_config(*modalities))
    assert front_matter(card).pipeline_tag == task
    assert command in card
    assert ("16 kHz" in card) == ("audio" in modalities)
    assert ("transcript" in card) == ("text" in modalities)


def test_a_bundle_of_parts_says_that_load_does_not_take_it(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    card = model_card(dataclasses.replace(manifest, graphs=manifest.graphs[1:]), make_config())
    assert "$ mtab predict" not in card
    assert "needs the fused graph" in card


def test_calibration_is_said_where_it_was_measured(make_manifest: MakeManifest) -> None:
    assert "are not calibrated" in model_card(make_manifest(), make_config())
    scores = CalibrationScores(5, BeforeAfter(1.5, 1.25), BeforeAfter(0.125, 0.03125))
    calibration = Calibration(1.5, scores, scores)
    card = model_card(make_manifest(calibration=calibration), make_config())
    assert "are not calibrated" not in card
    assert "0.031 (0.125 before temperature scaling)" in card


def test_the_law_is_named(make_manifest: MakeManifest) -> None:
    card = model_card(make_manifest(), make_config())
    for article in ("2024/1689", "Art. 3(39)", "Art. 5(1)(f)", "Annex III, point 1(c)", "Art. 50(3)"):
        assert article in card
