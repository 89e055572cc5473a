"""The tables of the section ``speed``."""

from collections.abc import Iterator

from mtab_bench.render.answers import case_title
from mtab_bench.render.backends import BACKEND, latency_cells, latency_columns, skipped_row
from mtab_bench.render.formats import (
    count,
    difference,
    joules,
    megabytes,
    milliseconds,
    percent,
    seconds,
    three_digits,
)
from mtab_bench.render.table import Cell, Column, Row, Table, figure, span
from mtab_bench.sections.speed import Speed, SpeedCase


def speed_tables(section: Speed) -> list[Table]:
    """A table for each case, memory and start, and the parts."""
    return [
        *(case_table(section, case) for case in section.cases),
        memory_table(section),
        *part_tables(section),
    ]


def speedup_table(section: Speed) -> Table:
    """Every case in one table, against the reference."""
    rows = []
    for key, backend in section.backends.items():
        if backend.skipped:
            rows.append(skipped_row(backend))
            continue
        timed = (case.timed.get(key) for case in section.cases)
        rows.append(Row((backend.title, *(span(each and each.speedup) for each in timed))))
    reference = section.backends[section.reference].title
    return Table(
        f"Times {reference}",
        (BACKEND, *(Column(case_title(case)) for case in section.cases)),
        tuple(rows),
        f"How many times as fast as {reference}, with the 95 % interval.",
    )


def case_table(section: Speed, case: SpeedCase) -> Table:
    """Every backend on one case."""
    reference = section.backends[section.reference].title
    rows = []
    for key, backend in section.backends.items():
        found = case.backends[key]
        if backend.skipped:
            rows.append(skipped_row(backend))
        elif (timed := found.timed) is None:
            reason = f"failed: {found.failure}" if found.failure else "timed among the parts alone"
            rows.append(Row((backend.title,), reason))
        else:
            cells: tuple[Cell, ...] = (
                backend.precision,
                *latency_cells(timed),
                figure(percent, found.share_of_matrix_rate),
                figure(joules, found.energy and found.energy.value),
                figure(count, timed.latency.count),
            )
            rows.append(Row((backend.title, *cells)))
    arithmetic = f"{three_digits(case.gflop)} GFLOP" if case.gflop else "operations not counted"
    rate = section.matrix_rate
    machine = f"; the machine multiplies matrices at {three_digits(rate.value)} {rate.unit}" if rate else ""
    title = case_title(case)
    return Table(
        title[0].upper() + title[1:],
        (
            BACKEND,
            Column("precision", words=True, page_only=True),
            *latency_columns(reference),
            Column("share of matrix rate", page_only=True),
            Column("energy", page_only=True),
            Column("samples", page_only=True),
        ),
        tuple(rows),
        f"{case.tokens} tokens of text; {arithmetic}{machine}. “repeated” is the median of a length that "
        "came before. RTF is seconds of computing for a second of speech.",
    )


def memory_table(section: Speed) -> Table:
    """Memory, start and answers of each backend."""
    rows = []
    for backend in section.backends.values():
        if backend.skipped:
            rows.append(skipped_row(backend))
            continue
        memory, start = backend.memory, backend.start
        rows.append(
            Row(
                (
                    backend.title,
                    backend.device,
                    figure(count, backend.threads),
                    figure(megabytes, memory and memory.max_ram),
                    figure(megabytes, memory and memory.ram),
                    figure(megabytes, memory and memory.private),
                    figure(megabytes, memory and memory.max_vram),
                    figure(seconds, start and start.p50),
                    figure(seconds, start and start.first_ever),
                    figure(difference, backend.max_probability_difference),
                )
            )
        )
    return Table(
        "Memory, start, answers",
        (
            BACKEND,
            Column("device", words=True, page_only=True),
            Column("threads", page_only=True),
            Column("most memory"),
            Column("after first answer"),
            Column("unshared", page_only=True),
            Column("GPU memory", page_only=True),
            Column("start"),
            Column("first ever"),
            Column("largest difference"),
        ),
        tuple(rows),
        "Memory of a process of its own: the most that was resident, what is resident after the first "
        "answer, what it shares with no other. Start is from a new process to its first answer; "
        "“first ever” is with empty caches. The difference is the largest from the reference's probability.",
    )


def part_tables(section: Speed) -> Iterator[Table]:
    """The parts of the model, where they were measured."""
    rows = []
    for part in section.parts:
        for key, each in part.backends.items():
            latency = each.timed.latency
            rows.append(
                Row(
                    (
                        part.part.replace("_", " "),
                        section.backends[key].title,
                        figure(count, part.batch_size),
                        figure(three_digits, part.seconds),
                        figure(three_digits, part.gflop),
                        figure(milliseconds, latency.p50),
                        figure(milliseconds, latency.p99),
                        figure(milliseconds, each.timed.repeated and each.timed.repeated.p50),
                        span(each.timed.speedup),
                        figure(percent, each.share_of_matrix_rate),
                        figure(difference, each.max_difference),
                    )
                )
            )
    if rows:
        yield Table(
            "Parts",
            (
                Column("part", words=True),
                Column("backend", words=True),
                Column("batch", page_only=True),
                Column("seconds", page_only=True),
                Column("GFLOP", page_only=True),
                Column("p50"),
                Column("p99"),
                Column("repeated"),
                Column(f"times {section.backends[section.reference].title}"),
                Column("share of matrix rate", page_only=True),
                Column("largest difference", page_only=True),
            ),
            tuple(rows),
            "Each part alone, on the same inputs; the difference of an output is from the reference's.",
        )
