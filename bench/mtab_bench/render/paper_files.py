"""Writing what a folder of runs comes to: ``paper.json``, its renderings and its charts."""

from pathlib import Path

from mtab.config import to_dict
from mtab.files import write_json, write_text
from mtab_bench.paper.results import Paper
from mtab_bench.render.paper import CHARTS, paper_html, paper_markdown
from mtab_bench.render.paper_pictures import charts

JSON, HTML, MARKDOWN = "paper.json", "paper.html", "paper.md"


def write_paper(out: Path, paper: Paper) -> None:
    """Write everything, each file whole or not at all."""
    texts = {HTML: paper_html(paper), MARKDOWN: paper_markdown(paper)}
    write_json(out / JSON, to_dict(paper))
    for name, text in texts.items():
        write_text(out / name, text)
    for chart in charts(paper):
        chart.save(paper, out / CHARTS)
