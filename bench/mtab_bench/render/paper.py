"""``paper.json`` as a page that needs no other file, as Markdown with its charts beside it, and as text."""

import re
from textwrap import wrap

from mtab.console import markdown_text
from mtab_bench.paper.results import Paper
from mtab_bench.render.page import new_environment
from mtab_bench.render.paper_pictures import charts
from mtab_bench.render.paper_tables import origin, paper_tables
from mtab_bench.render.text import WIDTH

CHARTS = "charts"
"""The folder of the charts, beside the Markdown."""


def paper_html(paper: Paper) -> str:
    """The whole page: every number on it is one of the file's, rounded."""
    return (
        new_environment()
        .get_template("paper.html.j2")
        .render(paper=paper, origin=origin(paper), tables=paper_tables(paper), charts=charts(paper))
    )


def paper_markdown(paper: Paper) -> str:
    """Every table with what it rests on, and every chart."""
    lines = [
        f"# {markdown_text(paper.recipe.title)}: the paper's rows",
        "",
        markdown_text(origin(paper)) + ".",
    ]
    lines += ["", *(f"- {markdown_text(note)}" for note in paper.notes)]
    for table in paper_tables(paper):
        lines += ["", f"## {markdown_text(table.title)}", "", table.to_markdown()]
        lines += ["", markdown_text(table.note)] if table.note else []
    lines += ["", "## Charts"]
    for chart in charts(paper):
        lines += ["", f"![{markdown_text(chart.caption)}]({CHARTS}/{chart.name}.svg)"]
        lines += ["", markdown_text(chart.caption)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def paper_text(paper: Paper) -> str:
    """The tables for a terminal."""
    notes = ["\n".join(wrap(note, WIDTH)) for note in paper.notes]
    return "\n\n".join([origin(paper), *notes, *(table.to_text() for table in paper_tables(paper))])
