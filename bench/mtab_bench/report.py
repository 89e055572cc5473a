"""What a ``report.json`` holds, and reading it. docs/report-schema.md describes the values."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtab.bundle import Bundle
from mtab.config import from_dict, to_dict
from mtab.errors import ConfigError
from mtab.files import read_json
from mtab_bench.sections.batching import Batching
from mtab_bench.sections.evaluation import Evaluation
from mtab_bench.sections.invariance import Invariance
from mtab_bench.sections.section import Section
from mtab_bench.sections.speed import Speed
from mtab_bench.sections.training import Training

SCHEMA_VERSION = 4
JSON = "report.json"
SECTIONS: dict[str, type[Section]] = {
    each.name: each for each in (Evaluation, Speed, Batching, Invariance, Training)
}
"""The sections that a report may have, in the order of reading."""


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """Which bundle every section is of: its name, folder, and the checkpoint that it was exported from."""

    name: str
    path: str
    created: str
    checkpoint_sha256: str

    @classmethod
    def of(cls, bundle: Bundle) -> "BundleRecord":
        """Of an opened bundle."""
        manifest = bundle.manifest
        return cls(
            bundle_name(bundle.folder), str(bundle.folder), manifest.created, manifest.checkpoint.sha256
        )


NO_BUNDLE = BundleRecord("none", "none", "none", "none")
"""What a section is of that was measured without a bundle."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a ``report.json`` holds; a section that was not measured is None, and not in the file."""

    schema_version: int
    bundle: BundleRecord
    evaluation: Evaluation | None = None
    speed: Speed | None = None
    batching: Batching | None = None
    invariance: Invariance | None = None
    training: Training | None = None

    @property
    def sections(self) -> dict[str, Section]:
        """Those that were measured, by name."""
        found = {name: getattr(self, name) for name in SECTIONS}
        return {name: section for name, section in found.items() if section is not None}

    def with_section(self, section: Section) -> "Report":
        """The report with a section that it lacks, or in place of the one that it has."""
        named: dict[str, Any] = {section.name: section}
        return dataclasses.replace(self, **named)


def new_report(bundle: BundleRecord, *sections: Section) -> Report:
    """A report of a bundle's ``sections``."""
    named: dict[str, Any] = {section.name: section for section in sections}
    return Report(SCHEMA_VERSION, bundle, **named)


def bundle_name(bundle: Path) -> str:
    """What to call a bundle: its run's name where it lies in one as ``bundle``, else its own."""
    bundle = bundle.absolute()
    return bundle.parent.name if bundle.name == "bundle" else bundle.name


def report_values(report: Report) -> dict[str, object]:
    """The report as plain JSON values, without the sections that it lacks."""
    return {key: value for key, value in to_dict(report).items() if value is not None}


def read_report(path: Path) -> Report:
    """Read a ``report.json``, or that of a folder.

    Raises `ConfigError` if it is missing, is no JSON or no report, or has another schema version.
    """
    path = path / JSON if path.is_dir() else path
    values = read_json(path)
    if not isinstance(values, dict) or "schema_version" not in values:
        raise ConfigError(f"{path}: has no schema_version, expected a report of mtab-bench")
    version = values["schema_version"]
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: has schema version {version!r}, expected {SCHEMA_VERSION}; measure again, into another "
            "folder by --out"
        )
    return from_dict(Report, values, path)
