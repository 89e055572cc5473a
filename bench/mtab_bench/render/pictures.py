"""The report's pictures, as SVG elements to stand in an HTML page and take its colours."""

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
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mtab_bench.render.summary import PEERS, case_title
from mtab_bench.sections.accuracy import margins
from mtab_train.plots import BLUE, GREEN, INK, ORANGE, STYLE, draw_confusion_matrix, new_figure

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

Section = dict[str, Any]


def picture(draw: Callable[..., str]) -> Callable[..., Markup]:
    """Make ``draw(axes, section, ...)``, which returns its alternative text, return the SVG element."""

    @wraps(draw)
    @rc_context(STYLE)
    def drawn(section: Section, *arguments: Any) -> Markup:
        figure = new_figure(*SIZE)
        axes = figure.subplots()
        alternative = draw(axes, section, *arguments)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        return _inline(figure, "-".join([draw.__name__, *map(str, arguments)]), alternative)

    return drawn


@picture
def class_distribution(axes: Axes, evaluation: Section) -> str:
    """Test utterances of each class (the paper's Figs. 8-10)."""
    counts = evaluation["protocol"]["utterances_per_class"]
    _bars(axes, counts, "%d", "test utterances")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return "Test utterances of each class: " + _listing(counts)


@picture
def confusion_matrix(axes: Axes, evaluation: Section, name: str) -> str:
    """One engine's confusion matrix (the paper's Fig. 13)."""
    matrix = evaluation["engines"][name]["accuracy"]["confusion_matrix"]
    labels = evaluation["protocol"]["classes"]
    draw_confusion_matrix(axes, matrix, [printable(label) for label in labels])
    title = _title(evaluation, name)
    axes.set_title(title)
    right, total = sum(matrix[i][i] for i in range(len(labels))), sum(map(sum, matrix))
    return f"Confusion matrix of {title}: {right} of {total} right; a table of the section has every cell"


@picture
def reliability(axes: Axes, evaluation: Section, name: str) -> str:
    """Share of right answers against the probability of the answer: a diagonal where it keeps its word."""
    accuracy = evaluation["engines"][name]["accuracy"]
    axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, alpha=0.5)
    for each in accuracy["calibration"]["bins"]:
        width = each["upper"] - each["lower"]
        middle = each["lower"] + width / 2
        axes.bar(middle, each["accuracy"], 0.92 * width, color=BLUE, alpha=0.35)
        axes.plot(each["confidence"], each["accuracy"], "o", color=ORANGE, markersize=4)
        axes.text(middle, 0.015, each["count"], ha="center", fontsize=7)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="probability of the answer", ylabel="share that is right")
    axes.set_title(_title(evaluation, name))
    return (
        f"Reliability of {_title(evaluation, name)}: expected calibration error {100 * accuracy['ece']:.1f} %"
    )


@picture
def latency_distribution(axes: Axes, evaluation: Section) -> str:
    """Samples of each engine in a row of its own, with the median and p99."""
    measured = _measured(evaluation)
    for row, (key, engine) in enumerate(measured.items()):
        milliseconds = np.sort(engine["latency"]["values"]) * 1e3
        ranks = np.linspace(0, len(milliseconds) - 1, min(len(milliseconds), MAX_ROW_POINTS)).round()
        colour = ORANGE if key in PEERS else BLUE
        strokes = np.repeat(milliseconds[ranks.astype(int)], 3)
        heights = np.tile((row - 0.25, row + 0.25, np.nan), len(ranks))
        axes.plot(strokes, heights, color=colour, alpha=0.5, linewidth=0.8)
        for quantile, marker, label in (("p50", "o", "median"), ("p99", "D", "99 % within")):
            at = engine["latency"][quantile] * 1e3
            axes.plot(at, row, marker, color=INK, markersize=4.5, label=None if row else label)
    _rows(axes, (engine["title"] for engine in measured.values()))
    axes.set_xlabel("ms an utterance")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25, axis="x")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    medians = {engine["title"]: f"{engine['latency']['p50'] * 1e3:.3g} ms" for engine in measured.values()}
    return "Distribution of latency; medians: " + _listing(medians)


@picture
def latency_by_length(axes: Axes, evaluation: Section, name: str) -> str:
    """Median latency of each utterance against its length, an engine beside the reference."""
    lengths = np.array([utterance["seconds"] or np.nan for utterance in evaluation["utterances"]])
    shown = [key for key in (evaluation["reference"], name) if key in _measured(evaluation)]
    for key in dict.fromkeys(shown):
        engine = evaluation["engines"][key]
        values = np.reshape(engine["latency"]["values"], (-1, len(lengths)))
        colour, marker = (BLUE, "o") if key == name else (ORANGE, "^")
        label = printable(engine["title"])
        _points(axes, lengths, np.median(values, axis=0) * 1e3, color=colour, marker=marker, label=label)
    axes.set(xlabel="seconds of speech", ylabel="ms an utterance, median")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left")
    return f"Latency of {_title(evaluation, name)} against length of {len(lengths)} utterances"


@picture
def parity_scatter(axes: Axes, evaluation: Section, name: str) -> str:
    """Every probability of an engine against the reference's: a diagonal where they agree."""
    reference = _probabilities(evaluation, evaluation["reference"])
    probabilities = _probabilities(evaluation, name)
    before, after = _title(evaluation, evaluation["reference"]), _title(evaluation, name)
    axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, alpha=0.5)
    _points(axes, reference.ravel(), probabilities.ravel(), color=BLUE, marker="o")
    axes.set(xlabel=f"probability, {before}", ylabel=f"probability, {after}", aspect="equal")
    largest = evaluation["engines"][name]["parity"]["max_probability_difference"]
    return f"Probabilities of {after} against {before}'s; the farthest from the diagonal by {largest:.1e}"


@picture
def parity_margin(axes: Axes, evaluation: Section, name: str) -> str:
    """Each utterance's largest difference against the reference's lead of the first class over the second."""
    reference = _probabilities(evaluation, evaluation["reference"])
    probabilities = _probabilities(evaluation, name)
    lead = np.maximum(margins(reference), FLOOR)
    difference = np.maximum(np.abs(reference - probabilities).max(axis=1), FLOOR)
    edge = np.array((lead.min() / 2, 1.0))
    axes.plot(edge, edge / 2, color=INK, linewidth=0.8, alpha=0.5)
    same = reference.argmax(axis=1) == probabilities.argmax(axis=1)
    _points(axes, lead[same], difference[same], color=BLUE, marker="o", label="same label")
    if not same.all():
        _points(axes, lead[~same], difference[~same], color=ORANGE, marker="X", label="label changed")
    axes.set(xscale="log", yscale="log", xlabel="lead of the first class")
    axes.set_ylabel(f"largest difference, {_title(evaluation, name)}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_power))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left")
    return (
        f"Largest difference of each utterance against the lead of its first class: {int((~same).sum())} of "
        f"{len(same)} labels changed; below the line none can"
    )


@picture
def speedups(axes: Axes, speed: Section, number: int) -> str:
    """Each engine's throughput over the reference's in one case, from the fastest down."""
    case = speed["cases"][number]
    times = {
        key: engine["speedup"] for key, engine in case["engines"].items() if engine["speedup"] is not None
    }
    times = dict(sorted(times.items(), key=lambda item: -item[1]))
    titles = [_title(speed, key) for key in times]
    for row, (key, value) in enumerate(times.items()):
        peer = key in PEERS
        style: dict[str, Any] = (
            {"facecolor": "none", "edgecolor": ORANGE, "hatch": "////"} if peer else {"color": BLUE}
        )
        bars = axes.barh(row, value, height=0.65, **style)
        axes.bar_label(bars, fmt="%.2f ×", padding=3)
    axes.axvline(1, color=INK, linewidth=0.8, alpha=0.5)
    _rows(axes, titles)
    axes.set_xlabel(f"times {_title(speed, speed['reference'])}")
    axes.margins(x=0.16)
    figures = dict(zip(titles, (f"{value:.2f}" for value in times.values()), strict=True))
    return f"Times the reference's throughput for {case_title(case)}: " + _listing(figures)


@picture
def batching(axes: Axes, section: Section) -> str:
    """Utterances a second of each way to form batches."""
    figures = {way["name"]: way["throughput"]["value"] for way in section["ways"]}
    _bars(axes, figures, "%.3g", "utterances a second")
    return "Utterances a second: " + _listing({name: f"{value:.3g}" for name, value in figures.items()})


@picture
def invariance(axes: Axes, section: Section) -> str:
    """How far answers move with the batch, beside each engine's budget and the published implementation."""
    shown = {key: engine for key, engine in section["engines"].items() if not engine["skipped"]}
    titles = [printable(engine["title"]) for engine in shown.values()]
    moved = [max(engine["max_difference"], FLOOR) for engine in shown.values()]
    rows = list(range(len(shown)))
    axes.plot(
        [engine["budget"] for engine in shown.values()], rows, "|", color=INK, markersize=13, label="budget"
    )
    axes.plot(moved, rows, "o", color=BLUE, label="largest difference")
    figures = dict(zip(titles, (f"{value:.1e}" for value in moved), strict=True))
    if section["published"]:
        rows.append(len(rows))
        titles.append(printable(section["published"]["title"]))
        axes.plot(section["published"]["max_difference"], rows[-1], "X", color=ORANGE)
        figures[titles[-1]] = f"{section['published']['max_difference']:.1e}"
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_power))
    _rows(axes, titles)
    axes.set_xlabel("probability difference")
    axes.grid(alpha=0.25, axis="x")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return "Largest difference of an utterance in a batch from the same alone: " + _listing(figures)


@picture
def epoch_times(axes: Axes, training: Section) -> str:
    """Median seconds of an epoch, each way."""
    figures = {variant["name"]: variant["median_seconds"] for variant in training["variants"]}
    _bars(axes, figures, "%.3g s", "seconds an epoch, median")
    return "Seconds an epoch: " + _listing({name: f"{value:.3g}" for name, value in figures.items()})


@picture
def loss_curves(axes: Axes, training: Section, key: str) -> str:
    """``losses`` or ``validation_losses`` of every variant by epoch."""
    variants = [variant for variant in training["variants"] if variant.get(key)]
    for variant, (colour, dashes) in zip(variants, (LINES * len(variants))[-len(variants) :], strict=True):
        values = variant[key]
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, values, dashes, color=colour, marker=".", label=printable(variant["name"]))
    axes.set_xlabel("epoch")
    axes.set_ylabel({"losses": "training loss", "validation_losses": "validation loss"}[key])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.45, 1), fontsize=8)
    last = {variant["name"]: f"{variant[key][-1]:.3g}" for variant in variants}
    return f"{axes.get_ylabel().capitalize()} by epoch; the last: " + _listing(last)


def printable(text: str) -> str:
    """``text`` without what XML cannot carry."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def _measured(evaluation: Section) -> dict[str, dict[str, Any]]:
    return {key: engine for key, engine in evaluation["engines"].items() if not engine["skipped"]}


def _probabilities(evaluation: Section, name: str) -> np.ndarray:
    return np.array([utterance["probabilities"][name] for utterance in evaluation["utterances"]])


def _title(section: Section, name: str) -> str:
    return printable(section["engines"][name]["title"])


def _listing(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _bars(axes: Axes, figures: Mapping[str, float], written: str, what: str) -> None:
    """A horizontal bar for each figure, from the top down, with its value ``written`` beside it."""
    bars = axes.barh(range(len(figures)), list(figures.values()), color=BLUE, height=0.65)
    axes.bar_label(bars, fmt=written, padding=3)
    _rows(axes, figures)
    axes.set_xlabel(what)
    axes.margins(x=0.18)


def _rows(axes: Axes, labels: Iterable[str]) -> None:
    """Name the rows from the top down, and make the picture as high as they need."""
    lines = ["\n".join(wrap(printable(label), 24)) for label in labels]
    axes.set_yticks(range(len(lines)), lines)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.set_size_inches(
        SIZE[0], 0.9 + ROW * max(len(lines), sum(line.count("\n") + 1 for line in lines) / 1.5)
    )


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, marker: str, color: str, label: str = "") -> None:
    many = len(x) > MAX_VECTOR_POINTS
    colour = IMAGE_COLOURS[color] if many else color
    style: dict[str, Any] = {"markersize": 3.5, "alpha": 0.6, "markeredgewidth": 0, "rasterized": many}
    axes.plot(x, y, marker, color=colour, label=label, **style)


def _power(value: float, _: object) -> str:
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
