"""What goes wrong with a corpus, a run and a training."""

import json

from cases import Case, Place
from mtab.errors import ConfigError, DataError, MtabError


def fit(place: Place, manifest: object, *options: object) -> list[object]:
    out = place.folder / "run"
    return ["mtab-train", "fit", "--dataset", "manifest", "--data-dir", manifest, "--out", out, *options]


def of_one_class(place: Place) -> list[object]:
    clips = [place.file(f"{i}.wav", place.clip.read_bytes()).name for i in range(6)]
    rows = [f"{name},so it is,high,{i}" for i, name in enumerate(clips)]
    return fit(place, place.file("m.csv", "\n".join(["audio,text,label,speaker", *rows]) + "\n"))


def with_broken_configuration(place: Place) -> list[object]:
    run = place.copy_of(place.run)
    (run / "config.json").write_text(json.dumps({"labels": 3}))
    return ["mtab-export", "--checkpoint", run]


CASES = (
    Case(
        "A corpus of one class",
        of_one_class,
        DataError,
        "<FILE>: one class (high), expected two or more to tell apart",
    ),
    Case(
        "A corpus that is not there",
        lambda place: fit(place, place.folder / "none"),
        DataError,
        "manifest: no corpus found, tried <FOLDER>",
    ),
    Case(
        "Neither a corpus nor a run to go on with",
        lambda place: ["mtab-train", "fit"],
        None,
        "Missing option '--dataset' (or --resume).",
        2,
    ),
    Case(
        "A fold that the corpus does not have",
        lambda place: fit(place, place.corpus.root / "manifest.csv", "--fold", "speaker-77"),
        DataError,
        "<FOLDER>: no fold 'speaker-77', expected one of <FOLDS>",
    ),
    Case(
        "The run folder holds a finished run",
        lambda place: [*fit(place, place.corpus.root / "manifest.csv"), "--out", place.run],
        MtabError,
        "<FOLDER>: exists already, a finished run; --resume <FOLDER> --epochs N trains it for more, "
        "--overwrite replaces it",
    ),
    Case(
        "A run to go on with that is none",
        lambda place: ["mtab-train", "fit", "--resume", place.folder],
        ConfigError,
        "<FOLDER>: holds no run.json, expected a run folder made by mtab-train",
    ),
    Case(
        "A configuration of other fields",
        with_broken_configuration,
        ConfigError,
        "<FILE>: field 'audio_config' is missing",
    ),
)
