"""The report's pictures, each of one section."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mtab_bench.backends import BASELINE_TITLES
from mtab_bench.render.answers import case_title
from mtab_bench.render.drawing import (
    FLOOR,
    LINES,
    MAX_ROW_POINTS,
    bars,
    listing,
    picture,
    points,
    power,
    printable,
    rows,
)
from mtab_bench.sections.accuracy import Accuracy, BackendParity, margins
from mtab_bench.sections.batching import Batching
from mtab_bench.sections.evaluation import Evaluation
from mtab_bench.sections.invariance import Invariance
from mtab_bench.sections.speed import Speed
from mtab_bench.sections.training import Training
from mtab_train.plots import BLUE, INK, ORANGE, draw_confusion_matrix

MANY_CLASSES = 5
"""With more classes a cell of a confusion matrix has room for its count alone."""


@picture
def class_distribution(axes: Axes, evaluation: Evaluation) -> str:
    """Test utterances of each class (the paper's Figs. 8-10)."""
    counts = evaluation.protocol.utterances_per_class or {}
    bars(axes, counts, "%d", "test utterances")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return "Test utterances of each class: " + listing(counts)


@picture
def confusion_matrix(axes: Axes, evaluation: Evaluation, name: str) -> str:
    """One engine's confusion matrix (the paper's Fig. 13)."""
    matrix, labels = _accuracy(evaluation, name).confusion_matrix, evaluation.protocol.classes
    draw_confusion_matrix(axes, matrix, [printable(label) for label in labels])
    if len(labels) > MANY_CLASSES:
        # The colour says the share.
        for each in axes.texts:
            each.set_text(each.get_text().partition("\n")[0])
    title = _title(evaluation, name)
    axes.set_title(title)
    right, total = sum(matrix[i][i] for i in range(len(labels))), sum(map(sum, matrix))
    return f"Confusion matrix of {title}: {right} of {total} right; a table of the section has every cell"


@picture
def reliability(axes: Axes, evaluation: Evaluation, name: str) -> str:
    """Share of right answers against the probability of the answer: a diagonal where it keeps its word."""
    accuracy = _accuracy(evaluation, name)
    axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, alpha=0.5)
    for each in accuracy.bins:
        width = each.upper - each.lower
        middle = each.lower + width / 2
        axes.bar(middle, each.accuracy, 0.92 * width, color=BLUE, alpha=0.35)
        axes.plot(each.confidence, each.accuracy, "o", color=ORANGE, markersize=4)
        axes.text(middle, 0.015, str(each.count), ha="center", fontsize=7)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="probability of the answer", ylabel="share that is right")
    axes.set_title(_title(evaluation, name))
    return f"Reliability of {_title(evaluation, name)}: expected calibration error {100 * accuracy.ece:.1f} %"


@picture
def latency_distribution(axes: Axes, evaluation: Evaluation) -> str:
    """Samples of each engine in a row of its own, with the median and p99."""
    measured = {key: each for key, each in evaluation.measured.items() if each.timed is not None}
    medians = {}
    for row, (key, backend) in enumerate(measured.items()):
        assert backend.timed is not None
        latency = backend.timed.latency
        medians[backend.title] = f"{latency.p50 * 1e3:.3g} ms"
        milliseconds = np.sort(latency.values) * 1e3
        ranks = np.linspace(0, len(milliseconds) - 1, min(len(milliseconds), MAX_ROW_POINTS)).round()
        colour = ORANGE if key in BASELINE_TITLES else BLUE
        strokes = np.repeat(milliseconds[ranks.astype(int)], 3)
        heights = np.tile((row - 0.25, row + 0.25, np.nan), len(ranks))
        axes.plot(strokes, heights, color=colour, alpha=0.5, linewidth=0.8)
        for at, marker, label in ((latency.p50, "o", "median"), (latency.p99, "D", "99 % within")):
            axes.plot(at * 1e3, row, marker, color=INK, markersize=4.5, label=None if row else label)
    rows(axes, (backend.title for backend in measured.values()))
    axes.set_xlabel("ms an utterance")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25, axis="x")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return "Distribution of latency; medians: " + listing(medians)


@picture
def latency_by_length(axes: Axes, evaluation: Evaluation, name: str) -> str:
    """Median latency of each utterance against its length, an engine beside the reference."""
    lengths = np.array([utterance.seconds or np.nan for utterance in evaluation.utterances])
    for key in dict.fromkeys((evaluation.reference, name)):
        backend = evaluation.backends[key]
        if not backend.medians:
            continue
        values = np.array([np.nan if each is None else each for each in backend.medians])
        colour, marker = (BLUE, "o") if key == name else (ORANGE, "^")
        label = printable(backend.title)
        points(axes, lengths, values * 1e3, color=colour, marker=marker, label=label)
    axes.set(xlabel="seconds of speech", ylabel="ms an utterance, median")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left")
    return f"Latency of {_title(evaluation, name)} against length of {len(lengths)} utterances"


@picture
def parity_scatter(axes: Axes, evaluation: Evaluation, name: str) -> str:
    """Every probability of an engine against the reference's: a diagonal where they agree."""
    reference = _probabilities(evaluation, evaluation.reference)
    probabilities = _probabilities(evaluation, name)
    before, after = _title(evaluation, evaluation.reference), _title(evaluation, name)
    axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, alpha=0.5)
    points(axes, reference.ravel(), probabilities.ravel(), color=BLUE, marker="o")
    axes.set(xlabel=f"probability, {before}", ylabel=f"probability, {after}", aspect="equal")
    largest = _parity(evaluation, name).figures.max_probability_difference
    return f"Probabilities of {after} against {before}'s; the farthest from the diagonal by {largest:.1e}"


@picture
def parity_margin(axes: Axes, evaluation: Evaluation, name: str) -> str:
    """Each utterance's largest difference against the reference's lead of the first class over the second."""
    reference = _probabilities(evaluation, evaluation.reference)
    probabilities = _probabilities(evaluation, name)
    lead = np.maximum(margins(reference), FLOOR)
    difference = np.maximum(np.abs(reference - probabilities).max(axis=1), FLOOR)
    edge = np.array((lead.min() / 2, 1.0))
    axes.plot(edge, edge / 2, color=INK, linewidth=0.8, alpha=0.5)
    same = reference.argmax(axis=1) == probabilities.argmax(axis=1)
    points(axes, lead[same], difference[same], color=BLUE, marker="o", label="same label")
    if not same.all():
        points(axes, lead[~same], difference[~same], color=ORANGE, marker="X", label="label changed")
    axes.set(xscale="log", yscale="log", xlabel="lead of the first class")
    axes.set_ylabel(f"largest difference, {_title(evaluation, name)}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(power))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left")
    return (
        f"Largest difference of each utterance against the lead of its first class: {int((~same).sum())} of "
        f"{len(same)} labels changed; below the line none can"
    )


@picture
def speedups(axes: Axes, speed: Speed, number: int) -> str:
    """How many times as fast as the reference each backend is in one case, from the fastest down."""
    case = speed.cases[number]
    found = [(key, timed.speedup) for key, timed in case.timed.items() if timed.speedup is not None]
    found.sort(key=lambda item: -item[1].value)
    titles = [_title(speed, key) for key, _ in found]
    for row, (key, ratio) in enumerate(found):
        style: dict[str, Any] = (
            {"facecolor": "none", "edgecolor": ORANGE, "hatch": "////"}
            if key in BASELINE_TITLES
            else {"color": BLUE}
        )
        axes.barh(row, ratio.value, height=0.65, **style)
        axes.plot((ratio.low, ratio.high), (row, row), color=INK, linewidth=1.2)
        axes.annotate(
            f"{ratio.value:.2f} ×",
            (max(ratio.high, ratio.value), row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.axvline(1, color=INK, linewidth=0.8, alpha=0.5)
    rows(axes, titles)
    axes.set_xlabel(f"times {_title(speed, speed.reference)}")
    axes.margins(x=0.2)
    figures = dict(zip(titles, (f"{ratio.value:.2f}" for _, ratio in found), strict=True))
    return f"Times the reference for {case_title(case)}: " + listing(figures)


@picture
def batching(axes: Axes, section: Batching) -> str:
    """Utterances a second of each strategy."""
    figures = {each.name: each.throughput.value for each in section.strategies}
    bars(axes, figures, "%.3g", "utterances a second")
    return "Utterances a second: " + listing({name: f"{value:.3g}" for name, value in figures.items()})


@picture
def invariance(axes: Axes, section: Invariance) -> str:
    """How far answers move with the batch, beside each backend's budget and the published implementation."""
    moved = [(each, each.movement) for each in section.backends.values() if each.movement is not None]
    titles = [printable(each.title) for each, _ in moved]
    largest = [max(movement.max_difference, FLOOR) for _, movement in moved]
    lines = list(range(len(moved)))
    budgets = [each.budget or 0 for each, _ in moved]
    axes.plot(budgets, lines, "|", color=INK, markersize=13, label="budget")
    axes.plot(largest, lines, "o", color=BLUE, label="largest difference")
    figures = dict(zip(titles, (f"{value:.1e}" for value in largest), strict=True))
    if section.published is not None:
        farthest = section.published.movement.max_difference
        lines.append(len(lines))
        titles.append(printable(section.published.title))
        axes.plot(farthest, lines[-1], "X", color=ORANGE)
        figures[titles[-1]] = f"{farthest:.1e}"
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(power))
    rows(axes, titles)
    axes.set_xlabel("probability difference")
    axes.grid(alpha=0.25, axis="x")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return "Largest difference of an utterance in a batch from the same unbatched: " + listing(figures)


@picture
def epoch_times(axes: Axes, training: Training) -> str:
    """Median seconds of an epoch by recipe."""
    figures = {each.name: each.median_seconds for each in training.recipes}
    bars(axes, figures, "%.3g s", "seconds an epoch, median")
    return "Seconds an epoch: " + listing({name: f"{value:.3g}" for name, value in figures.items()})


@picture
def loss_curves(axes: Axes, training: Training, key: str) -> str:
    """``losses`` or ``validation_losses`` of every recipe by epoch."""
    lines = (LINES * len(training.recipes))[-len(training.recipes) :]
    last = {}
    for recipe, (colour, dashes) in zip(training.recipes, lines, strict=True):
        values = recipe.losses if key == "losses" else recipe.validation_losses
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, values, dashes, color=colour, marker=".", label=printable(recipe.name))
        last[recipe.name] = f"{values[-1]:.3g}"
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss" if key == "losses" else "validation loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.45, 1), fontsize=8)
    return f"{axes.get_ylabel().capitalize()} by epoch; the last: " + listing(last)


def _accuracy(evaluation: Evaluation, name: str) -> Accuracy:
    accuracy = evaluation.backends[name].accuracy
    assert accuracy is not None
    return accuracy


def _parity(evaluation: Evaluation, name: str) -> BackendParity:
    parity = evaluation.backends[name].parity
    assert parity is not None
    return parity


def _probabilities(evaluation: Evaluation, name: str) -> np.ndarray:
    return np.array([utterance.probabilities[name] for utterance in evaluation.utterances])


def _title(section: Evaluation | Speed, name: str) -> str:
    return printable(section.backends[name].title)
