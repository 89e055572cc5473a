"""The model card's tables: GitHub's Markdown, without HTML, whatever the names are."""

import re
from typing import Any

from mtab.console import markdown_text
from mtab_bench.render.markdown import to_markdown
from mtab_bench.render.summary import SECTIONS, TITLES, answers, section_line

Report = dict[str, Any]


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
    for name in SECTIONS:
        if name in any_report:
            assert f"## {TITLES[name]}\n" in markdown
            assert markdown_text(section_line(any_report, name)) in markdown
    assert "\n\n\n" not in markdown
    assert tables(markdown)


def test_figures(report: Report) -> None:
    engines, evaluation, speed, _, invariance, training = tables(to_markdown(report))
    by_title = {row[0]: row for row in engines}
    case = report["speed"]["cases"][1]["engines"]["openvino-fp32"]
    memory = report["speed"]["engines"]["openvino-fp32"]["memory"]["max_ram"]
    assert by_title["OpenVINO"][5:7] == [f"{case['speedup']:.2f} ×", f"{memory:,.0f} MB"]
    recall = report["evaluation"]["engines"]["openvino-fp32"]["accuracy"]["recall"]
    shown = next(row for row in evaluation if row[0] == "OpenVINO")[5:]
    assert shown == ["–" if value is None else f"{100 * value:.1f} %" for value in recall.values()]
    assert len(speed[0]) == 1 + len(report["speed"]["cases"])
    assert invariance[-1][:2] == ["wav2vec2 as published", "1.3e-01"]
    assert training[-1][2] == "4.10 ×"


def test_hostile_names_stay_text(hostile_report: Report) -> None:
    markdown = to_markdown(hostile_report)
    assert not re.search(r"(?<!\\)<", markdown)
    header = tables(markdown)[1][0]
    assert header[6] == r"recall, \<b\>joy\</b\>"
    assert header[7] == r"recall, neutral \& \| co"


def test_skipped_engines_say_why(report: Report) -> None:
    verdicts = {row[0]: row[-1] for row in tables(to_markdown(report))[0]}
    assert verdicts["Optimum"].startswith("skipped: needs optimum")
