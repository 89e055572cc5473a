"""The tables of a report: one of all backends, and those of each section."""

from collections.abc import Sequence

from mtab_bench.render.answers import compared, lost, main_times, over_budget
from mtab_bench.render.backends import BACKEND, skipped_row
from mtab_bench.render.evaluation_tables import evaluation_tables
from mtab_bench.render.formats import (
    count,
    difference,
    factor,
    megabytes,
    milliseconds,
    percent,
    seconds,
    three_digits,
)
from mtab_bench.render.speed_tables import speed_tables
from mtab_bench.render.table import Column, Row, Table, figure, rows_of, span
from mtab_bench.report import Report
from mtab_bench.sections.batching import Batching
from mtab_bench.sections.evaluation import Evaluation
from mtab_bench.sections.invariance import Invariance
from mtab_bench.sections.section import BackendEntry, Section
from mtab_bench.sections.speed import Speed
from mtab_bench.sections.training import Training


def overview(report: Report) -> Table | None:
    """Every backend of the report, once; None where it has none."""
    parts = [each for each in (report.evaluation, report.speed, report.invariance) if each is not None]
    entries: dict[str, list[BackendEntry]] = {}
    for section in parts:
        for key, entry in section.backends.items():
            entries.setdefault(key, []).append(entry)
    if not entries:
        return None
    times = main_times(report)
    rows = []
    for key, found in entries.items():
        evaluated = report.evaluation and report.evaluation.backends.get(key)
        accuracy, parity = (evaluated.accuracy, evaluated.parity) if evaluated else (None, None)
        timed = times.timed.get(key) if times else None
        started = report.speed and report.speed.backends.get(key)
        memory = started.memory if started else None
        rows.append(
            Row(
                (
                    found[0].title,
                    found[0].precision or "–",
                    figure(percent, accuracy and accuracy.uar),
                    figure(count, parity and parity.labels_changed),
                    figure(milliseconds, timed and timed.latency.p50),
                    span(timed and timed.speedup),
                    figure(megabytes, memory and memory.max_ram),
                    verdict(report, key, found),
                )
            )
        )
    chance = next((each.accuracy for each in _measured(report) if each.accuracy is not None), None)
    notes = [
        "UAR and labels changed are of the test set"
        + (f", where chance is a UAR of {percent(chance.chance.uar)}" if chance else ""),
        *([f"p50 and times PyTorch are for {times.of}"] if times else []),
        "memory is the most that was resident in a process of its own",
    ]
    columns = (
        BACKEND,
        Column("precision", words=True),
        Column("UAR"),
        Column("labels changed"),
        Column("p50"),
        Column("times PyTorch"),
        Column("memory"),
        Column("verdict", words=True),
    )
    return Table("Every backend", columns, tuple(rows), "; ".join(notes) + ".")


def verdict(report: Report, key: str, entries: Sequence[BackendEntry]) -> str:
    """What the sections found of a backend, in a few words."""
    reasons = dict.fromkeys(entry.skipped for entry in entries if entry.skipped)
    said = [f"skipped: {reason}" for reason in reasons]
    if key in {section.reference for section in (report.evaluation, report.speed) if section is not None}:
        return "; ".join(["the reference", *said])
    evaluated = report.evaluation and report.evaluation.backends.get(key)
    if evaluated and evaluated.parity is not None:
        if evaluated.parity.labels_changed == 0:
            said.append("same labels")
        else:
            said.append("right less often" if lost(evaluated) else "no measurable loss")
        said.append("over budget" if over_budget(evaluated) else "within budget")
    times = main_times(report)
    timed = times.timed.get(key) if times else None
    if timed is not None and timed.speedup is not None:
        said.append(compared(timed.speedup))
    moved = report.invariance and report.invariance.backends.get(key)
    if moved and moved.movement is not None:
        said.append("same in any batch" if moved.within_budget else "moves with the batch")
    return ", ".join(said) or "timed among the parts alone"


def section_tables(section: Section) -> list[Table]:
    """The tables of one section, the main one first."""
    match section:
        case Evaluation():
            return evaluation_tables(section)
        case Speed():
            return speed_tables(section)
        case Batching():
            return [_batching(section)]
        case Invariance():
            return [_invariance(section)]
        case Training():
            return [_training(section), _epochs(section)]
    raise TypeError(type(section))


def _measured(report: Report):
    return report.evaluation.measured.values() if report.evaluation is not None else ()


def _batching(section: Batching) -> Table:
    rows = [
        (
            each.name,
            figure(count, each.batch_size),
            figure(factor, each.padding),
            figure(seconds, each.seconds),
            figure(three_digits, each.throughput.value),
            span(each.speedup),
        )
        for each in section.strategies
    ]
    return Table(
        "Strategies",
        (
            Column("strategy", words=True),
            Column("batch"),
            Column("padding"),
            Column("time"),
            Column("utterances/s"),
            Column("times the first"),
        ),
        rows_of(rows),
        "Padding is seconds computed for each second spoken.",
    )


def _invariance(section: Invariance) -> Table:
    company = next(
        (list(each.movement.differences) for each in section.backends.values() if each.movement), []
    )
    rows = []
    for each in section.backends.values():
        if each.movement is None:
            rows.append(skipped_row(each))
            continue
        rows.append(
            Row(
                (
                    each.title,
                    each.precision,
                    *(figure(difference, each.movement.differences[name]) for name in company),
                    figure(difference, each.movement.max_difference),
                    figure(difference, each.budget),
                    figure(count, each.movement.labels_changed),
                    "within its budget" if each.within_budget else "beyond its budget",
                )
            )
        )
    if section.published is not None:
        moved = section.published.movement
        rows.append(
            Row(
                (
                    section.published.title,
                    None,
                    *(figure(difference, moved.differences[name]) for name in company),
                    figure(difference, moved.max_difference),
                    None,
                    figure(count, moved.labels_changed),
                    "for comparison",
                )
            )
        )
    return Table(
        "Movement",
        (
            BACKEND,
            Column("precision", words=True, page_only=True),
            *map(Column, company),
            Column("largest"),
            Column("budget"),
            Column("labels"),
            Column("verdict", words=True, page_only=True),
        ),
        tuple(rows),
        "The largest difference of a probability between the same utterance unbatched and in each company.",
    )


def _training(section: Training) -> Table:
    rows = [
        (
            each.name,
            each.precision,
            figure(seconds, each.median_seconds),
            span(each.speedup),
            figure(factor, each.padding),
            figure(seconds, each.prepare_seconds),
            figure(percent, each.waiting),
            figure(three_digits, each.losses[-1]),
            figure(three_digits, each.validation_losses[-1]),
        )
        for each in section.recipes
    ]
    return Table(
        "Recipes",
        (
            Column("recipe", words=True),
            Column("precision", words=True, page_only=True),
            Column("median"),
            Column("times the first"),
            Column("padding"),
            Column("before the first epoch", page_only=True),
            Column("waiting", page_only=True),
            Column("last loss"),
            Column("validation"),
        ),
        rows_of(rows),
        "Padding is seconds computed for each second spoken. Before the first epoch the data is read, and "
        "what is cached is computed. Waiting is the share of the epochs in which a step had no batch yet. "
        "Factors have the smallest and the largest of the epochs beside them.",
    )


def _epochs(section: Training) -> Table:
    numbers = range(1, section.epochs + 1)
    rows = [(each.name, *(figure(seconds, taken) for taken in each.seconds)) for each in section.recipes]
    columns = (Column("recipe", words=True), *(Column(f"epoch {number}") for number in numbers))
    return Table("Seconds of every epoch", columns, rows_of(rows), page_only=True)
