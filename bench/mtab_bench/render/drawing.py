"""How the report's pictures are drawn: SVG elements to stand in an HTML page and take its colours."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from textwrap import wrap
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtab_train.plots import BLUE, GREEN, INK, ORANGE, STYLE, new_figure

# The page defines these for light, dark and paper.
PAGE_COLOURS = {INK: "currentColor", BLUE: "var(--blue)", ORANGE: "var(--orange)", GREEN: "var(--green)"}
# An image cannot take the page's colours: these are seen on white and on black.
IMAGE_COLOURS = {BLUE: "#2b8cc4", ORANGE: "#d9762b"}
LINES = ((INK, "-."), (ORANGE, "--"), (GREEN, ":"), (BLUE, "-"))
"""Colours and dashes of lines that are compared, the last for the best."""
SIZE = 4.6, 3.6
"""Inches: two stand side by side on a desk, one fills a telephone."""
ROW = 0.3
"""Inches of a row in a picture that has one an engine."""
MAX_VECTOR_POINTS = 250
"""More points than this are embedded as an image: a path each would make the page heavy."""
MAX_ROW_POINTS = 100
"""Samples of an engine that are drawn in a row, evenly spaced by rank, the extremes included."""
FLOOR = 1e-9
"""Where a logarithmic axis begins: below it lies float32's rounding, and zero."""


def picture(draw: Callable[..., str]) -> Callable[..., Markup]:
    """Make ``draw(axes, section, ...)``, which returns its alternative text, return the SVG element."""

    @wraps(draw)
    def drawn(section: Any, *arguments: Any) -> Markup:
        return inline(draw, "-".join([draw.__name__, *map(str, arguments)]), section, *arguments)

    return drawn


@rc_context(STYLE)
def inline(draw: Callable[..., str], name: str, *arguments: Any) -> Markup:
    """The SVG element that ``draw(axes, *arguments)`` makes; ``name`` begins its ids."""
    figure = new_figure(*SIZE)
    axes = figure.subplots()
    alternative = draw(axes, *arguments)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    return _inline(figure, name, alternative)


def printable(text: str) -> str:
    """``text`` without what XML cannot carry."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def listing(values: Mapping[str, Any]) -> str:
    """Names and values in a line."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def bars(axes: Axes, figures: Mapping[str, float], written: str, what: str) -> None:
    """A horizontal bar for each figure, from the top down, with its value ``written`` beside it."""
    bars = axes.barh(range(len(figures)), list(figures.values()), color=BLUE, height=0.65)
    axes.bar_label(bars, fmt=written, padding=3)
    rows(axes, figures)
    axes.set_xlabel(what)
    axes.margins(x=0.18)


def rows(axes: Axes, labels: Iterable[str]) -> None:
    """Name the rows from the top down, and make the picture as high as they need."""
    lines = ["\n".join(wrap(printable(label), 24)) for label in labels]
    axes.set_yticks(range(len(lines)), lines)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.set_size_inches(
        SIZE[0], 0.9 + ROW * max(len(lines), sum(line.count("\n") + 1 for line in lines) / 1.5)
    )


def points(axes: Axes, x: np.ndarray, y: np.ndarray, marker: str, color: str, label: str = "") -> None:
    """Points in a cloud, embedded as an image where they are many."""
    many = len(x) > MAX_VECTOR_POINTS
    colour = IMAGE_COLOURS[color] if many else color
    style: dict[str, Any] = {"markersize": 3.5, "alpha": 0.6, "markeredgewidth": 0, "rasterized": many}
    axes.plot(x, y, marker, color=colour, label=label, **style)


def power(value: float, _: object) -> str:
    """A power of ten for an axis."""
    return f"{value:.0e}"


def _inline(figure: Figure, name: str, alternative: str) -> Markup:
    """The figure as an ``svg`` element: ids of its own, the page's colours, read out as one image."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", dpi=150)
    root = ElementTree.fromstring(stream.getvalue())
    for parent in root.iter():
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    values = " ".join(value for element in root.iter() for value in element.attrib.values())
    wanted = set(re.findall(r"#([\w-]+)", values))
    for element in root.iter():
        # A page of many pictures is heavy enough without the names and the spaces that nobody reads.
        if element.get("id") not in wanted:
            element.attrib.pop("id", None)
        if not (element.tail or "").strip():
            element.tail = None
        if element.text and not element.text.strip():
            element.text = None
        attributes = {_local(key): _adapt(_local(key), value, name) for key, value in element.attrib.items()}
        element.tag = _local(element.tag)
        element.attrib.clear()
        element.attrib.update(attributes)
    for unused in ("width", "height", "version"):
        root.attrib.pop(unused, None)
    root.attrib |= {"role": "img", "aria-label": printable(alternative)}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _adapt(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    value = re.sub(r"font-family: [^;]*sans-serif", "font-family: inherit", value)
    value = value.replace("url(#", f"url(#{name}-")
    for colour, variable in PAGE_COLOURS.items():
        value = value.replace(colour, variable)
    return value


def _local(name: str) -> str:
    return name.rpartition("}")[2]
