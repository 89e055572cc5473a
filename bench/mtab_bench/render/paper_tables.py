"""The tables of ``paper.json``: no column holds figures of two protocols."""

import numpy as np

from mtab_bench.paper.cited import CitedCorpus
from mtab_bench.paper.figures import Figures
from mtab_bench.paper.results import Entry, Paper
from mtab_bench.render.formats import count, percent, points
from mtab_bench.render.table import Cell, Column, Row, Table, figure, rows_of

PROTOCOLS = {
    "honest": "honest protocol: a validation split of the training part chose the epoch",
    "paper": "paper's protocol: the test part itself chose the epoch",
    "fixed": "fixed protocol: nothing chose, all that is not tested trained",
}


def origin(paper: Paper, group: list[Entry] | None = None) -> str:
    """What the figures rest on, in a line; those of a ``group`` also on its protocol and seeds."""
    recipe = paper.recipe
    parts = [recipe.title]
    if group is not None:
        parts.append(f"{group[0].protocol} protocol")
    parts += [
        f"folds {recipe.folds} ({len(paper.folds)})",
        f"{len(recipe.classes)} classes",
        f"{sum(paper.utterances.values())} utterances",
        f"problems skipped: {paper.problems}",
    ]
    if group is not None:
        seeds = sorted({each.seed for each in group})
        parts.append(f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}")
    parts += [recipe.modalities, f"preset {recipe.preset}", f"corpus {recipe.corpus_sha256[:12]}"]
    return "; ".join(parts)


def group_title(group: list[Entry]) -> str:
    """What a group's figures are of, in a heading."""
    protocol = f"{group[0].protocol} protocol"
    return f"{protocol}, with statistics of the test speaker" if group[0].test_speakers else protocol


def paper_tables(paper: Paper) -> list[Table]:
    """Each group's scores, differences and folds, and what is cited."""
    tables = [
        table
        for group in paper.groups
        for table in (
            _scores(paper, group),
            *([_over_seeds(group)] if any(each.seed for each in group) else []),
            *([_differences(group)] if any(each.difference for each in group) else []),
            _by_fold(paper, group),
        )
    ]
    if paper.cited is not None:
        tables.append(_systems(paper.cited))
    if paper.left_out:
        rows = rows_of(list(paper.left_out.items()))
        tables.append(Table("Rows left out", (Column("row", True), Column("why", True)), rows))
    return tables


def row_name(entry: Entry) -> str:
    """The row with its seed."""
    preset = f" ({entry.preset})" if entry.preset not in (None, entry.row) else ""
    return f"{entry.title}{preset}, seed {entry.seed}"


def _scores(paper: Paper, group: list[Entry]) -> Table:
    # Means stand before the best fold: the paper's headline is its best, and the means are what compares.
    rows = []
    for each in group:
        pooled, cited = each.pooled, paper.cited_row(each)
        comparable = cited is not None and paper.comparable(each)
        mean, best = (None, None) if cited is None else (cited.mean_war, cited.best_war)
        cells: list[Cell] = [
            row_name(each),
            f"{len(each.folds)} of {each.fold_count}",
            *(_mean(each, name) for name in ("war", "uar", "weighted_f1")),
            figure(percent, each.best.figures.war),
            figure(percent, each.best.figures.uar),
            figure(count, pooled.utterances),
            _with_interval(pooled.figures.war, pooled.war_interval),
            _with_interval(pooled.figures.uar, pooled.uar_interval),
            figure(percent, pooled.figures.weighted_f1),
        ]
        if paper.cited is not None:
            cells += [
                figure(percent, mean),
                figure(points, each.mean.war - mean if comparable and mean is not None else None),
                figure(percent, best),
                figure(points, each.best.figures.war - best if comparable and best is not None else None),
            ]
        rows.append(Row(tuple(cells)))
    titles = [
        *("folds done", "mean WAR", "mean UAR", "mean F1", "best fold's WAR", "its UAR"),
        *("utterances", "pooled WAR", "pooled UAR", "pooled F1"),
    ]
    if paper.cited is not None:
        titles += ["cited mean WAR", "mean less cited", "cited best WAR", "best less cited"]
    note = (
        f"{origin(paper, group)}. {PROTOCOLS[group[0].protocol].capitalize()}. Means are over the folds, "
        "each weighing the same, with their standard deviation; F1 is weighted by class. Pooled are all "
        "folds' answers together, with the 95 % interval of a bootstrap over the utterances."
    )
    if group[0].test_speakers:
        note += " Each clip was standardised by all clips of its speaker, the other test clips too."
    if paper.cited is not None:
        note += (
            " Cited figures are the paper's own, by its protocol; a difference stands only where corpus, "
            "folds, classes and protocol are the paper's and every fold is done."
        )
    return Table(
        f"Scores, {group_title(group)}", (Column("row", True), *map(Column, titles)), tuple(rows), note
    )


def _mean(entry: Entry, name: str) -> Cell:
    value = getattr(entry.mean, name)
    if entry.std is None:
        return figure(percent, value)
    return f"{100 * value:.1f} ± {100 * getattr(entry.std, name):.1f} %"


def _with_interval(value: float, interval: tuple[float, float]) -> Cell:
    low, high = interval
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f}) %"


def _over_seeds(group: list[Entry]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for title in dict.fromkeys(each.title for each in group):
        found = [each for each in group if each.title == title and each.complete]
        if len(found) > 1:
            scores = [[getattr(each.pooled.figures, name) for each in found] for name in ("war", "uar")]
            shown = (
                f"{100 * np.mean(of):.1f} ({100 * min(of):.1f} to {100 * max(of):.1f}) %" for of in scores
            )
            rows.append((title, ", ".join(str(each.seed) for each in found), *shown))
    return Table(
        f"Over seeds, {group_title(group)}",
        (Column("row", True), Column("seeds", True), Column("pooled WAR"), Column("pooled UAR")),
        rows_of(rows),
        "The mean over the seeds whose folds are all done, with the lowest and the highest.",
    )


def _differences(group: list[Entry]) -> Table:
    rows = []
    for each in group:
        if (found := each.difference) is None:
            continue
        rows.append(
            (
                f"{row_name(each)}, less {found.reference}",
                figure(count, found.utterances),
                _moved(found.war, found.war_interval),
                _moved(found.uar, found.uar_interval),
            )
        )
    return Table(
        f"Paired differences, {group_title(group)}",
        (Column("row", True), Column("common utterances"), Column("WAR"), Column("UAR")),
        rows_of(rows),
        "Points, pooled over the folds, with the 95 % interval of a bootstrap that draws the same utterances "
        "for both rows. An interval without 0 is a difference beyond chance.",
    )


def _moved(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _by_fold(paper: Paper, group: list[Entry]) -> Table:
    """WAR and UAR of each fold; a fold that is not done has none."""
    names = list(dict.fromkeys(fold.fold for each in group for fold in each.folds))
    rows: list[tuple[Cell, ...]] = []
    for each in group:
        found = {fold.fold: fold for fold in each.folds}
        shown = [found[name].figures if name in found else None for name in names]
        rows.append((f"{row_name(each)}: WAR / UAR", *map(_pair, shown)))
        cited = paper.cited_row(each)
        if cited is not None and cited.war_by_fold is not None and len(cited.war_by_fold) == len(names):
            rows.append((f"{each.title}, cited: WAR", *(figure(percent, war) for war in cited.war_by_fold)))
    return Table(
        f"Each fold, {group_title(group)}",
        (Column("row", True), *map(Column, names)),
        rows_of(rows),
        f"{origin(paper, group)}. – is a fold that is not done.",
    )


def _pair(figures: Figures | None) -> Cell:
    return None if figures is None else f"{100 * figures.war:.1f} / {100 * figures.uar:.1f}"


def _systems(cited: CitedCorpus) -> Table:
    return Table(
        "Cited: the systems that the paper compares with",
        (Column("system", True), Column("UAR"), Column("WAR"), Column("note", True)),
        rows_of(
            [
                (each.title, figure(percent, each.uar), figure(percent, each.war), each.note)
                for each in cited.systems
            ]
        ),
        f"As the paper prints them; nothing of this table was measured here. {cited.note}",
    )
