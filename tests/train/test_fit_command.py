"""`mtab-train fit` and `init` as they are typed."""

import csv
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mtab.data import Corpus, read_corpus, validate
from mtab_train import fit_command
from mtab_train.checkpoint import read_tensors
from mtab_train.config import ModelConfig
from mtab_train.run import AT_ITS_END, newest_run, open_run, run_corpus
from mtab_train.start import Start, begin_run

from .commands import corpus_of, run

pytestmark = pytest.mark.usefixtures("nano_preset")


def test_fit_prints_its_result_and_takes_options(tmp_path: Path, tones: Corpus) -> None:
    out = tmp_path / "run"
    done = run(
        *("fit", *corpus_of(tones), "--fold", "speaker-3", "--out", out, "--epochs", 2, "--batch-size", 4),
        *("--learning-rate", 0.002, "--class-weights", "balanced", "--without-tab", "--dropout", 0.2),
        *("--modality-dropout", 0.1, "--device", "cpu"),
    )
    assert done.exit_code == 0, done.output
    opened = open_run(out)
    assert (opened.train.epochs, opened.train.batch_size, opened.train.class_weights) == (2, 4, "balanced")
    assert (opened.model.num_tab_layers, opened.model.dropout, opened.model.modality_dropout) == (0, 0.2, 0.1)
    assert opened.config.fold == "speaker-3"
    results = json.loads((out / "results.json").read_text())
    assert f"WAR {results['test']['war']:.3f}  UAR {results['test']['uar']:.3f}" in done.output
    assert "6 test utterances" in done.output


def test_how_the_encoders_are_trained(tmp_path: Path, tones: Corpus) -> None:
    out = tmp_path / "run"
    done = run(
        *("fit", *corpus_of(tones), "--out", out, "--epochs", 1, "--use-weighted-layer-sum"),
        *("--layerwise-lr-decay", 0.9, "--lora-rank", 2, "--lora-alpha", 4),
    )
    assert done.exit_code == 0, done.output
    opened = open_run(out)
    assert opened.model.use_weighted_layer_sum
    train = opened.train
    assert (train.layerwise_lr_decay, train.lora_rank, train.lora_alpha) == (0.9, 2, 4)

    again = tmp_path / "again"
    arguments = ("fit", *corpus_of(tones), "--init-from", out, "--out", again, "--epochs", 1)
    refused = run(*arguments, "--use-weighted-layer-sum")
    assert refused.exit_code == 2
    assert "--use-weighted-layer-sum and --init-from" in refused.output
    done = run(*arguments, "--lora-rank", 0, "--freeze-layers", 1)
    assert done.exit_code == 0, done.output
    opened = open_run(again)
    assert (opened.model.use_weighted_layer_sum, opened.model.freeze_layers) == (True, 1)
    assert (opened.train.layerwise_lr_decay, opened.train.lora_rank) == (0.9, 0)


@pytest.mark.parametrize(("modality", "config"), [("audio", "text_config"), ("text", "audio_config")])
def test_one_modality_alone(tmp_path: Path, tones: Corpus, modality: str, config: str) -> None:
    out = tmp_path / "run"
    done = run("fit", *corpus_of(tones), "--modalities", modality, "--out", out, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert getattr(open_run(out).model, config) is None
    assert (out / "tokenizer.json").exists() == (modality == "text")


def test_a_finished_run_starts_another(tmp_path: Path, tones: Corpus, tone_run: Path) -> None:
    out = tmp_path / "run"
    arguments = ("fit", *corpus_of(tones), "--init-from", tone_run, "--epochs", 1, "--out", out)
    for option in (("--without-tab",), ("--preset", "tiny")):
        refused = run(*arguments, *option)
        assert refused.exit_code == 2
        assert f"{option[0]} and --init-from" in refused.output
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    opened, source = open_run(out), open_run(tone_run)
    assert opened.config.init_from == str(tone_run)
    assert opened.train == dataclasses.replace(source.train, epochs=1)
    first = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
    assert first["train"]["war"] > 0.9


def two_corpora(tmp_path: Path, make_tones: Callable[[Path], Path]) -> tuple[object, ...]:
    """The options of two corpora of tones; in the second, high tones are called shrill."""
    options: list[object] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        file = make_tones(tmp_path / name) / "manifest.csv"
        if name == "two":
            file.write_text(file.read_text().replace(",high,", ",shrill,"))
        options += ["--dataset", "manifest", "--data-dir", file]
    return tuple(options)


def test_two_corpora_with_one_head(tmp_path: Path, make_tones: Callable[[Path], Path]) -> None:
    corpora = two_corpora(tmp_path, make_tones)
    table = tmp_path / "map.csv"
    table.write_text("corpus,label,mapped\n,low,low\none,high,high\n")
    arguments = ("fit", *corpora, "--folds", "speaker-group:3", "--epochs", 1, "--label-map", table)
    refused = run(*arguments, "--out", tmp_path / "none")
    assert refused.exit_code == 1
    assert "no row for label 'shrill' of two (18 utterances)" in refused.output
    assert not (tmp_path / "none").exists()

    table.write_text("corpus,label,mapped\n,low,low\n,high,high\ntwo,shrill,high\n")
    done = run(*arguments, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "24 test utterances of one+two" in done.output
    # The run is complete in itself: it can be moved, resumed and scored.
    (tmp_path / "run").rename(tmp_path / "moved")
    opened = open_run(tmp_path / "moved")
    assert opened.model.labels == ("high", "low")
    corpus = run_corpus(opened)
    assert len({utterance.speaker for utterance in corpus.utterances}) == 12
    with (tmp_path / "moved" / "predictions.csv").open() as file:
        scored = [row["utterance"] for row in csv.DictReader(file)]
    assert {name[:4] for name in scored} == {"one-", "two-"}

    # A corpus with other classes starts from it.
    other = ("--dataset", "manifest", "--data-dir", tmp_path / "two" / "manifest.csv")
    started = run(
        *("fit", *other, "--init-from", tmp_path / "moved", "--epochs", 1, "--out", tmp_path / "second")
    )
    assert started.exit_code == 0, started.output
    assert "kept: low; begun anew: shrill; dropped: high" in started.output
    assert open_run(tmp_path / "second").model.labels == ("low", "shrill")


def test_labels_without_a_table_are_joined_by_name(
    tmp_path: Path, make_tones: Callable[[Path], Path]
) -> None:
    done = run("fit", *two_corpora(tmp_path, make_tones), "--epochs", 1, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert open_run(tmp_path / "run").model.labels == ("high", "low", "shrill")


def test_two_corpora_with_a_head_each(tmp_path: Path, make_tones: Callable[[Path], Path]) -> None:
    corpora, both = two_corpora(tmp_path, make_tones), tmp_path / "both"
    done = run(
        *("fit", *corpora, "--classifier-heads", "corpus", "--folds", "speaker-group:3", "--epochs", 2),
        *("--class-weights", "balanced", "--mixup-alpha", 0.3, "--label-smoothing-factor", 0.1),
        *("--out", both),
    )
    assert done.exit_code == 0, done.output
    assert "chance: WAR 0.500  UAR 0.500" in done.output
    opened = open_run(both)
    labels = ("one/high", "one/low", "two/low", "two/shrill")
    assert opened.model.labels == run_corpus(opened).labels == labels
    with (both / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    for row in rows:
        own = [label for label in labels if label[:3] == row["utterance"][:3]]
        assert {row["label"], row["predicted"]} <= {*own}
        assert sum(float(row[label]) for label in own) == pytest.approx(1, abs=1e-6)
    again = run("eval", both)
    assert again.exit_code == 0, again.output
    assert "chance: WAR 0.500  UAR 0.500" in again.output

    # The corpus that counts keeps its own classes, in one head again.
    two = ("--dataset", "manifest", "--data-dir", tmp_path / "two" / "manifest.csv")
    started = run("fit", *two, "--init-from", both, "--epochs", 1, "--out", tmp_path / "second")
    assert started.exit_code == 0, started.output
    assert "kept: low, shrill; dropped: one/high, one/low" in started.output
    model = open_run(tmp_path / "second").model
    assert (model.labels, model.classifier_heads) == (("low", "shrill"), "joint")
    corpus = validate(read_corpus("manifest", tmp_path / "two" / "manifest.csv"))
    begin_run(tmp_path / "begun", Start(model, opened.train, "tiny", both), corpus, "speaker", "speaker-0")
    state = read_tensors(tmp_path / "begun" / "checkpoints" / "epoch-0000" / "model.safetensors")
    for name, tensor in read_tensors(both / "model.safetensors").items():
        expected = tensor[2:] if name.startswith("head.classifier") else tensor
        assert torch.equal(state[f"model.{name}"], expected), name


def test_a_head_for_each_of_one_corpus(tones: Corpus, tmp_path: Path) -> None:
    refused = run("fit", *corpus_of(tones), "--classifier-heads", "corpus", "--out", tmp_path / "run")
    assert refused.exit_code == 1
    assert "one corpus (tones0), expected several to tell apart" in refused.output


FROZEN = ("--modalities", "text", "--text-training", "frozen")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fit",), 2, "--dataset"),
        (
            ("fit", "--dataset", "emodb", "--dataset", "nemo", "--data-dir", "x"),
            2,
            "--data-dir given 1 times, expected one for each of 2 --dataset",
        ),
        (("fit", "--dataset", "nonsense"), 2, "nonsense"),
        (("fit", "--dataset", "iemocap", "--data-dir", "nowhere"), 1, "nowhere"),
        (("fit", "--resume", "nowhere"), 1, "nowhere: not found, expected a run folder"),
        (("fit", "--resume", "nowhere", "--epochs", "3"), 2, "--epochs and --resume"),
        (("fit", "--dataset", "iemocap", "--modalities", "audio", "--modality-dropout", "0.2"), 2, "both"),
        (("fit", "--dataset", "meld", "--modalities", "text", "--ctc-weight", "1"), 2, "does not listen"),
        (
            ("fit", "--dataset", "meld", *FROZEN, "--lora-rank", "2"),
            2,
            "--lora-rank: no transformer",
        ),
        (
            ("fit", "--dataset", "meld", *FROZEN, "--layerwise-lr-decay", "0.9"),
            2,
            "no transformer encoder is trained",
        ),
        (
            ("fit", "--dataset", "meld", *FROZEN, "--without-mha", "--gradient-checkpointing"),
            2,
            "--gradient-checkpointing: the model trains no transformer layer",
        ),
        (("fit", "--dataset", "meld", *FROZEN, "--freeze-layers", "1"), 2, "freeze_layers is 1, expected a"),
        (("cv",), 2, "--dataset"),
        (("fit", "--dataset", "iemocap", "--learning-rate", "nan"), 2, "learning_rate is nan"),
        (("fit", "--dataset", "iemocap", "--max-seconds", "inf"), 2, "max_seconds is inf"),
        (("fit", "--dataset", "iemocap", "--seed", str(2**32)), 2, "4294967296 is not in the range"),
        (("init", "--out", "x", "--audio-model", "y"), 2, "--audio-model"),
        (("init",), 2, "--out"),
    ],
)
def test_wrong_use_and_missing_things(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert message in done.output
    assert not list(tmp_path.iterdir())


def edit(root: Path, change: Callable[[list[str]], list[str]]) -> tuple[str, ...]:
    """Change the cells of each row of a corpus of tones."""
    manifest = root / "manifest.csv"
    header, *rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([header, *(",".join(change(row.split(","))) for row in rows)]))
    return "--dataset", "manifest", "--data-dir", str(root)


@pytest.mark.parametrize("command", ["fit", "cv"])
def test_one_class_is_one_line(command: str, tmp_path: Path, make_tones) -> None:
    corpus = edit(make_tones(tmp_path), lambda row: [*row[:2], "high", row[3]])
    refused = run(command, *corpus, "--out", tmp_path / "run")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "one class (high), expected two or more" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_speakers_of_any_name_stay_below_the_folder(tmp_path: Path, make_tones) -> None:
    (tmp_path / "in").mkdir()
    names = ["../" + "x" * 300, "Ann", "ann"]
    corpus = edit(make_tones(tmp_path / "in", 3, 4), lambda row: [*row[:3], names[int(row[3])]])
    done = run("cv", *corpus, "--folds", "speaker", "--epochs", 1, "--out", tmp_path / "out" / "cv")
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cv"]
    folders = [path for path in (tmp_path / "out" / "cv").iterdir() if path.is_dir()]
    assert len({folder.name.casefold() for folder in folders}) == 3
    assert {open_run(folder).config.fold for folder in folders} == {f"speaker-{name}" for name in names}
    assert f"speaker-{names[0]}" in done.output


def test_random_folds_warn_of_mixed_speakers(tmp_path: Path, tones: Corpus) -> None:
    done = run("fit", *corpus_of(tones), "--folds", "random:3", "--epochs", 1, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "Warning: random:3: 6 of 6 speakers are in training and test" in done.stderr


def test_an_unknown_fold_is_named_with_those_there_are(tones: Corpus, tmp_path: Path) -> None:
    done = run("fit", *corpus_of(tones), "--fold", "speaker-9", "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert "no fold 'speaker-9', expected one of speaker-0, speaker-1" in done.output


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (slice(0, 3), "mine.csv: no validation utterance in fold random-1, expected some"),
        (slice(0, 3, 2), "mine.csv: no training utterance has audio and text, expected some"),
    ],
)
def test_what_is_refused_leaves_no_run(
    tmp_path: Path, make_tones, monkeypatch: pytest.MonkeyPatch, columns: slice, expected: str
) -> None:
    make_tones(tmp_path)
    with (tmp_path / "manifest.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["audio", "text", "label"]
    # Of two utterances, one is held out and one is trained on.
    kept = [rows[0], next(row for row in rows if row[2] != rows[0][2])] if "validation" in expected else rows
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows(row[columns] for row in (header, *kept))
    monkeypatch.chdir(tmp_path)
    done = run(
        "fit", "--dataset", "manifest", "--data-dir", "mine.csv", "--folds", "random:2", "--out", "run"
    )
    assert (done.exit_code, done.stderr.splitlines()[-1].startswith(f"Error: {expected}")) == (1, True), (
        done.stderr
    )
    assert ("--modalities audio" in done.stderr) == ("audio" in expected)
    assert not Path("run").exists()


def test_a_manifest_by_another_name_is_found_again(tmp_path: Path, make_tones, monkeypatch) -> None:
    """By --resume and by whatever else opens the run's corpus, such as mtab-export."""
    make_tones(tmp_path)
    (tmp_path / "manifest.csv").rename(tmp_path / "recordings.csv")
    monkeypatch.chdir(tmp_path)
    corpus = ("--dataset", "manifest", "--data-dir", "recordings.csv")
    done = run("fit", *corpus, "--epochs", 1)
    assert done.exit_code == 0, done.output
    monkeypatch.chdir("/")
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("recordings-tiny-speaker-")
    assert len(run_corpus(open_run(folder)).utterances) == 36


def test_a_finished_run_needs_no_resuming(tone_run: Path) -> None:
    done = run("fit", "--resume", tone_run)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "finished" in done.stderr


def test_a_finished_run_is_trained_for_more_epochs(tmp_path: Path, tones: Corpus, start: Start) -> None:
    out = tmp_path / "run"
    options = ("--lr-scheduler-type", "linear", "--warmup-ratio", 0)
    assert run("fit", *corpus_of(tones), "--out", out, "--epochs", 2, *options).exit_code == 0
    first = json.loads((out / "results.json").read_text())
    rows = (out / "metrics.jsonl").read_text().splitlines()
    again = run("fit", *corpus_of(tones), "--out", out, "--epochs", 4)
    assert again.exit_code == 1
    assert f"--resume {out} --epochs N trains it for more" in again.stderr
    for epochs, options, code, message in (
        (2, (), 1, "has 2 epochs already, expected --epochs of more than that"),
        (4, ("--batch-size", 4), 2, "--batch-size and --resume"),
    ):
        refused = run("fit", "--resume", out, "--epochs", epochs, *options)
        assert (refused.exit_code, message in refused.output) == (code, True), refused.output
    done = run("fit", "--resume", out, "--epochs", 4)
    assert done.exit_code == 0, done.output
    assert "a schedule of its own for the epochs that are added" in done.output
    results = json.loads((out / "results.json").read_text())
    assert (results["epochs"], results["continued_after"]) == (4, [2])
    assert json.loads((out / "results-2.json").read_text()) == first
    more = (out / "metrics.jsonl").read_text().splitlines()
    assert more[:2] == rows
    rates = [json.loads(row)["learning_rate"] for row in more]
    # Each schedule falls to nothing at its own end.
    half = start.train.learning_rate / 2
    assert rates == pytest.approx([half, 0, half, 0])
    assert results["selection"]["loss"] <= first["selection"]["loss"]
    assert open_run(out).train.epochs == 4


def test_a_continued_run_that_was_stopped_goes_on(
    tmp_path: Path, tones: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtab_train import trainer

    real, out = trainer.save_state, {}
    for name in ("whole", "stopped"):
        out[name] = tmp_path / name
        assert run("fit", *corpus_of(tones), "--out", out[name], "--epochs", 1).exit_code == 0
    assert run("fit", "--resume", out["whole"], "--epochs", 3).exit_code == 0

    def interrupt(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_state", interrupt)
        assert run("fit", "--resume", out["stopped"], "--epochs", 3).exit_code == 130
    # What the first end said of its weights is not taken for those that follow.
    assert not [name for name in AT_ITS_END if (out["stopped"] / name).exists()]
    first = ["predictions-1.csv", "curves-1.png", "confusion_matrix-1.png", "calibration-1.json"]
    assert all((out["stopped"] / name).is_file() for name in (*first, "results-1.json"))
    assert run("fit", "--resume", out["stopped"]).exit_code == 0
    one, other = (json.loads((folder / "results.json").read_text()) for folder in out.values())
    assert one["test"] == other["test"]
    assert (out["whole"] / "model.safetensors").read_bytes() == (
        out["stopped"] / "model.safetensors"
    ).read_bytes()


def test_patience_ends_what_gets_no_better(
    tmp_path: Path, tones: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtab_train.trainer import Trainer

    monkeypatch.setattr(Trainer, "_is_best", lambda self, row: row["epoch"] in (1, 2))
    out = tmp_path / "run"
    done = run("fit", *corpus_of(tones), "--out", out, "--patience", 2, "--epochs", 9)
    assert done.exit_code == 0, done.output
    assert "stopped after epoch 4: none was better for 2 epochs" in done.output
    results = json.loads((out / "results.json").read_text())
    assert (results["epochs"], results["selected_epoch"]) == (4, 2)
    monkeypatch.setattr(Trainer, "_is_best", lambda self, row: False)
    done = run("fit", "--resume", out, "--epochs", 9)
    assert "stopped after epoch 6: none was better for 2 epochs" in done.output


def test_a_model_at_chance_is_called_one(tmp_path: Path, make_tones) -> None:
    """Labels that say nothing of the tone."""
    labels = iter(["high", "low"][i] for i in np.random.default_rng(3).integers(2, size=36))
    corpus = edit(make_tones(tmp_path), lambda row: [row[0], "a tone", next(labels), row[3]])
    done = run("fit", *corpus, "--folds", "speaker:2", "--epochs", 1, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "chance: WAR 0." in done.output
    assert "The model is at chance: on 18 utterances" in done.output


@pytest.mark.parametrize(
    "options",
    [
        ("--class-weights balanced --ctc-weight 0.1 --supcon-weight 0.1 --max-grad-norm 1"),
        ("--audio-training frozen --text-training frozen --threads 1"),
        ("--audio-training conv-frozen --text-training frozen --no-cache --gradient-accumulation-steps 2"),
        ("--modalities audio --fusion-align pool --weight-decay 0.1 --no-bucketing --batch-size 1"),
        ("--modalities text --protocol paper --mixed-precision bf16 --lr-scheduler-type cosine"),
        ("--without-mha --without-tab --fusion-align pool --modality-dropout 0.2 --max-seconds 0.2"),
        ("--folds random:2 --fold random-2 --seed 7 --lr-scheduler-type linear --warmup-ratio 0.5"),
        ("--folds speaker-pair --protocol paper --patience 1 --dropout 0 --device cpu"),
    ],
)
def test_every_option_trains(options: str, tmp_path: Path, tones: Corpus) -> None:
    done = run("fit", *corpus_of(tones), "--epochs", 1, "--out", tmp_path / "run", *options.split())
    assert done.exit_code == 0, done.output
    again = run("eval", tmp_path / "run")
    assert again.exit_code == 0, again.output
    figures = next(line for line in done.output.splitlines() if line.startswith("WAR "))
    assert figures in again.output


def test_what_the_machine_or_the_clips_refuse_leaves_no_folder(tmp_path: Path, tones: Corpus) -> None:
    out = tmp_path / "run"
    refused = run("fit", *corpus_of(tones), "--out", out, "--max-seconds", 0.001)
    assert refused.exit_code == 1
    assert "--max-seconds is 0.001, expected at least" in refused.stderr
    assert not out.exists()


def test_processes_that_read_change_no_answer(tmp_path: Path, tones: Corpus, tone_run: Path) -> None:
    """Typed: a fork of this process, with the threads of every engine in it, may crash."""
    arguments = [*("fit", *corpus_of(tones), "--init-from", tone_run, "--epochs", 1, "--threads", 1), "--out"]
    command = [sys.executable, "-m", "mtab_train.cli", *arguments, tmp_path / "two", "--workers", 2]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert run(*arguments, tmp_path / "none").exit_code == 0
    two, none = ((tmp_path / name / "predictions.csv").read_text() for name in ("two", "none"))
    assert two == none


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, tones: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtab_train.trainer import Trainer

    def interrupt(self: Trainer) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", interrupt)
        stopped = run("fit", *corpus_of(tones), "--out", tmp_path / "run", "--epochs", 1)
    assert stopped.exit_code == 130
    assert f"mtab-train fit --resume {tmp_path / 'run'}" in stopped.stderr
    assert run("fit", "--resume", tmp_path / "run").exit_code == 0


def test_init_writes_a_model_to_time(tmp_path: Path) -> None:
    done = run("init", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "random weights" in done.output
    assert open_run(tmp_path / "run").weights.is_file()


def test_the_newest_finished_run(tmp_path: Path, tone_run: Path) -> None:
    assert newest_run(tone_run.parent) == tone_run
    with pytest.raises(Exception, match="no finished run"):
        newest_run(tmp_path)


def test_options_reach_the_configurations(nano: ModelConfig) -> None:
    """Every field of both configurations that a user may want to set has an option of its name."""
    names = {option.name for option in fit_command.fit.params}
    assert names >= {
        "epochs",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "lr_scheduler_type",
        "warmup_ratio",
        "max_grad_norm",
        "gradient_accumulation_steps",
        "class_weights",
        "ctc_weight",
        "supcon_weight",
        "max_seconds",
        "bucketing",
        "protocol",
        "mixed_precision",
        "gradient_checkpointing",
        "seed",
        "fusion_align",
        "dropout",
        "modality_dropout",
        "audio_training",
        "text_training",
    }
