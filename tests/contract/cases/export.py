"""What goes wrong with an export, its check and the bench."""

from cases import Case, Place
from mtab.errors import BundleError, ConfigError


def unfinished(place: Place) -> list[object]:
    run = place.copy_of(place.run)
    (run / "results.json").unlink()
    return ["mtab-export", "--checkpoint", run]


CASES = (
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
        "Two reports to compare of which one is not there",
        lambda place: ["mtab-bench", "compare", place.folder / "a.json", place.folder / "b.json"],
        ConfigError,
        "<FILE>: not found, expected a JSON file",
    ),
)
