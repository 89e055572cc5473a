"""The report's pictures, as SVG elements to stand in an HTML page and take its colours."""

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mtab_bench.accuracy import margins
from mtab_train.plots import BLUE, GREEN, INK, ORANGE, STYLE, draw_confusion_matrix, new_figure

# The page defines these for light, dark and paper.
PAGE_COLOURS = {INK: "currentColor", BLUE: "var(--blue)", ORANGE: "var(--orange)", GREEN: "var(--green)"}
LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, ":"))
SIZE = 4.6, 3.6
"""Inches: two stand side by side on a desk, one fills a telephone."""
MAX_VECTOR_POINTS = 2000
"""More points than this are embedded as an image: a path each would make the page heavy."""
FLOOR = 1e-9
"""Where a logarithmic axis begins: below it lies float32's rounding, and zero."""

Report = dict[str, Any]


def picture(draw: Callable[..., str]) -> Callable[..., Markup]:
    """Make ``draw(axes, report, ...)``, which returns its alternative text, return the SVG element."""

    @wraps(draw)
    @rc_context(STYLE)
    def drawn(report: Report, *arguments: Any) -> Markup:
        figure = new_figure(*SIZE)
        axes = figure.subplots()
        alternative = draw(axes, report, *arguments)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        return _inline(figure, "-".join([draw.__name__, *map(str, arguments)]), alternative)

    return drawn


@picture
def class_distribution(axes: Axes, report: Report) -> str:
    """Test utterances of each class (the paper's Figs. 8-10)."""
    counts = report["protocol"]["utterances_per_class"]
    bars = axes.barh([printable(label) for label in counts], list(counts.values()), color=BLUE, height=0.65)
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("test utterances")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.12)
    return "Test utterances of each class: " + _listing(counts)


@picture
def confusion_matrix(axes: Axes, report: Report, name: str) -> str:
    """One engine's confusion matrix (the paper's Fig. 13)."""
    matrix, labels = report["engines"][name]["accuracy"]["confusion_matrix"], report["protocol"]["classes"]
    draw_confusion_matrix(axes, matrix, [printable(label) for label in labels])
    title = _title(report, name)
    axes.set_title(title)
    right, total = sum(matrix[i][i] for i in range(len(labels))), sum(map(sum, matrix))
    return f"Confusion matrix of {title}: {right} of {total} right; the table below has every cell"


@picture
def latency_distribution(axes: Axes, report: Report) -> str:
    """Share of the samples answered within a time, for each engine."""
    measured = _measured(report)
    for engine, (colour, dashes) in zip(measured, LINES, strict=False):
        milliseconds = np.sort(engine["latency"]["values"]) * 1e3
        share = np.arange(1, len(milliseconds) + 1) / len(milliseconds)
        axes.step(milliseconds, share, dashes, where="post", color=colour, label=engine["title"])
    axes.set(xlabel="ms an utterance", ylabel="share answered within", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    medians = {engine["title"]: f"{engine['latency']['p50'] * 1e3:.3g} ms" for engine in measured}
    return "Distribution of latency; medians: " + _listing(medians)


@picture
def latency_by_length(axes: Axes, report: Report) -> str:
    """Median latency of each utterance against its length."""
    seconds = np.array([utterance["seconds"] or np.nan for utterance in report["utterances"]])
    for engine, (colour, _), marker in zip(_measured(report), LINES, "o^s", strict=False):
        values = np.reshape(engine["latency"]["values"], (-1, len(seconds)))
        _points(
            axes, seconds, np.median(values, axis=0) * 1e3, color=colour, marker=marker, label=engine["title"]
        )
    axes.set(xlabel="seconds of speech", ylabel="ms an utterance, median")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left")
    return f"Latency against length of {len(seconds)} utterances"


@picture
def parity_scatter(axes: Axes, report: Report, name: str) -> str:
    """Every probability of an engine against the reference's: a diagonal where they agree."""
    reference, probabilities = _probabilities(report, report["reference"]), _probabilities(report, name)
    before, after = _title(report, report["reference"]), _title(report, name)
    axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, alpha=0.5)
    _points(axes, reference.ravel(), probabilities.ravel(), color=BLUE, marker="o")
    axes.set(xlabel=f"probability, {before}", ylabel=f"probability, {after}", aspect="equal")
    largest = report["engines"][name]["parity"]["max_probability_difference"]
    return f"Probabilities of {after} against {before}'s; the farthest from the diagonal by {largest:.1e}"


@picture
def parity_margin(axes: Axes, report: Report, name: str) -> str:
    """Each utterance's largest difference against the reference's lead of the first class over the second."""
    reference, probabilities = _probabilities(report, report["reference"]), _probabilities(report, name)
    lead = np.maximum(margins(reference), FLOOR)
    difference = np.maximum(np.abs(reference - probabilities).max(axis=1), FLOOR)
    edge = np.array((lead.min() / 2, 1.0))
    axes.plot(edge, edge / 2, color=INK, linewidth=0.8, alpha=0.5)
    same = reference.argmax(axis=1) == probabilities.argmax(axis=1)
    _points(axes, lead[same], difference[same], color=BLUE, marker="o", label="same label")
    if not same.all():
        _points(axes, lead[~same], difference[~same], color=ORANGE, marker="X", label="label changed")
    axes.set(xscale="log", yscale="log", xlabel="lead of the first class")
    axes.set_ylabel("largest probability difference")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left")
    return (
        f"Largest difference of each utterance against the lead of its first class: {int((~same).sum())} of "
        f"{len(same)} labels changed; below the line none can"
    )


def printable(text: str) -> str:
    """``text`` without what XML cannot carry."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def _measured(report: Report) -> list[dict[str, Any]]:
    return [engine for engine in report["engines"].values() if engine["skipped"] is None]


def _probabilities(report: Report, name: str) -> np.ndarray:
    return np.array([utterance["probabilities"][name] for utterance in report["utterances"]])


def _title(report: Report, name: str) -> str:
    return report["engines"][name]["title"]


def _listing(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _points(axes: Axes, x: Sequence[float] | np.ndarray, y: np.ndarray, marker: str, **style: Any) -> None:
    many = len(x) > MAX_VECTOR_POINTS
    axes.plot(x, y, marker, markersize=3.5, alpha=0.6, markeredgewidth=0, rasterized=many, **style)


def _inline(figure: Figure, name: str, alternative: str) -> Markup:
    """The figure as an ``svg`` element: ids of its own, the page's colours, read out as one image."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", dpi=150)
    root = ElementTree.fromstring(stream.getvalue())
    for parent in root.iter():
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
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
    value = value.replace("url(#", f"url(#{name}-")
    for colour, variable in PAGE_COLOURS.items():
        value = value.replace(colour, variable)
    return value


def _local(name: str) -> str:
    return name.rpartition("}")[2]
