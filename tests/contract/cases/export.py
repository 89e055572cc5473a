"""What goes wrong with an export, its check and the bench."""

from cases import Case
from mtab.errors import BundleError, ConfigError

CASES = (
    Case(
        "A run that is not there",
        lambda place: ["mtab-export", "--checkpoint", place.folder / "none"],
        ConfigError,
        "<FOLDER>: not found, expected a run folder made by mtab-train",
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
