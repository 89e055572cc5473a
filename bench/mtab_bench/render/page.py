"""The report as one HTML page that needs no other file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mtab_bench.render import pictures, summary
from mtab_bench.render.formats import FORMATS

TEMPLATES = Path(__file__).parent / "templates"


def to_html(report: dict[str, Any]) -> str:
    """The whole report as a page: every number on it is one of the report's, rounded."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = {show.__name__: _figure(show) for show in FORMATS}
    environment.filters |= figures
    environment.globals |= figures | {"pictures": pictures, "summary": summary}
    return environment.get_template("page.html.j2").render(report=report, bundle=report["bundle"])


def _figure(show: Callable[[Any], str]) -> Callable[[Any], Markup]:
    """A filter that shows a number rounded and keeps it whole for machines."""

    def figure(value: Any) -> Markup:
        if value is None:
            return Markup("–")
        return Markup('<data value="{}">{}</data>').format(repr(value), show(value))

    return figure
