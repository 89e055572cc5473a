"""The report folder: ``report.json``, to which every command adds its section, and its renderings.

docs/report-schema.md describes the values.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtab.bundle import Bundle
from mtab.config import from_dict, to_dict
from mtab.errors import ConfigError, MtabError
from mtab.files import read_json, write_json, write_text
from mtab_bench.sections.batching import Batching
from mtab_bench.sections.evaluation import Evaluation
from mtab_bench.sections.invariance import Invariance
from mtab_bench.sections.section import Section
from mtab_bench.sections.speed import Speed
from mtab_bench.sections.training import Training

SCHEMA_VERSION = 3
JSON, HTML, MARKDOWN = "report.json", "report.html", "report.md"
SECTIONS: dict[str, type[Section]] = {
    each.name: each for each in (Evaluation, Speed, Batching, Invariance, Training)
}
"""The sections that a report may have, in the order of reading."""
TEST_SET = (Evaluation, Invariance)
"""Those that are of a bundle's test set, and so of the same utterances."""


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


def check_section(folder: Path, bundle: BundleRecord, name: str, overwrite: bool = False) -> Report:
    """The report in ``folder``, a new one where there is none, if the section ``name`` may be added to it.

    For before the minutes of measuring. Raises `MtabError` if ``folder`` is a file, holds the report of
    another checkpoint, or has the section already, unless ``overwrite``; `ConfigError` as `read_report`.
    """
    # What writes the report has packages of its own: that one is missing is told now, too.
    import mtab_bench.render.page  # noqa: F401

    if folder.exists() and not folder.is_dir():
        raise MtabError(f"{folder}: is a file, expected a folder or nothing")
    path = folder / JSON
    if not path.exists():
        return new_report(bundle)
    report = read_report(path)
    found, expected = report.bundle.checkpoint_sha256, bundle.checkpoint_sha256
    if found != expected:
        raise MtabError(
            f"{path}: is of checkpoint {found[:12]}… ({report.bundle.name}), expected {expected[:12]}… "
            f"({bundle.name}); choose another folder by --out"
        )
    if name in report.sections and not overwrite:
        raise MtabError(f"{path}: has a section {name!r} already; choose another --out or give --overwrite")
    return report


def add_section(folder: Path, section: Section, bundle: BundleRecord, overwrite: bool = False) -> Report:
    """Add a section to the report in ``folder``, and render the report again; each file whole or not at all.

    Raises as `check_section`, and `MtabError` if the section is of another state of the corpus than those
    that are there.
    """
    report = check_section(folder, bundle, section.name, overwrite)
    _check_corpus(folder / JSON, report, section)
    # The bundle may have been exported again since, from the same checkpoint.
    report = dataclasses.replace(report.with_section(section), bundle=bundle)
    # All are made before the first is written: a report that cannot be shown leaves the one before.
    renderings = _renderings(report)
    write_json(folder / JSON, report_values(report))
    for name, text in renderings.items():
        write_text(folder / name, text)
    return report


def report_values(report: Report) -> dict[str, object]:
    """The report as plain JSON values, without the sections that it lacks."""
    return {key: value for key, value in to_dict(report).items() if value is not None}


def render_report(folder: Path) -> Report:
    """Write the page and the Markdown of the ``report.json`` in ``folder`` again. Raises as `read_report`."""
    report = read_report(folder / JSON)
    for name, text in _renderings(report).items():
        write_text(folder / name, text)
    return report


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


def written(folder: Path) -> str:
    """What to tell once a report is written."""
    return f"Wrote {folder / JSON}, {HTML} and {MARKDOWN}"


def _renderings(report: Report) -> dict[str, str]:
    from mtab_bench.render.markdown import to_markdown
    from mtab_bench.render.page import to_html

    return {HTML: to_html(report), MARKDOWN: to_markdown(report)}


def _check_corpus(path: Path, report: Report, section: Section) -> None:
    """Raise `MtabError` if a section that stays is of the same test set in another state."""
    if not isinstance(section, TEST_SET):
        return
    after = section.protocol
    for other in report.sections.values():
        if not isinstance(other, TEST_SET) or other.name == section.name:
            continue
        before = other.protocol
        same = (before.dataset, before.folds, before.fold) == (after.dataset, after.folds, after.fold)
        if same and before.corpus_sha256 != after.corpus_sha256:
            raise MtabError(
                f"{path}: section {other.name!r} is of corpus {before.corpus_sha256[:12]}…, found "
                f"{after.corpus_sha256[:12]}… for {section.name!r}: the corpus has changed since; choose "
                "another folder by --out"
            )
