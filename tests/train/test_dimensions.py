"""Valence, arousal and dominance beside the classes: from the command to the figures."""

import csv
import dataclasses
import json
from pathlib import Path

import audmetric
import numpy as np
import pytest
import torch

from mtab.config import to_dict
from mtab.data import Corpus, read_corpus
from mtab.errors import ConfigError, DataError
from mtab.provenance import Scores
from mtab_train.checkpoint import load_model
from mtab_train.config import ModelConfig
from mtab_train.cross_validation import summarize
from mtab_train.cv_command import format_summary
from mtab_train.metrics import chance_of
from mtab_train.results import Results, read_results
from mtab_train.run import open_run, run_corpus, run_parts
from mtab_train.start import Start, begin_run

from .commands import corpus_of, run


def predictions(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "predictions.csv").open()))


def test_what_is_learned_beats_chance_and_is_scored_as_the_library_does(rated_run: Path) -> None:
    rows = predictions(rated_run)
    assert list(rows[0])[-4:] == ["valence", "predicted valence", "arousal", "predicted arousal"]
    ccc = read_results(rated_run).test.ccc
    assert ccc is not None
    for name in ("valence", "arousal"):
        pairs = [(float(row[name]), float(row[f"predicted {name}"])) for row in rows if row[name]]
        assert (len(pairs) < len(rows)) == (name == "valence")
        true, predicted = zip(*pairs, strict=True)
        assert ccc[name] == pytest.approx(audmetric.concordance_cc(true, predicted), abs=1e-6)
    assert min(c or 0 for c in ccc.values()) > 0.5


def test_its_head_knows_the_ratings_of_the_training_part(rated_run: Path, rated_tones: Corpus) -> None:
    opened = open_run(rated_run)
    head = load_model(opened).head.dimensions
    assert head is not None
    training = run_parts(opened, rated_tones).training
    for i, name in enumerate(("valence", "arousal")):
        rated = [utterance.dimensions[name] for utterance in training if name in utterance.dimensions]
        assert head.mean[i].item() == pytest.approx(np.mean(rated), rel=1e-6)
        assert head.std[i].item() == pytest.approx(np.std(rated), rel=1e-6)


def test_a_rating_that_changed_is_another_corpus(
    rated_run: Path, rated_tones: Corpus, tmp_path: Path
) -> None:
    manifest = (rated_tones.root / "manifest.csv").read_text()
    for clip in rated_tones.root.glob("*.wav"):
        (tmp_path / clip.name).hardlink_to(clip)
    (tmp_path / "manifest.csv").write_text(manifest)
    run_corpus(open_run(rated_run), tmp_path)
    changed = manifest.replace(",-1.0,", ",-0.5,", 1)
    assert changed != manifest
    (tmp_path / "manifest.csv").write_text(changed)
    with pytest.raises(DataError, match="has changed since"):
        run_corpus(open_run(rated_run), tmp_path)


@pytest.mark.usefixtures("nano_preset")
def test_fit_eval_and_what_follows_from_a_run(rated_tones: Corpus, tones: Corpus, tmp_path: Path) -> None:
    out, again = tmp_path / "run", tmp_path / "again"
    tasks = ("--tasks", "emotion,dimensions", "--epochs", 1)
    done = run("fit", *corpus_of(rated_tones), *tasks, "--out", out, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert open_run(out).model.dimensions == ("valence", "arousal")
    ccc = json.loads((out / "results.json").read_text())["test"]["ccc"]
    assert f"CCC valence {ccc['valence']:.3f} arousal {ccc['arousal']:.3f} (chance 0)" in done.output
    done = run("eval", out, "--out", tmp_path / "scores")
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())["scores"]
    assert scores["ccc"] == pytest.approx(ccc, abs=1e-5)
    assert list(predictions(tmp_path / "scores")[0]) == list(predictions(out)[0])
    # What the other run did is what is done, on a corpus that allows it.
    done = run("fit", *corpus_of(rated_tones), "--init-from", out, "--epochs", 1, "--out", again)
    assert done.exit_code == 0, done.output
    assert open_run(again).model.dimensions == ("valence", "arousal")
    refused = run("fit", *corpus_of(tones), "--init-from", out, "--out", tmp_path / "none")
    assert refused.exit_code == 1
    expected = "no utterance is rated, expected numbers under valence, arousal or dominance; see --tasks"
    assert refused.stderr == f"Error: {tones.root}: {expected}\n"
    emotion = tmp_path / "emotion"
    arguments = (*corpus_of(tones), "--init-from", out, "--tasks", "emotion", "--epochs", 1)
    done = run("fit", *arguments, "--out", emotion)
    assert done.exit_code == 0, done.output
    assert open_run(emotion).model.dimensions == ()
    assert "CCC" not in done.output
    assert list(predictions(emotion)[0]) == ["utterance", "label", "predicted", "high", "low"]
    assert "ccc" not in json.loads((emotion / "metrics.jsonl").read_text().splitlines()[0])["validation"]


def test_another_runs_rows_are_kept_and_its_units_are_not(
    rated_run: Path, start: Start, rated_tones: Corpus, tmp_path: Path
) -> None:
    source = open_run(rated_run)
    model = dataclasses.replace(source.model, dimensions=("arousal",))
    tenfold = tuple(
        dataclasses.replace(utterance, arousal=10 * (utterance.arousal or 0))
        for utterance in rated_tones.utterances
    )
    corpus = dataclasses.replace(rated_tones, utterances=tenfold)
    begun = Start(model, start.train, "nano", rated_run)
    begin_run(tmp_path / "run", begun, corpus, "speaker", "speaker-0")
    from safetensors.torch import load_file

    found = load_file(tmp_path / "run" / "checkpoints" / "epoch-0000" / "model.safetensors")
    theirs = load_model(source).state_dict()
    torch.testing.assert_close(found["model.head.dimensions.weight"], theirs["head.dimensions.weight"][1:])
    torch.testing.assert_close(found["model.head.dimensions.std"], 10 * theirs["head.dimensions.std"][1:])


@pytest.mark.parametrize(
    ("rating", "message"),
    [("3", "valence has 3 alone in the training part"), ("", "valence has no rating in the training part")],
)
def test_ratings_that_nothing_can_be_learned_from(
    make_tones, start: Start, tmp_path: Path, rating: str, message: str
) -> None:
    """Of the training speakers' utterances; those of the test speaker differ."""
    manifest = make_tones(tmp_path) / "manifest.csv"
    header, *rows = manifest.read_text().splitlines()
    rows = [f"{row},{number if row.endswith(',0') else rating}" for number, row in enumerate(rows)]
    manifest.write_text("\n".join([f"{header},valence", *rows]))
    wanted = dataclasses.replace(start, model=dataclasses.replace(start.model, dimensions=("valence",)))
    with pytest.raises(DataError, match=f"{message}, expected two different ones; see --tasks"):
        begin_run(tmp_path / "run", wanted, read_corpus("manifest", tmp_path), "speaker", "speaker-0")
    assert not (tmp_path / "run").exists()


def test_the_folds_concordances_are_summed_up() -> None:
    def result(valence: float | None) -> Results:
        ccc = {"valence": valence, "arousal": 0.5}
        test = Scores(40, 0.5, 0.5, 0.5, {}, ((10, 10), (10, 10)), ccc=ccc)
        return Results("honest", 1, 3, test, test, chance_of(test.confusion_matrix), 0, 0, {}, 1.0)

    summary = summarize({"a": result(0.2), "b": result(0.6), "c": result(None)})
    assert summary.mean.ccc == {"valence": pytest.approx(0.4), "arousal": 0.5}
    assert summary.std.ccc == {"valence": pytest.approx(np.std([0.2, 0.6], ddof=1)), "arousal": 0.0}
    header, *rows = format_summary(summary).splitlines()
    assert "CCC valence  CCC arousal  utterances" in header
    assert next(row for row in rows if row.startswith("c ")).split()[-3:] == ["-", "0.500", "40"]


def test_a_saved_model_without_the_field_has_none(nano: ModelConfig) -> None:
    values = to_dict(nano)
    assert values.pop("dimensions") == []
    from mtab.config import from_dict

    assert from_dict(ModelConfig, values, "config.json") == nano
    for wrong, message in ((["valence", "valence"], "expected different ones"), (["joy"], "'joy', expected")):
        with pytest.raises(ConfigError, match=message):
            from_dict(ModelConfig, values | {"dimensions": wrong}, "config.json")
