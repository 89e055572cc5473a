"""Pictures of a training run: matplotlib without a display, without pyplot, without torch.

The colours are Okabe and Ito's, told apart by colour-blind readers; a line also differs by its dashes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mtab.files import atomic_file

INK, BLUE, ORANGE, GREEN = "#1b1f24", "#0072b2", "#d55e00", "#009e73"

# parse_math: a label such as "$" is text. fonttype: an SVG's words stay words, to be searched and read out.
# hashsalt: the same data make the same file.
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "mtab",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


@rc_context(STYLE)
def save_curves(history: Sequence[dict[str, Any]], path: Path | str, title: str) -> None:
    """Loss, WAR and UAR by epoch, from the rows of ``metrics.jsonl``; the path's suffix chooses the format.

    A row is ``{"epoch": 1, "train": {"loss", "war"}, "validation": {"loss", "war", "uar", ...}, ...}``; a
    part or a figure that a run does not have is left out.
    """
    figure = new_figure(9, 3.4)
    figure.suptitle(title)
    losses, scores = figure.subplots(1, 2)
    for part, colour in (("train", BLUE), ("validation", ORANGE), ("test", GREEN)):
        for axes, key, dashes in ((losses, "loss", "-"), (scores, "war", "-"), (scores, "uar", "--")):
            rows = [row for row in history if (row.get(part) or {}).get(key) is not None]
            if rows:
                label = part if key == "loss" else f"{part} {key.upper()}"
                epochs, values = [row["epoch"] for row in rows], [row[part][key] for row in rows]
                axes.plot(epochs, values, dashes, color=colour, label=label, marker=".")
    losses.set_ylabel("loss")
    losses.set_ylim(bottom=0)
    scores.set_ylabel("accuracy (WAR), mean recall (UAR)")
    scores.set_ylim(0, 1)
    for axes in (losses, scores):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        if axes.lines:
            axes.legend(frameon=False)
    save_figure(figure, path)


@rc_context(STYLE)
def save_confusion_matrix(
    matrix: Sequence[Sequence[int]], labels: Sequence[str], path: Path | str, title: str
) -> None:
    """Counts and row percentages, true classes down and predicted ones across (C rows of C counts)."""
    side = 1.6 + 0.75 * len(labels)
    figure = new_figure(side + 0.5, side)
    figure.suptitle(title)
    draw_confusion_matrix(figure.subplots(), matrix, labels)
    save_figure(figure, path)


def draw_confusion_matrix(axes: Axes, matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """`save_confusion_matrix`'s picture on given axes; a class without an utterance has no percentage."""
    for row, counts in enumerate(matrix):
        total = sum(counts)
        for column, count in enumerate(counts):
            share = count / total if total else 0.0
            corner = (column - 0.5, row - 0.5)
            # Half opaque at most, so that the ink is readable on every cell, on white and on black.
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=BLUE, edgecolor="none", alpha=share / 2))
            text = f"{count}\n{share:.0%}" if total else f"{count}\n–"
            weight = "bold" if row == column else "normal"
            axes.text(column, row, text, ha="center", va="center", weight=weight)
    positions = range(len(labels))
    axes.set_xticks(positions, labels, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(positions, labels)
    axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(len(labels) - 0.5, -0.5), aspect="equal")
    axes.set(xlabel="predicted", ylabel="true")
    axes.spines[:].set_visible(True)
    axes.tick_params(length=0)


def new_figure(width: float, height: float) -> Figure:
    """An empty picture of so many inches, laid out so that no text is cut."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path | str) -> None:
    """Write a picture, whole or not at all; the path's suffix chooses the format."""
    with atomic_file(path) as partial:
        figure.savefig(partial, dpi=150)
