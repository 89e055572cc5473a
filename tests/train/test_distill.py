"""A student of a run and of a bundle: what it learns from, what it is scored beside, and what is refused."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mtab.data import Corpus
from mtab.data.clips import clip_hash, read_clips
from mtab.errors import ConfigError
from mtab.files import write_json
from mtab.preprocess import Preprocessor
from mtab_train.checkpoint import load_model, read_tensors
from mtab_train.examples import Example, prepare
from mtab_train.run import open_run, run_corpus
from mtab_train.start import Start
from mtab_train.teacher import open_teacher, teach
from mtab_train.trainer import Trainer

from .commands import corpus_of, run

pytestmark = pytest.mark.usefixtures("nano_preset")
CPU = torch.device("cpu")


def examples_of(folder: Path, tones: Corpus) -> tuple[Example, ...]:
    return prepare(tones, tones.utterances, Preprocessor.from_folder(folder), open_run(folder).model).examples


def test_it_is_taught_what_the_teacher_answers(tone_run: Path, tones: Corpus, tmp_path: Path) -> None:
    """The very answers of the model, of each clip and its variants, in the student's order of classes."""
    examples = examples_of(tone_run, tones)[:5]
    taught, lessons, problems = teach(open_teacher(tone_run), examples, ("low", "high"), CPU, 2, tmp_path)
    assert (taught, problems) == (list(examples), [])
    model, preprocess = load_model(tone_run), Preprocessor.from_folder(tone_run)
    assert lessons.logits.shape == (5, 3, 2)
    for i, example in enumerate(examples):
        for variant in range(3):
            inputs = preprocess.collate([example.read(preprocess, variant=variant)])
            expected = model.run(inputs)
            assert np.array_equal(lessons.logits[i, variant], expected["logits"][0, ::-1])
            assert np.array_equal(lessons.embeddings[i, variant], expected["embeddings"][0])
    assert not np.array_equal(lessons.logits[:, 0], lessons.logits[:, 1])


def test_it_is_asked_once(tone_run: Path, tones: Corpus, tmp_path: Path) -> None:
    examples = examples_of(tone_run, tones)[:4]
    _, first, _ = teach(open_teacher(tone_run), examples[:3], ("high", "low"), CPU, 1, tmp_path)
    asked: list[object] = []

    def load(device: torch.device):
        answer = teacher.load(device)
        return lambda inputs: (asked.append(inputs), answer(inputs))[1]

    teacher = open_teacher(tone_run)
    counting = dataclasses.replace(teacher, load=load)
    _, again, _ = teach(counting, examples, ("high", "low"), CPU, 1, tmp_path)
    assert len(asked) == 2, "the fourth clip and its variant"
    assert np.array_equal(again.logits[:3], first.logits)
    kept = sorted(tmp_path.rglob("*.npy"))
    kept[0].write_bytes(kept[0].read_bytes()[:-3])
    with pytest.raises(ConfigError, match=r"\.npy: is no whole answer .*; delete it and --resume"):
        teach(teacher, examples, ("high", "low"), CPU, 1, tmp_path)


def test_a_bundle_teaches_what_its_run_does(
    tone_run: Path, tone_bundle: Path, tones: Corpus, tmp_path: Path
) -> None:
    examples = examples_of(tone_run, tones)[:6]
    found = [
        teach(open_teacher(folder), examples, ("high", "low"), CPU, 1, tmp_path / "answers")[1]
        for folder in (tone_run, tone_bundle)
    ]
    assert found[1].logits == pytest.approx(found[0].logits, abs=1e-4)
    assert found[1].embeddings == pytest.approx(found[0].embeddings, abs=1e-4)
    assert len(list((tmp_path / "answers").iterdir())) == 2, (
        "answers of PyTorch and of a graph are kept apart"
    )


def test_without_the_text_that_the_teacher_needs(tone_run: Path, tones: Corpus, tmp_path: Path) -> None:
    silent, *others = examples_of(tone_run, tones)[:3]
    silent = dataclasses.replace(silent, utterance=dataclasses.replace(silent.utterance, text=None))
    taught, lessons, problems = teach(
        open_teacher(tone_run), [silent, *others], ("high", "low"), CPU, root=tmp_path
    )
    assert (taught, len(lessons.logits)) == (others, 2)
    assert len(problems) == 1
    assert str(problems[0]).startswith(f"{silent.utterance.audio}: no answer of the teacher's: ")
    with pytest.raises(ConfigError, match="answers none of 1 utterances; "):
        teach(open_teacher(tone_run), [silent], ("high", "low"), CPU, root=tmp_path)


def test_the_command(tmp_path: Path, tones: Corpus, tone_run: Path) -> None:
    """Corpus, folds and fold are the teacher's; both are scored on its test part."""
    out = tmp_path / "student"
    done = run(
        *("distill", "--teacher", tone_run, "--modalities", "audio", "--out", out, "--epochs", 2),
        *("--augment-copies", 1, "--mixup-alpha", 0.2, "--class-weights", "balanced", "--device", "cpu"),
    )
    assert done.exit_code == 0, done.output
    student, teacher = open_run(out), open_run(tone_run)
    assert student.model.modalities == ("audio",), "of a teacher that also reads"
    assert (student.config.folds, student.config.fold) == ("speaker", "speaker-0")
    assert student.config.data_dir == teacher.config.data_dir
    assert student.config.teacher is not None
    assert student.config.teacher.folder == str(tone_run)
    results = json.loads((out / "results.json").read_text())
    theirs = json.loads((tone_run / "results.json").read_text())["test"]
    beside = results["teacher"]
    for name in ("war", "uar", "weighted_f1", "confusion_matrix", "utterances"):
        assert beside["test"][name] == theirs[name]
    assert beside["test"]["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
    assert beside["heard"] == 0
    with (out / "predictions.csv").open() as own, (tone_run / "predictions.csv").open() as others:
        pairs = [
            (one["predicted"], other["predicted"])
            for one, other in zip(csv.DictReader(own), csv.DictReader(others), strict=True)
        ]
    assert beside["agreement"] == sum(one == other for one, other in pairs) / len(pairs)
    lines = done.output.splitlines()
    assert lines[-1] == f"agreement of student and teacher: {beside['agreement']:.3f}"
    assert lines[-2].split() == ["teacher", *(f"{theirs[n]:.3f}" for n in ("war", "uar", "weighted_f1")), "6"]

    again = tmp_path / "again"
    done = run(
        *("distill", "--teacher", tone_run, "--modalities", "audio", "--out", again, "--epochs", 2),
        *("--augment-copies", 1, "--mixup-alpha", 0.2, "--class-weights", "balanced", "--device", "cpu"),
        *("--distillation-weight", 0, "--embedding-weight", 0),
    )
    assert done.exit_code == 0, done.output
    plain = tmp_path / "plain"
    done = run(
        *("fit", *corpus_of(tones), "--fold", "speaker-0", "--modalities", "audio", "--out", plain),
        *("--epochs", 2, "--augment-copies", 1, "--mixup-alpha", 0.2, "--class-weights", "balanced"),
        *("--device", "cpu"),
    )
    assert done.exit_code == 0, done.output
    weights = [read_tensors(folder / "model.safetensors") for folder in (plain, again, out)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-5), "without a share in it the same as labels"
    assert not all(torch.allclose(tensor, weights[2][name], atol=1e-5) for name, tensor in weights[0].items())


def test_recordings_that_nobody_labelled(tmp_path: Path, start: Start, tones: Corpus, tone_run: Path) -> None:
    """They train the student, with the teacher's class; a clip that cannot be read is said and left out."""
    listening = tmp_path / "teacher"
    done = run(
        *("fit", *corpus_of(tones), "--modalities", "audio", "--out", listening, "--epochs", 1),
        *("--device", "cpu"),
    )
    assert done.exit_code == 0, done.output
    calls = tmp_path / "calls"
    (calls / "monday").mkdir(parents=True)
    for i, clip in enumerate(tones.utterances[:3]):
        assert clip.audio is not None
        samples, rate = soundfile.read(clip.audio)
        soundfile.write(calls / "monday" / f"{i}.wav", samples / 2, rate)
    (calls / "broken.wav").write_text("no sound")
    out = tmp_path / "student"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda trainer: next(trainer.epochs()))
        done = run(
            *("distill", "--teacher", listening, "--unlabelled", calls, "--modalities", "audio"),
            *("--out", out, "--epochs", 2, "--device", "cpu", "--class-weights", "balanced"),
        )
    assert f"skipped: {calls / 'broken.wav'}: " in done.stderr
    student = open_run(out)
    trainer = Trainer(student, run_corpus(student), "cpu")
    nobody = [example for example in trainer.train if not example.annotated]
    assert [example.utterance.id for example in nobody] == ["monday/0.wav", "monday/1.wav", "monday/2.wav"]
    preprocess = Preprocessor.from_folder(listening)
    model = load_model(listening)
    for example in nobody:
        answer = model.run(preprocess.collate([example.read(preprocess)]))
        assert example.label == answer["logits"][0].argmax()
        values = preprocess(example.utterance.audio, None).input_values
        assert values is not None
        assert clip_hash(values) in (read_clips(out) or ())
    soundfile.write(calls / "monday" / "1.wav", np.zeros(4_000), 16_000)
    with pytest.raises(Exception, match=r"what it lists has changed since .*, expected the same clips"):
        Trainer(student, run_corpus(student), "cpu")


def test_an_interrupted_student_goes_on_to_the_same_bits(tmp_path: Path, tone_run: Path) -> None:
    arguments = ("distill", "--teacher", tone_run, "--epochs", 3, "--device", "cpu", "--augment-copies", 1)
    whole = tmp_path / "whole"
    assert run(*arguments, "--out", whole).exit_code == 0
    stopped = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda trainer: next(trainer.epochs()))
        run(*arguments, "--out", stopped)
    assert not (stopped / "results.json").exists()
    done = run("fit", "--resume", stopped, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "agreement of student and teacher: " in done.output
    weights = [read_tensors(folder / "model.safetensors") for folder in (whole, stopped)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_a_teacher_that_knows_the_test_part_is_said(tmp_path: Path, tone_run: Path) -> None:
    done = run(
        *("distill", "--teacher", tone_run, "--fold", "speaker-3", "--out", tmp_path / "student"),
        *("--epochs", 1, "--device", "cpu"),
    )
    assert done.exit_code == 0, done.output
    assert (
        "The teacher was trained on 6 of these 6 clips: read both figures as those of training" in done.output
    )


def test_refusals(tmp_path: Path, tones: Corpus, tone_run: Path, make_tones) -> None:
    out = tmp_path / "student"

    def refused(*arguments: object) -> str:
        done = run("distill", "--out", out, "--device", "cpu", "--epochs", 1, *arguments)
        assert done.exit_code != 0
        assert not out.exists()
        return done.stderr.splitlines()[-1]

    nowhere = tmp_path / "nowhere"
    assert refused("--teacher", nowhere) == (
        f"Error: {nowhere}: not found, expected a run folder or a bundle"
    )
    assert "holds no run.json and no manifest.json, expected a run folder or a bundle" in refused(
        "--teacher", tones.root
    )
    unfinished = tmp_path / "unfinished"
    shutil.copytree(tone_run, unfinished, ignore=shutil.ignore_patterns("model.safetensors"))
    assert "has no model.safetensors, expected a teacher whose training has ended" in refused(
        "--teacher", unfinished
    )
    values = json.loads((unfinished / "run.json").read_text())
    write_json(unfinished / "run.json", values | {"fold": None})
    assert "is a cross-validation, expected the folder of one of its folds" in refused(
        "--teacher", unfinished
    )
    (tmp_path / "others").mkdir()
    others = make_tones(tmp_path / "others")
    table = (others / "manifest.csv").read_text().replace(",high,", ",shrill,")
    (others / "manifest.csv").write_text(table)
    assert refused("--teacher", tone_run, "--dataset", "manifest", "--data-dir", others) == (
        f"Error: {others}: has the classes low, shrill, expected those of the teacher "
        f"{tone_run}: high, low; see --label-map"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty}: holds no clip" in refused("--teacher", tone_run, "--unlabelled", empty)


def test_a_test_part_without_an_answer_is_refused_before_training(
    tmp_path: Path, tone_run: Path, make_tones
) -> None:
    """The teacher reads, and nobody wrote down what is said there; the student does not read."""
    root = make_tones(tmp_path)
    rows = (root / "manifest.csv").read_text().splitlines()
    silent = [
        ",".join((row.split(",")[0], "", *row.split(",")[2:])) if row.endswith(",0") else row for row in rows
    ]
    (root / "manifest.csv").write_text("\n".join(silent) + "\n")
    out = tmp_path / "student"
    done = run(
        *("distill", "--teacher", tone_run, "--dataset", "manifest", "--data-dir", root, "--out", out),
        *("--fold", "speaker-0", "--modalities", "audio", "--epochs", 1, "--device", "cpu"),
    )
    assert done.exit_code == 1
    assert "answers none of 6 utterances; " in done.stderr.splitlines()[-1]
    assert not out.exists()


def test_a_teacher_that_changed_is_refused(tmp_path: Path, tone_run: Path) -> None:
    folder, out = tmp_path / "teacher", tmp_path / "student"
    shutil.copytree(tone_run, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda trainer: next(trainer.epochs()))
        run("distill", "--teacher", folder, "--out", out, "--epochs", 2, "--device", "cpu")
    values = json.loads((out / "run.json").read_text())
    values["teacher"]["sha256"] = "0" * 64
    write_json(out / "run.json", values)
    done = run("fit", "--resume", out, "--device", "cpu")
    assert done.exit_code == 1
    assert f"{folder}: has changed since {out} was begun, expected the same teacher" in done.stderr
