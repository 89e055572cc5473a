"""The report as one HTML page that needs no other file."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mtab_bench.render import answers, evaluation_tables, pictures, provenance, speed_tables, tables
from mtab_bench.render.formats import factor, interval_end
from mtab_bench.render.table import Cell, Figure, Span
from mtab_bench.report import SECTIONS, Report

TEMPLATES = Path(__file__).parent / "templates"


def to_html(report: Report) -> str:
    """The whole report as a page: every number on it is one of the report's, rounded."""
    environment = new_environment()
    environment.globals |= {
        "answers": answers,
        "evaluation_tables": evaluation_tables,
        "pictures": pictures,
        "provenance": provenance,
        "speed_tables": speed_tables,
        "tables": tables,
        "missing": [kind.command for name, kind in SECTIONS.items() if name not in report.sections],
    }
    return environment.get_template("page.html.j2").render(report=report, bundle=report.bundle)


def new_environment() -> Environment:
    """What the pages' templates are read by."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    return environment


def cell(value: Cell) -> Markup | str:
    """A table's cell: a number is shown rounded, and kept whole for machines."""
    match value:
        case None:
            return "–"
        case Figure():
            return _data(value.value, value.text)
        case Span():
            ratio = value.ratio
            low, high = (_data(end, interval_end(end)) for end in (ratio.low, ratio.high))
            disturbed = Markup(", disturbed") if ratio.disturbed else ""
            return Markup('{} <span class="soft">({} to {}{})</span>').format(
                _data(ratio.value, factor(ratio.value)), low, high, disturbed
            )
    return value


def _data(value: float, shown: str) -> Markup:
    return Markup('<data value="{}">{}</data>').format(repr(value), shown)
