"""Valence and arousal in what the runtime answers, where a model has them; elsewhere nothing of them."""

import csv
import io
import json
from pathlib import Path

import pytest

import mtab
from mtab.data import Corpus
from mtab.errors import ConfigError
from mtab.tune import tune
from mtab_train.checkpoint import load_model

from .commands import answers, run


@pytest.fixture
def clips(rated_tones: Corpus) -> list[str]:
    return [str(utterance.audio) for utterance in rated_tones.utterances[:3]]


TEXTS = ["it is high", "it is low", "it is a tone"]


def test_a_result_has_them_in_the_ratings_units(
    rated_run: Path, rated_bundle: Path, clips: list[str]
) -> None:
    model = mtab.load(rated_bundle, threads=1)
    assert model.dimensions == ("valence", "arousal")
    features = [model.read(*pair) for pair in zip(clips, TEXTS, strict=True)]
    expected = load_model(rated_run).run(model.preprocess.collate(features))["dimensions"]
    for result, row in zip(model.predict(clips, TEXTS), expected, strict=True):
        assert result.dimensions is not None
        assert list(result.dimensions) == ["valence", "arousal"]
        assert list(result.dimensions.values()) == pytest.approx(row.tolist(), rel=1e-4)
    (kept,) = model.predict(clips[:1], TEXTS[:1], top_k=1)
    assert kept.dimensions == pytest.approx(
        dict(zip(model.dimensions, expected[0].tolist(), strict=True)), rel=1e-4
    )


def test_every_format_shows_them(rated_bundle: Path, clips: list[str], tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(TEXTS))
    arguments = (rated_bundle, *clips, tmp_path / "none.wav", "--text-file", tmp_path / "t.txt")
    (tmp_path / "t.txt").write_text("\n".join([*TEXTS, "nothing"]))
    code, out, _ = run("predict", *arguments, "--threads", 1, "--format", "jsonl", "--on-error", "skip")
    assert code == 0
    *records, failed = map(json.loads, out.splitlines())
    assert "dimensions" not in failed
    assert list(records[0]) == [
        *("utterance", "label", "probabilities", "dimensions", "duration", "modalities", "text_truncated"),
    ]
    _, out, _ = run("predict", *arguments, "--threads", 1, "--format", "csv", "--on-error", "skip")
    *rows, failed = csv.DictReader(io.StringIO(out))
    assert list(rows[0])[:6] == ["utterance", "label", "high", "low", "valence", "arousal"]
    assert (failed["valence"], failed["arousal"], failed["duration"]) == ("", "", "")
    assert "not found" in failed["error"]
    for row, record in zip(rows, records, strict=True):
        assert {name: float(row[name]) for name in ("valence", "arousal")} == record["dimensions"]
    _, out, _ = run("predict", *arguments, "--threads", 1, "--on-error", "skip")
    header, _, *lines, failed = out.splitlines()
    assert header.split() == ["utterance", "label", "high", "low", "valence", "arousal", "seconds", "from"]
    for line, record in zip(lines, records, strict=True):
        assert line.split()[4:6] == [f"{value:.3f}" for value in record["dimensions"].values()]
    assert failed.split()[1:7] == ["error", "-", "-", "-", "-", "-"]


def test_a_model_without_them_answers_as_before(tone_bundle: Path, clips: list[str]) -> None:
    model = mtab.load(tone_bundle, threads=1)
    assert model.dimensions == ()
    assert model.predict(clips[0], TEXTS[0]).dimensions is None
    (record,) = answers(tone_bundle, clips[0], "--text", TEXTS[0])
    assert "dimensions" not in record
    assert model.engine.outputs == ("logits", "probabilities", "embeddings")


def test_tuning_judges_them(rated_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtab.trials.ENGINES", ("onnxruntime",))
    found = tune(rated_bundle, None, None, "cpu", utterances=4, min_seconds=0)
    assert found.trials[0].problem is None


def test_the_engines_pass_them_on(rated_bundle: Path, clips: list[str]) -> None:
    pytest.importorskip("openvino")
    expected = mtab.load(rated_bundle, threads=1).predict(clips[0], TEXTS[0])
    found = mtab.load(rated_bundle, engine="openvino", threads=1).predict(clips[0], TEXTS[0])
    assert found.dimensions == pytest.approx(expected.dimensions, rel=1e-3)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"name": "valence", "std": 0}], r"dimensions\[0\]: valence has std 0.0, expected more than 0"),
        ([{"name": "joy", "std": 1}], r"dimensions\[0\]\.name' is 'joy', expected one of 'valence'"),
        ([{"name": "valence", "std": 1}] * 2, "dimensions are valence, valence, expected different ones"),
    ],
)
def test_a_bundle_that_says_nonsense_of_them(entries: list[dict[str, object]], message: str) -> None:
    from mtab.bundle import BundleConfig
    from mtab.config import from_dict

    values = {
        "id2label": {"0": "a"},
        "modalities": ["text"],
        "supported_modalities": [["text"]],
        "embedding_size": 4,
        "hidden_sizes": {"text": 4},
    }
    assert from_dict(BundleConfig, values, "config.json").sizes["dimensions"] == 0
    with pytest.raises(ConfigError, match=message):
        from_dict(BundleConfig, values | {"dimensions": entries}, "config.json")
