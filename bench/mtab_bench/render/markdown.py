"""The report's answers as GitHub-flavoured Markdown, for a model card: compact tables, no raw HTML."""

import re

from mtab.console import markdown_text
from mtab_bench.render.answers import answers, warnings
from mtab_bench.render.provenance import machine_line, section_line
from mtab_bench.render.tables import overview, section_tables
from mtab_bench.report import Report


def to_markdown(report: Report) -> str:
    """Every section of the report: its answer, its main table, and what its figures rest on."""
    lines = [f"# {markdown_text(report.bundle.name)}", ""]
    lines += [
        f"- **{each.question} {markdown_text(each.lead)}** {markdown_text(each.sentence)}"
        for each in answers(report)
    ]
    lines += [f"- {markdown_text(warning)}" for warning in warnings(report)]
    if (table := overview(report)) is not None:
        lines += ["", "## Backends", "", markdown_text(table.note), "", table.to_markdown()]
    for section in report.sections.values():
        lines += ["", f"## {section.title}"]
        for table in section_tables(section):
            if not table.page_only:
                lines += ["", f"### {markdown_text(table.title)}", "", table.to_markdown()]
        lines += ["", f"{markdown_text(section_line(report, section))}. Measured {section.created}.", ""]
        lines += [markdown_text(machine_line(section.machine)) + "."]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"
