"""Writing what a folder of runs comes to: ``paper.json``, its renderings, its charts and every answer."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtab.config import to_dict
from mtab.data import Corpus
from mtab.files import atomic_file, write_json, write_text
from mtab_bench.paper.figures import Answered
from mtab_bench.paper.results import Paper
from mtab_bench.render.paper import CHARTS, paper_html, paper_markdown
from mtab_bench.render.paper_pictures import charts

JSON, HTML, MARKDOWN, ANSWERS = "paper.json", "paper.html", "paper.md", "answers.csv"


def write_paper(out: Path, paper: Paper, corpus: Corpus, answers: Mapping[str, Sequence[Answered]]) -> None:
    """Write everything, each file whole or not at all; ``answers`` are those of ``corpus``, by job."""
    texts = {HTML: paper_html(paper), MARKDOWN: paper_markdown(paper)}
    write_json(out / JSON, to_dict(paper))
    for name, text in texts.items():
        write_text(out / name, text)
    for chart in charts(paper):
        chart.save(paper, out / CHARTS)
    _write_answers(out / ANSWERS, corpus, answers)


def _write_answers(path: Path, corpus: Corpus, answers: Mapping[str, Sequence[Answered]]) -> None:
    """A line for each utterance, with its label and what each job answered; empty where none did."""
    given = [{each.id: each.predicted for each in found} for found in answers.values()]
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("utterance", "label", *answers))
        writer.writerows(
            (each.id, each.label, *(found.get(each.id, "") for found in given)) for each in corpus.utterances
        )
