"""What goes wrong with an export, its check and the bench."""

from pathlib import Path

from cases import Case, Place
from mtab.errors import BundleError, ConfigError, MtabError


def unfinished(place: Place) -> list[object]:
    run = place.copy_of(place.run)
    (run / "results.json").unlink()
    return ["mtab-export", "--checkpoint", run]


def occupied(place: Place) -> list[object]:
    place.file("mine.txt", "mine")
    return [
        "mtab-export",
        "--target",
        "triton",
        "--bundle",
        place.bundle,
        "--out",
        place.folder,
        "--overwrite",
    ]


def page(place: Place, out: Path, *rest: str) -> list[object]:
    return ["mtab-export", "--target", "web", "--bundle", place.bundle, "--out", out, *rest]


CASES = (
    Case(
        "A run with a head for each of several corpora",
        lambda place: [
            *("mtab-export", "--checkpoint"),
            place.edited(place.run, "config.json", lambda config: config.update(classifier_heads="corpus")),
        ],
        ConfigError,
        "<FOLDER>: has a head for each of several corpora, expected one; mtab-train fit --init-from <FOLDER> "
        "trains it on the corpus that counts",
    ),
    Case(
        "A run that is not there",
        lambda place: ["mtab-export", "--checkpoint", place.folder / "none"],
        ConfigError,
        "<FOLDER>: not found, expected a run folder made by mtab-train",
    ),
    Case(
        "A run whose training has not ended",
        unfinished,
        ConfigError,
        "<FOLDER>: its training has not ended (no results.json), expected a finished run; go on with "
        "mtab-train fit --resume <FOLDER>, or give --unfinished for its best epoch so far",
    ),
    Case(
        "Too small a batch",
        lambda place: ["mtab-export", "--checkpoint", place.run, "--batch-size", 1],
        None,
        "Invalid value for '--batch-size': 1 is not in the range x>=2.",
        2,
    ),
    Case(
        "A bundle to verify that is none",
        lambda place: ["mtab-export", "verify", place.folder],
        BundleError,
        "<FOLDER>: holds no manifest.json, expected a bundle made by mtab-export",
    ),
    Case(
        "A model repository for Triton with no place named",
        lambda place: ["mtab-export", "--target", "triton", "--bundle", place.bundle],
        None,
        "--target triton needs --out, the folder to write",
        2,
    ),
    Case(
        "A model repository in the place of other things",
        occupied,
        MtabError,
        "<FOLDER>: holds <SO>, expected a folder of its own for this repository",
    ),
    Case(
        "A model repository of a graph that the bundle lacks",
        lambda place: [
            *("mtab-export", "--target", "triton", "--fp16", "--bundle", place.bundle),
            *("--out", place.folder / "models"),
        ],
        BundleError,
        "<FOLDER>: holds fp32, expected the whole model in fp16",
    ),
    Case(
        "A web page in a precision that the bundle lacks",
        lambda place: page(place, place.folder / "site", "--int8"),
        BundleError,
        "<FOLDER>: holds fp32, expected the whole model in int8",
    ),
    Case(
        "A web page in the place of other things",
        lambda place: page(place, place.run, "--overwrite"),
        MtabError,
        "<FOLDER>: holds no site.json, expected an earlier site to replace",
    ),
    Case(
        "A web page with an option of exporting",
        lambda place: page(place, place.folder / "site", "--parts", "split"),
        None,
        "--parts is for exporting a run, and not for --target web",
        2,
    ),
    Case(
        "Two reports to compare of which one is not there",
        lambda place: ["mtab-bench", "compare", place.folder / "a.json", place.folder / "b.json"],
        ConfigError,
        "<FILE>: not found, expected a JSON file",
    ),
)
