"""The report folder: ``report.json``, to which every command adds its section, and its renderings.

docs/report-schema.md describes the values.
"""

from pathlib import Path
from typing import Any

from mtab.bundle import Bundle
from mtab.errors import ConfigError, MtabError
from mtab.files import read_json, write_json, write_text
from mtab_bench.render.summary import SECTIONS

SCHEMA_VERSION = 2
JSON, HTML, MARKDOWN = "report.json", "report.html", "report.md"
HELD_OUT = ("evaluation", "invariance")
"""The sections that are of a bundle's test utterances, and so of the same."""

Report = dict[str, Any]


def bundle_name(bundle: Path) -> str:
    """What to call a bundle: its run's name where it lies in one as ``bundle``, else its own."""
    bundle = bundle.absolute()
    return bundle.parent.name if bundle.name == "bundle" else bundle.name


def bundle_record(bundle: Bundle) -> dict[str, Any]:
    """The report's ``bundle``: which one every section is of."""
    return {
        "name": bundle_name(bundle.folder),
        "path": str(bundle.folder),
        "created": bundle.manifest.created,
        "checkpoint_sha256": bundle.manifest.checkpoint.sha256,
    }


def check_section(folder: Path, bundle_record: dict[str, Any], name: str, overwrite: bool = False) -> Report:
    """The report in ``folder``, a new one where there is none, if the section ``name`` may be added to it.

    For before the minutes of measuring. Raises `MtabError` if ``folder`` is a file, holds the report of
    another checkpoint, or has the section already, unless ``overwrite``; `ConfigError` as `read_report`.
    """
    if folder.exists() and not folder.is_dir():
        raise MtabError(f"{folder}: is a file, expected a folder or nothing")
    path = folder / JSON
    if not path.exists():
        return {"schema_version": SCHEMA_VERSION, "bundle": bundle_record}
    report = read_report(path)
    found, expected = report["bundle"]["checkpoint_sha256"], bundle_record["checkpoint_sha256"]
    if found != expected:
        raise MtabError(
            f"{path}: is of checkpoint {found[:12]}… ({report['bundle']['name']}), expected {expected[:12]}… "
            f"({bundle_record['name']}); choose another folder by --out"
        )
    if name in report and not overwrite:
        raise MtabError(f"{path}: has a section {name!r} already; choose another --out or give --overwrite")
    return report


def add_section(
    folder: Path, name: str, section: dict[str, Any], bundle_record: dict[str, Any], overwrite: bool = False
) -> Report:
    """Add a section to the report in ``folder``, and render the report again; each file whole or not at all.

    Raises as `check_section`, and `MtabError` if the section is of another state of the corpus than those
    that are there.
    """
    report = check_section(folder, bundle_record, name, overwrite)
    _check_corpus(folder / JSON, report, name, section)
    sections = {**report, name: section}
    order = ["schema_version", "bundle", *(each for each in SECTIONS if each in sections)]
    # The bundle may have been exported again since, from the same checkpoint.
    report = {key: sections[key] for key in order} | {"bundle": bundle_record}
    _write(folder, report)
    return report


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
    report = read_json(path)
    if not isinstance(report, dict) or "schema_version" not in report:
        raise ConfigError(f"{path}: has no schema_version, expected a report of mtab-bench")
    version = report["schema_version"]
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: has schema version {version!r}, expected {SCHEMA_VERSION}; measure again, into another "
            "folder by --out"
        )
    bundle = report.get("bundle")
    for key in ("name", "path", "created", "checkpoint_sha256"):
        if not isinstance(bundle, dict) or not isinstance(bundle.get(key), str):
            raise ConfigError(f"{path}: bundle lacks {key!r}, expected a report of mtab-bench")
    for name in SECTIONS:
        if name in report and not (isinstance(report[name], dict) and "machine" in report[name]):
            raise ConfigError(f"{path}: section {name!r} lacks 'machine', expected a report of mtab-bench")
    return report


def written(folder: Path) -> str:
    """What to tell once a report is written."""
    return f"Wrote {folder / JSON}, {HTML} and {MARKDOWN}"


def _write(folder: Path, report: Report) -> None:
    # All are made before the first is written: a report that cannot be shown leaves the one before.
    renderings = _renderings(report)
    write_json(folder / JSON, report)
    for name, text in renderings.items():
        write_text(folder / name, text)


def _renderings(report: Report) -> dict[str, str]:
    from mtab_bench.render.markdown import to_markdown
    from mtab_bench.render.page import to_html

    return {HTML: to_html(report), MARKDOWN: to_markdown(report)}


def _check_corpus(path: Path, report: Report, name: str, section: dict[str, Any]) -> None:
    """Raise `MtabError` if a section that stays is of the same test utterances in another state."""
    if name not in HELD_OUT:
        return
    key = ("dataset", "folds", "fold")
    for other in HELD_OUT:
        if other == name or other not in report:
            continue
        before, after = report[other]["protocol"], section["protocol"]
        same = all(before[field] == after[field] for field in key)
        if same and before["corpus_sha256"] != after["corpus_sha256"]:
            raise MtabError(
                f"{path}: section {other!r} is of corpus {before['corpus_sha256'][:12]}…, found "
                f"{after['corpus_sha256'][:12]}… for {name!r}: the corpus has changed since; choose another "
                "folder by --out"
            )
