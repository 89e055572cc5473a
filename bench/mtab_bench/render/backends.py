"""What the tables of several sections say of a backend alike: its times, and why it was skipped."""

from mtab_bench.render.formats import milliseconds, three_digits
from mtab_bench.render.table import Cell, Column, Row, figure, span
from mtab_bench.sections.samples import Timed
from mtab_bench.sections.section import BackendEntry

BACKEND = Column("backend", words=True)


def skipped_row(backend: BackendEntry) -> Row:
    """The row of one that was skipped."""
    return Row((backend.title,), f"skipped: {backend.skipped}")


def latency_columns(reference: str) -> tuple[Column, ...]:
    """The columns of `latency_cells`; ``reference`` is that backend's title."""
    return (
        Column("p50"),
        Column("p90", page_only=True),
        Column("p95", page_only=True),
        Column("p99"),
        Column("repeated"),
        Column("utterances/s"),
        Column("RTF"),
        Column(f"times {reference}"),
    )


def latency_cells(timed: Timed) -> tuple[Cell, ...]:
    """Quantiles of new lengths, the median of repeated ones, throughput, the factor over the reference."""
    latency = timed.latency
    return (
        *(figure(milliseconds, each) for each in (latency.p50, latency.p90, latency.p95, latency.p99)),
        figure(milliseconds, timed.repeated and timed.repeated.p50),
        figure(three_digits, timed.throughput.value),
        figure(three_digits, timed.rtf and timed.rtf.value),
        span(timed.speedup),
    )
