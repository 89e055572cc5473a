"""One section of a report for a terminal of 110 columns: what it answers, its main figures, their origin."""

from collections.abc import Sequence
from textwrap import wrap

from mtab_bench.render.answers import (
    case_title,
    chance_warning,
    section_answers,
    section_warnings,
    unheard_classes,
)
from mtab_bench.render.provenance import machine_line, section_line
from mtab_bench.render.tables import section_tables
from mtab_bench.report import Report
from mtab_bench.sections.evaluation import Evaluation
from mtab_bench.sections.invariance import Invariance
from mtab_bench.sections.section import Section
from mtab_bench.sections.speed import Speed

WIDTH = 110


def to_text(report: Report, name: str) -> str:
    """The section ``name`` of ``report``."""
    section = report.sections[name]
    said = [f"{each.question} {each.lead} {each.sentence}" for each in section_answers(report, name)]
    said += section_warnings(section)
    if isinstance(section, Speed) and section.random_weights:
        said.append("Weights are random: the model was not trained.")
    if isinstance(section, Evaluation):
        said += filter(None, [chance_warning(section), unheard_classes(section.protocol)])
    tables = [table.to_text() for table in section_tables(section) if not table.page_only]
    origin = [section_line(report, section), machine_line(section.machine)]
    return "\n\n".join(
        [_wrapped(said), *tables, *filter(None, [_wrapped(_skipped(section))]), _wrapped(origin)]
    )


def _skipped(section: Section) -> list[str]:
    """What was not measured, and why."""
    if not isinstance(section, (Evaluation, Invariance, Speed)):
        return []
    told = [
        f"{backend.title} skipped: {backend.skipped}"
        for backend in section.backends.values()
        if backend.skipped
    ]
    for case in section.cases if isinstance(section, Speed) else ():
        told += [
            f"{section.backends[key].title} failed for {case_title(case)}: {each.failure}"
            for key, each in case.backends.items()
            if each.failure
        ]
    return told


def _wrapped(paragraphs: Sequence[str]) -> str:
    return "\n".join("\n".join(wrap(paragraph, WIDTH)) for paragraph in paragraphs)
