"""The report folder: sections that join, files that are whole, and reports that cannot be added to."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mtab.errors import MtabError
from mtab_bench.commands.report import report_command
from mtab_bench.report import JSON, Report, read_report, report_values
from mtab_bench.report_folder import HTML, MARKDOWN, add_section, check_section


@pytest.fixture(scope="module")
def report(report: Report, hostile_report: Report) -> Report:
    """With the smaller evaluation: it is drawn often here."""
    return replace(report, evaluation=hostile_report.evaluation)


def add(folder: Path, report: Report, name: str, overwrite: bool = False, **changes: Any) -> Report:
    return add_section(folder, replace(report.sections[name], **changes), report.bundle, overwrite)


def saved(folder: Path) -> dict[str, Any]:
    return json.loads((folder / JSON).read_text())


def test_sections_join_in_the_order_of_reading(report: Report, tmp_path: Path) -> None:
    for number, name in enumerate(("training", "invariance", "evaluation"), 1):
        assert json.loads(json.dumps(report_values(add(tmp_path, report, name)))) == saved(tmp_path)
        assert len(saved(tmp_path)) == 2 + number
    assert list(saved(tmp_path)) == ["schema_version", "bundle", "evaluation", "invariance", "training"]
    assert read_report(tmp_path).training == report.training
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((JSON, HTML, MARKDOWN))
    page = (tmp_path / HTML).read_text()
    for name in ("evaluation", "invariance", "training"):
        assert f'id="{name}"' in page


def test_a_section_is_replaced_only_if_told(report: Report, tmp_path: Path) -> None:
    add(tmp_path, report, "evaluation")
    before = saved(tmp_path)
    with pytest.raises(MtabError, match="has a section 'evaluation' already; choose another --out or give"):
        check_section(tmp_path, report.bundle, "evaluation")
    with pytest.raises(MtabError, match="already"):
        add(tmp_path, report, "evaluation", created="later")
    assert saved(tmp_path) == before
    check_section(tmp_path, report.bundle, "invariance")
    assert add(tmp_path, report, "evaluation", True, created="2031").sections["evaluation"].created == "2031"


def test_nothing_is_half_written(report: Report, tmp_path: Path) -> None:
    add(tmp_path, report, "training")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert report.evaluation is not None
    broken = replace(report.evaluation.preprocessing, p50=float("nan"))
    with pytest.raises(ValueError):
        add(tmp_path, report, "evaluation", preprocessing=broken)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_corpus_that_changed(report: Report, tmp_path: Path) -> None:
    add(tmp_path, report, "evaluation")
    assert report.invariance is not None
    changed = replace(report.invariance.protocol, corpus_sha256="f" * 64)
    expected = (
        "report.json: section 'evaluation' is of corpus 0123456789ab…, found ffffffffffff… for 'invariance'"
    )
    with pytest.raises(MtabError, match=expected):
        add(tmp_path, report, "invariance", protocol=changed)
    assert "invariance" not in saved(tmp_path)
    # Another fold, or synthetic inputs, have another hash by right.
    add(tmp_path, report, "invariance", protocol=replace(changed, fold="session-4"))
    with pytest.raises(MtabError, match="the corpus has changed since"):
        add(
            tmp_path,
            report,
            "evaluation",
            True,
            protocol=replace(changed, fold="session-4", corpus_sha256="0"),
        )


def test_reports_that_cannot_be_added_to(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "report"
    add(folder, report, "training")
    text = (folder / JSON).read_text()
    for content, expected in (
        (text[: len(text) // 2], "report.json: is not JSON"),
        ("", "report.json: is not JSON"),
        ("[]", "report.json: has no schema_version, expected a report of mtab-bench"),
        (text.replace('"schema_version": 4', '"schema_version": 3'), "has schema version 3, expected 4"),
        (text.replace('"schema_version": 4', '"schema_version": 5'), "has schema version 5, expected 4"),
        (text.replace("c" * 64, "d" * 64), "is of checkpoint dddddddddddd… .*, expected cccccccccccc…"),
        (
            text.replace('"checkpoint_sha256"', '"checkpoint"'),
            "unknown field 'bundle.checkpoint'",
        ),
        (text.replace('"machine"', '"machines"'), "report.json: unknown field 'training.machines'"),
    ):
        (folder / JSON).write_text(content)
        for overwrite in (False, True):
            with pytest.raises(MtabError, match=expected) as caught:
                check_section(folder, report.bundle, "speed", overwrite)
            assert "\n" not in str(caught.value)
        assert (folder / JSON).read_text() == content
    with pytest.raises(MtabError, match="file: is a file, expected a folder"):
        check_section(tmp_path / "file", report.bundle, "speed")


def test_rendered_again(report: Report, tmp_path: Path) -> None:
    add(tmp_path, report, "training")
    before = {name: (tmp_path / name).read_text() for name in (HTML, MARKDOWN)}
    for name in before:
        (tmp_path / name).write_text("old")
    done = CliRunner().invoke(report_command, [str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert {name: (tmp_path / name).read_text() for name in before} == before
    done = CliRunner().invoke(report_command, [str(tmp_path / "none")])
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "report.json: not found" in done.output


def test_read_by_folder_or_by_file(report_of: Callable[..., Report], tmp_path: Path) -> None:
    report = report_of()
    add(tmp_path, report, "training")
    assert read_report(tmp_path) == read_report(tmp_path / JSON)
    assert read_report(tmp_path).training == report.training
