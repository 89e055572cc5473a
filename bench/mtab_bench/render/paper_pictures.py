"""The paper's charts (Figs. 8-17), drawn from a run's own data: in the page, and as files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mtab.files import path_component
from mtab_bench.paper.results import Entry, Paper
from mtab_bench.render.drawing import LINES, bars, inline, listing, printable, rows
from mtab_bench.render.paper_tables import group_title, row_name
from mtab_bench.render.pictures import MANY_CLASSES
from mtab_train.plots import BLUE, INK, ORANGE, STYLE, draw_confusion_matrix, new_figure, save_figure

FORMATS = ("svg", "png")
SIZE = 5.6, 4.2
MARKERS = "os^DvP"


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: the ``name`` of its files, what it shows, and how it is drawn."""

    name: str
    caption: str
    draw: Callable[..., str]
    arguments: tuple[Any, ...]

    def inline(self, paper: Paper) -> Markup:
        """As an SVG element of a page."""
        return inline(self.draw, self.name, paper, *self.arguments)

    @rc_context(STYLE)
    def save(self, paper: Paper, folder: Path) -> None:
        """As files, one for each of `FORMATS`."""
        for suffix in FORMATS:
            figure = new_figure(*SIZE)
            self.draw(figure.subplots(), paper, *self.arguments)
            save_figure(figure, folder / f"{self.name}.{suffix}")


def charts(paper: Paper) -> list[Chart]:
    """All of a paper's, in the order of its figures."""
    found = [
        Chart("classes", "Utterances of each class (the paper's Figs. 8-10).", _classes, ()),
        Chart("classes-by-fold", "Test utterances of each class by fold (Figs. 8-10).", _classes_by_fold, ()),
    ]
    for entry in paper.entries:
        name = f"{entry.row}-{entry.protocol}-seed{entry.seed}"
        title = f"{row_name(entry)}, {entry.protocol} protocol"
        if entry.curves:
            found += [
                Chart(f"loss-{name}", f"Loss by epoch, {title} (Figs. 11-12).", _curves, (entry, "losses")),
                Chart(f"accuracy-{name}", f"WAR by epoch, {title} (Figs. 11-12).", _curves, (entry, "wars")),
            ]
        found.append(
            Chart(
                f"confusion-{name}",
                f"Confusion matrix over all folds, {title} (Fig. 13): utterances, coloured by the "
                "share of the true class.",
                _confusion,
                (entry,),
            )
        )
    for group in paper.groups:
        name = path_component(group_title(group))
        found += [
            Chart(
                f"folds-{name}", f"WAR by fold, {group_title(group)} (Figs. 14-17).", _folds, (tuple(group),)
            ),
            Chart(
                f"ablation-{name}",
                f"Mean WAR over the folds, {group_title(group)} (Figs. 14-17); dots are folds.",
                _ablation,
                (tuple(group),),
            ),
        ]
    return found


def _classes(axes: Axes, paper: Paper) -> str:
    bars(axes, paper.utterances, "%d", "utterances")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return "Utterances of each class: " + listing(paper.utterances)


def _classes_by_fold(axes: Axes, paper: Paper) -> str:
    """A bar a fold, in it a stroke of its own for each class."""
    left = np.zeros(len(paper.folds))
    for number, label in enumerate(paper.recipe.classes):
        sizes = np.array([fold.test[label] for fold in paper.folds])
        shade = 1 - 0.8 * number / len(paper.recipe.classes)
        axes.barh(
            range(len(sizes)),
            sizes,
            left=left,
            color=BLUE,
            alpha=shade,
            height=0.65,
            label=printable(label),
        )
        left += sizes
    rows(axes, [fold.fold for fold in paper.folds])
    axes.set_xlabel("test utterances")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.45, 1), ncols=3, fontsize=8)
    return "Test utterances by fold: " + listing({each.fold: sum(each.test.values()) for each in paper.folds})


def _curves(axes: Axes, paper: Paper, entry: Entry, key: str) -> str:
    """Every fold as a thin line, and their mean over the epochs that all of them have."""
    parts = [("training", key, BLUE)]
    if (chose_by := entry.curves[0].chose_by) is not None:
        parts.append((chose_by, f"selection_{key}", ORANGE))
    last = {}
    for part, attribute, colour in parts:
        series = [getattr(each, attribute) for each in entry.curves]
        for values in series:
            axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=0.7, alpha=0.45)
        common = min(map(len, series))
        mean = np.mean([values[:common] for values in series], axis=0)
        axes.plot(range(1, common + 1), mean, color=colour, marker=".", label=f"{part}, mean of folds")
        last[part] = f"{mean[-1]:.3g}"
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss" if key == "losses" else "accuracy (WAR)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, None if key == "losses" else 1)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return f"{axes.get_ylabel().capitalize()} by epoch of {row_name(entry)}; the last mean: {listing(last)}"


def _confusion(axes: Axes, paper: Paper, entry: Entry) -> str:
    labels = paper.recipe.classes
    draw_confusion_matrix(axes, entry.pooled.confusion_matrix, [printable(label) for label in labels])
    if len(labels) > MANY_CLASSES:
        # The colour says the share.
        for each in axes.texts:
            each.set_text(each.get_text().partition("\n")[0])
    right = sum(entry.pooled.confusion_matrix[i][i] for i in range(len(labels)))
    return f"Confusion matrix of {row_name(entry)}: {right} of {entry.pooled.utterances} right"


def _folds(axes: Axes, paper: Paper, group: tuple[Entry, ...]) -> str:
    """WAR of every row by fold."""
    names = [fold.fold for fold in paper.folds]
    for number, entry in enumerate(group):
        # More rows than lines differ by their markers.
        colour, dashes = LINES[number % len(LINES)]
        marker = MARKERS[number // len(LINES) % len(MARKERS)]
        found = {each.fold: 100 * each.figures.war for each in entry.folds}
        values = [found.get(name, np.nan) for name in names]
        axes.plot(names, values, dashes, color=colour, marker=marker, label=printable(row_name(entry)))
    axes.set_ylabel("WAR, %")
    axes.tick_params(axis="x", labelrotation=30 if len(names) > 3 else 0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.45, 1), fontsize=8)
    return "WAR by fold of " + ", ".join(map(row_name, group))


def _ablation(axes: Axes, paper: Paper, group: tuple[Entry, ...]) -> str:
    means = {row_name(each): 100 * each.mean.war for each in group}
    axes.barh(range(len(means)), list(means.values()), color=BLUE, alpha=0.6, height=0.65)
    # Beside the bars stand the dots.
    rows(axes, [f"{title}: {value:.1f}" for title, value in means.items()])
    axes.set_xlabel("WAR, %")
    for number, entry in enumerate(group):
        values = [100 * each.figures.war for each in entry.folds]
        axes.plot(values, [number] * len(values), "o", color=INK, markersize=3, alpha=0.6)
    return "Mean WAR: " + listing({title: f"{value:.1f} %" for title, value in means.items()})
