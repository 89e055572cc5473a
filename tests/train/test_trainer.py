"""Training: it learns, it chooses by the protocol, it says what it skipped."""

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from torch import nn

from mtab import progress as progress_module
from mtab.config import to_dict
from mtab.data import Corpus, read_corpus, validate
from mtab.data.clips import clip_hash
from mtab.errors import EngineError, MtabError
from mtab.preprocess import Preprocessor
from mtab_train.calibration import TEMPERATURES, calibrated, negative_log_likelihood, read_calibration
from mtab_train.checkpoint import load_model
from mtab_train.config import TrainConfig
from mtab_train.examples import Example
from mtab_train.metrics import expected_calibration_error
from mtab_train.run import METRICS, PREDICTIONS, RESULTS, open_run, run_parts
from mtab_train.start import Start
from mtab_train.trainer import Trainer, drop_modalities, make_accelerator

from .training import begin, fit


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, start: Start, tones: Corpus) -> Path:
    folder = tmp_path_factory.mktemp("run") / "finished"
    fit(folder, start, tones, epochs=8)
    return folder


def test_it_learns_to_tell_tones_apart(finished: Path) -> None:
    results = json.loads((finished / RESULTS).read_text())
    assert results["test"]["war"] == 1
    rows = [json.loads(line) for line in (finished / METRICS).read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    assert rows[-1]["train"]["loss"] < 0.5 * rows[0]["train"]["loss"]


def test_a_finished_run_is_complete_in_itself(finished: Path, tones: Corpus) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names >= {
        "run.json",
        "config.json",
        "train_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "training_clips.json",
        "model.safetensors",
        "metrics.jsonl",
        "results.json",
        "calibration.json",
        "predictions.csv",
        "curves.png",
        "confusion_matrix.png",
        "tensorboard",
    }
    assert "checkpoints" not in names
    assert not [name for name in names if name.endswith(".partial")]

    run = open_run(finished)
    model = load_model(finished)
    rows = list(csv.DictReader((finished / PREDICTIONS).open(encoding="utf-8")))
    test = {utterance.id: utterance for utterance in run_parts(run, tones).test}
    assert {row["utterance"] for row in rows} == test.keys()
    preprocess = Preprocessor.from_folder(finished)
    for row in rows:
        utterance = test[row["utterance"]]
        arrays = preprocess.collate([preprocess(utterance.audio, utterance.text)])
        with torch.inference_mode():
            alone = model(**{name: torch.from_numpy(array) for name, array in arrays.items()}).probabilities[
                0
            ]
        assert [float(row[label]) for label in run.model.labels] == pytest.approx(alone.tolist(), abs=1e-5)


def test_the_chosen_epoch_is_the_best_on_validation_and_test_is_scored_once(
    tmp_path: Path, start: Start, tones: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(tmp_path / "run", start, tones)
    trainer = Trainer(run, tones, "cpu")
    evaluated: list[int] = []
    real = Trainer._evaluate

    def watch(self: Trainer, model: nn.Module, examples: Sequence[Example], name: str):
        evaluated.append(id(examples))
        return real(self, model, examples, name)

    monkeypatch.setattr(Trainer, "_evaluate", watch)
    results = trainer.fit()
    assert evaluated == [id(trainer.validation)] * 3 + [id(trainer.test), id(trainer.validation)]
    rows = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    best = max(rows, key=lambda row: (row["validation"]["war"], -row["validation"]["loss"]))
    assert results.selected_epoch == best["epoch"]
    ids = [
        {example.utterance.id for example in part}
        for part in (trainer.train, trainer.validation, trainer.test)
    ]
    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]
    assert not ids[1] & ids[2]


def test_progress_is_told_within_an_epoch_where_there_is_no_terminal(
    tmp_path: Path,
    start: Start,
    tones: Corpus,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress_module, "EVERY", 0.005)

    def slowly(samples: np.ndarray) -> str:
        # Reading such short clips could be over before a line is due.
        time.sleep(0.01)
        return clip_hash(samples)

    monkeypatch.setattr("mtab_train.examples.clip_hash", slowly)
    fit(tmp_path / "run", start, tones, epochs=2, batch_size=1)
    told = capsys.readouterr().err
    assert re.search(r"training 1/2 epochs · epoch 2, loss [\d.]+ \d+/\d+ batches, .* elapsed, .* left", told)
    assert "answering validation part" in told
    assert "reading training part" in told


def test_a_loss_that_breaks_in_the_last_step_stops_the_run(
    tmp_path: Path, start: Start, tones: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtab_train.scoring.negative_log_likelihood", lambda *_: float("nan"))
    with pytest.raises(MtabError, match="the validation loss of epoch 1 is nan"):
        fit(tmp_path / "run", start, tones)
    assert not (tmp_path / "run" / RESULTS).exists()


def test_the_papers_protocol_chooses_on_the_test_part(tmp_path: Path, start: Start, tones: Corpus) -> None:
    results = fit(tmp_path / "run", start, tones, protocol="paper")
    rows = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    assert all("validation" not in row for row in rows)
    assert results["test"]["war"] == max(row["test"]["war"] for row in rows)
    assert results["protocol"] == "paper"
    calibration = read_calibration(tmp_path / "run")
    assert calibration is not None
    assert calibration.temperature == 1
    assert calibration.validation is None
    assert "nothing is fitted on test data" in str(calibration.reason)
    assert results["test"]["ece"]["before"] == results["test"]["ece"]["after"]


def test_the_temperature_is_fitted_on_validation_and_used_on_test(
    tmp_path: Path, start: Start, make_tones: Callable[[Path], Path]
) -> None:
    """Two labels in every six are wrong, so that nobody can be sure, and the model is."""
    root = make_tones(tmp_path)
    header, *rows = (root / "manifest.csv").read_text().splitlines()
    swapped = {"high": "low", "low": "high"}
    for i in [i for i in range(len(rows)) if i % 6 in (0, 5)]:
        audio, text, label, speaker = rows[i].split(",")
        rows[i] = ",".join((audio, text, swapped[label], speaker))
    (root / "manifest.csv").write_text("\n".join([header, *rows]))
    corpus = validate(read_corpus("manifest", root))
    results = fit(tmp_path / "run", start, corpus, epochs=8)
    run = open_run(tmp_path / "run")
    calibration = read_calibration(run.folder)
    assert calibration is not None
    assert calibration.reason is None
    model = load_model(run)
    assert float(model.temperature) == pytest.approx(calibration.temperature)

    parts, preprocess = run_parts(run, corpus), Preprocessor.from_folder(run.folder)
    logits = {
        name: np.stack(
            [
                model.run(preprocess.collate([preprocess(each.audio, each.text)]))["logits"][0]
                for each in getattr(parts, name)
            ]
        )
        for name in ("validation", "test")
    }
    true = {
        name: np.array([run.model.labels.index(each.label) for each in getattr(parts, name)])
        for name in ("validation", "test")
    }
    grid = np.geomspace(*TEMPERATURES, 2000)
    losses = [negative_log_likelihood(logits["validation"], true["validation"], each) for each in grid]
    assert calibration.temperature == pytest.approx(grid[np.argmin(losses)], rel=5e-3)
    assert abs(calibration.temperature - 1) > 0.05
    assert calibration.validation is not None
    assert calibration.validation.utterances == len(parts.validation)
    assert calibration.validation.nll.before == pytest.approx(results["selection"]["loss"], abs=1e-4)
    assert calibration.validation.nll.after == pytest.approx(min(losses), abs=1e-4)
    assert calibration.validation.nll.after < calibration.validation.nll.before
    assert calibration.test.utterances == len(parts.test)
    assert results["test"]["ece"] == to_dict(calibration.test.ece)
    assert calibration.test.nll.before == pytest.approx(results["test"]["loss"])

    written = list(csv.DictReader((run.folder / PREDICTIONS).open(encoding="utf-8")))
    assert [row["utterance"] for row in written] == [each.id for each in parts.test]
    found = np.array([[float(row[label]) for label in run.model.labels] for row in written])
    np.testing.assert_allclose(found, calibrated(logits["test"], calibration.temperature), atol=1e-5)
    assert expected_calibration_error(found, true["test"]) == pytest.approx(
        calibration.test.ece.after, abs=1e-5
    )


def test_gradients_accumulate_to_those_of_the_larger_batch(
    tmp_path: Path, start: Start, tones: Corpus
) -> None:
    """Without batch norm and dropout, two batches of 4 are one of 8 where the parts are equally large."""
    still = {"dropout": 0.0, "num_tab_layers": 0}
    audio = start.model.audio_config or {}
    text = start.model.text_config or {}
    zero = dict.fromkeys(
        ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0
    )
    model = dataclasses.replace(
        start.model,
        audio_config=audio | zero,
        text_config=text | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        **still,
    )
    start = dataclasses.replace(start, model=model)
    changes = {"epochs": 1, "bucketing": False}
    first = Trainer(begin(tmp_path / "large", start, tones, batch_size=8, **changes), tones, "cpu")
    size = len(first.train) // 8 * 8
    first.train = first.train[:size]
    first.fit()
    second = Trainer(
        begin(tmp_path / "small", start, tones, batch_size=4, gradient_accumulation_steps=2, **changes),
        tones,
        "cpu",
    )
    second.train = second.train[:size]
    second.fit()
    assert len(first.history) == len(second.history) == 1
    for key in ("loss", "war"):
        assert first.history[0]["validation"][key] == pytest.approx(
            second.history[0]["validation"][key], abs=1e-4
        )
    assert first.scheduler.last_epoch == second.scheduler.last_epoch == size // 8


def test_auxiliary_losses_are_learned_and_no_part_of_the_model(
    tmp_path: Path, start: Start, tones: Corpus
) -> None:
    plain = fit(tmp_path / "plain", start, tones, epochs=6)
    trained = fit(tmp_path / "aux", start, tones, epochs=6, ctc_weight=0.1, supcon_weight=0.1)
    losses = [
        [json.loads(line)["train"]["loss"] for line in (tmp_path / name / METRICS).read_text().splitlines()]
        for name in ("plain", "aux")
    ]
    assert losses[1][0] > losses[0][0]
    assert losses[1][-1] < losses[1][0]
    assert trained["parameters"] == plain["parameters"]
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "aux"))
    assert one.keys() == other.keys()
    assert load_model(tmp_path / "aux") is not None


def test_bf16_trains(tmp_path: Path, start: Start, tones: Corpus) -> None:
    results = fit(tmp_path / "run", start, tones, mixed_precision="bf16", epochs=8)
    assert results["test"]["war"] > 0.8


def test_problems_are_skipped_counted_and_said(
    tmp_path: Path, start: Start, make_tones: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_tones(tmp_path)
    rows = (root / "manifest.csv").read_text().splitlines()
    soundfile.write(root / "nan.wav", np.full(8000, np.nan), 16_000, subtype="FLOAT")
    rows += ["nan.wav,it is high,high,1", "missing.wav,it is low,low,1", "0-0.wav,,high,1"]
    (root / "manifest.csv").write_text("\n".join(rows))
    corpus = validate(read_corpus("manifest", root))
    results = fit(tmp_path / "run", start, corpus, epochs=1, max_seconds=0.3)
    assert results["problems"] == 3
    assert results["clips_cut"] > 5
    printed = capsys.readouterr().out
    assert printed.count("skipped: ") == 3
    assert printed.count("/nan.wav") == 1
    assert f"{results['clips_cut']} training clips cut to 0.3 s" in printed


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, start: Start, tones: Corpus) -> None:
    with pytest.raises(MtabError, match="the loss of epoch 1 is nan"):
        fit(tmp_path / "run", start, tones, learning_rate=1e30, epochs=2)


def test_modality_dropout_takes_one_modality_and_never_both() -> None:
    torch.manual_seed(0)
    batch = {"audio_lengths": torch.full((4000,), 500), "text_lengths": torch.full((4000,), 5)}
    batch["text_lengths"][:1000] = 0
    drop_modalities(batch, 0.4)
    no_audio, no_text = batch["audio_lengths"] == 0, batch["text_lengths"] == 0
    assert not (no_audio & no_text).any()
    assert not no_audio[:1000].any()
    assert no_audio[1000:].float().mean() == pytest.approx(0.2, abs=0.03)
    assert no_text[1000:].float().mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(EngineError, match="device cuda"):
        make_accelerator("cuda", TrainConfig())


def test_two_processes_train_one_model(tmp_path: Path, start: Start, tones: Corpus) -> None:
    run = begin(tmp_path / "run", start, tones, epochs=6)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += ["--main_process_port", "0", "-m", "mtab_train.cli", "fit", "--resume", str(run.folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--device", "cpu"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((run.folder / RESULTS).read_text())
    assert results["test"]["utterances"] == 6
    assert results["test"]["war"] > 0.8
