"""The model card's tables: GitHub's Markdown, without HTML, whatever the names are."""

import re

from mtab.console import markdown_text
from mtab_bench.render.answers import answers
from mtab_bench.render.markdown import to_markdown
from mtab_bench.render.provenance import section_line
from mtab_bench.report import Report

LABELS = ("anger", "joy", "neutral", "sadness")


def tables(markdown: str) -> list[list[list[str]]]:
    """The cells of each table, without the rule; fails where a row has another number of cells."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", markdown, re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
        assert len({len(cells) for cells in rows}) == 1
        assert all(re.fullmatch(r" (---|--:) ", cell) for cell in rows[1])
        found.append([[cell.strip() for cell in cells] for cells in (rows[0], *rows[2:])])
    return found


def test_answers_tables_and_lines(any_report: Report) -> None:
    markdown = to_markdown(any_report)
    for answer in answers(any_report):
        assert (
            f"**{answer.question} {markdown_text(answer.lead)}** {markdown_text(answer.sentence)}" in markdown
        )
    for section in any_report.sections.values():
        assert f"## {section.title}\n" in markdown
        assert markdown_text(section_line(any_report, section)) in markdown
    assert "\n\n\n" not in markdown
    assert tables(markdown)


def test_figures(report: Report) -> None:
    found = tables(to_markdown(report))
    assert report.speed is not None
    assert report.evaluation is not None
    by_title = {row[0]: row for row in found[0]}
    speedup, memory = (
        report.speed.cases[1].timed["openvino-fp32"].speedup,
        report.speed.backends["openvino-fp32"].memory,
    )
    assert speedup is not None
    assert memory is not None
    shown = f"{speedup.value:.2f} × ({speedup.low:.2f} to {speedup.high:.2f})"
    assert by_title["OpenVINO"][5:7] == [shown, f"{memory.max_ram:,.0f} MB"]
    accuracy = report.evaluation.backends["openvino-fp32"].accuracy
    assert accuracy is not None
    [recall] = [
        row for table in found if table[0][1:] == list(LABELS) for row in table if row[0] == "OpenVINO"
    ]
    assert recall[1:] == ["–" if each is None else f"{100 * each:.1f} %" for each in accuracy.recall.values()]
    assert sum(table[0][:3] == ["backend", "p50", "p99"] for table in found) == 1 + len(report.speed.cases)
    assert ["wav2vec2 as published", "1.3e-01"] in [row[:2] for table in found for row in table]
    assert any("4.09 ×" in row[2] for row in found[-1])


def test_hostile_names_stay_text(hostile_report: Report) -> None:
    markdown = to_markdown(hostile_report)
    assert not re.search(r"(?<!\\)<", markdown)
    header = tables(markdown)[2][0]
    assert header[2:4] == [r"\<b\>joy\</b\>", r"neutral \& \| co"]


def test_skipped_backends_say_why(report: Report) -> None:
    verdicts = {row[0]: row[-1] for row in tables(to_markdown(report))[0]}
    assert verdicts["Optimum"].startswith("skipped: needs optimum")
