"""The folder of a report: ``report.json``, to which every command adds its section, and its renderings."""

import dataclasses
from pathlib import Path

from mtab.errors import MtabError
from mtab.files import write_json, write_text
from mtab_bench.render.markdown import to_markdown
from mtab_bench.render.page import to_html
from mtab_bench.report import JSON, BundleRecord, Report, new_report, read_report, report_values
from mtab_bench.sections.evaluation import Evaluation
from mtab_bench.sections.invariance import Invariance
from mtab_bench.sections.section import Section

HTML, MARKDOWN = "report.html", "report.md"
TEST_SET = (Evaluation, Invariance)
"""Those that are of a bundle's test set, and so of the same utterances."""


def check_section(folder: Path, bundle: BundleRecord, name: str, overwrite: bool = False) -> Report:
    """The report in ``folder``, a new one where there is none, if the section ``name`` may be added to it.

    For before the minutes of measuring. Raises `MtabError` if ``folder`` is a file, holds the report of
    another checkpoint, or has the section already, unless ``overwrite``; `ConfigError` as `read_report`.
    """
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


def render_report(folder: Path) -> Report:
    """Write the page and the Markdown of the ``report.json`` in ``folder`` again. Raises as `read_report`."""
    report = read_report(folder / JSON)
    for name, text in _renderings(report).items():
        write_text(folder / name, text)
    return report


def written(folder: Path) -> str:
    """What to tell once a report is written."""
    return f"Wrote {folder / JSON}, {HTML} and {MARKDOWN}"


def _renderings(report: Report) -> dict[str, str]:
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
