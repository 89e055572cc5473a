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
    """Times of each case and how near they are to the machine's limits, memory and start, and the parts."""
    tables = []
    for case in section.cases:
        tables += [case_table(section, case), *limit_tables(section, case)]
    return [*tables, memory_table(section), *part_tables(section)]


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
                figure(joules, found.energy and found.energy.value),
                figure(count, timed.latency.count),
            )
            rows.append(Row((backend.title, *cells)))
    arithmetic = f"{three_digits(case.gflop)} GFLOP" if case.gflop else "operations not counted"
    return Table(
        _title(case),
        (
            BACKEND,
            Column("precision", words=True, page_only=True),
            *latency_columns(reference),
            Column("energy", page_only=True),
            Column("samples", page_only=True),
        ),
        tuple(rows),
        f"{case.tokens} tokens of text; {arithmetic}. “repeated” is the median of a length that "
        "came before. RTF is seconds of computing for a second of speech.",
    )


def limit_tables(section: Speed, case: SpeedCase) -> Iterator[Table]:
    """How near each backend on the CPU is to what the machine does at best, where that was measured."""
    rates = section.rates
    if rates is None or case.gflop is None:
        return
    rows = []
    for key, timed in case.timed.items():
        found = case.backends[key]
        matrix, memory = found.share_of_matrix_rate, found.share_of_memory_rate
        if matrix is None or memory is None:
            continue
        backend = section.backends[key]
        rows.append(
            Row(
                (
                    backend.title,
                    rates.arithmetic(backend.precision or "fp32"),
                    figure(three_digits, case.gflop / timed.latency.p50),
                    figure(percent, matrix),
                    figure(percent, memory),
                    "arithmetic" if matrix >= memory else "memory",
                )
            )
        )
    matrices = ", ".join(
        f"{three_digits(rate.value)} {rate.unit} in {precision} ({rate.library})"
        for precision, rate in rates.matrix.items()
    )
    yield Table(
        f"{_title(case)}: limits",
        (
            BACKEND,
            Column("multiplies in", words=True),
            Column("GFLOP/s"),
            Column("of matrix rate"),
            Column("of memory rate"),
            Column("nearest limit", words=True),
        ),
        tuple(rows),
        f"On {rates.threads} threads this machine multiplies large matrices at {matrices}, and reads memory "
        f"at {three_digits(rates.memory.value)} {rates.memory.unit}. Of memory is counted that each weight "
        "is read once, in the numbers that are multiplied.",
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
                    figure(megabytes, memory and memory.written),
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
            Column("after answer"),
            Column("unshared", page_only=True),
            Column("each further"),
            Column("GPU memory", page_only=True),
            Column("start"),
            Column("first ever"),
            Column("largest difference"),
        ),
        tuple(rows),
        "Memory of a process of its own: the most that was resident, what is resident after the first "
        "answer, what it shares with no other, and what each further process of the bundle adds. Start is "
        "from a new process to its first answer; “first ever” is with empty caches. The difference is the "
        "largest from the reference's probability.",
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


def _title(case: SpeedCase) -> str:
    title = case_title(case)
    return title[0].upper() + title[1:]
