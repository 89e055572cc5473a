"""How the report's numbers are written: rounded, with their unit."""

from collections.abc import Callable
from typing import Any

from mtab.timing import Ratio


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def milliseconds(value: float) -> str:
    return f"{three_digits(1e3 * value)} ms"


def seconds(value: float) -> str:
    return f"{three_digits(value)} s"


def megabytes(value: float) -> str:
    return f"{value:,.0f} MB"


def joules(value: float) -> str:
    return f"{three_digits(value)} J"


def probability(value: float) -> str:
    return f"{value:.5f}"


def factor(value: float) -> str:
    return f"{value:.2f} ×"


def interval_end(value: float) -> str:
    return f"{value:.2f}"


def ratio(value: Ratio) -> str:
    """A factor with its 95 % interval; in brackets where other processes disturbed it."""
    shown = f"{value.value:.2f} × ({interval_end(value.low)} to {interval_end(value.high)})"
    return f"[{shown}, disturbed]" if value.disturbed else shown


def three_digits(value: float) -> str:
    """Three significant digits, more where the whole part has more, without an exponent."""
    exponent = int(f"{value:.2e}".partition("e")[2])
    return f"{value:.{max(2 - exponent, 0)}f}"


def two_digits(value: float) -> str:
    """Two significant digits, with an exponent below a ten-thousandth: what a p-value needs."""
    return f"{value:.2g}"


def difference(value: float) -> str:
    return f"{value:.1e}"


def coefficient(value: float) -> str:
    return f"{value:z.3f}"


def points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def count(value: int) -> str:
    return f"{value:,}"


FORMATS: tuple[Callable[[Any], str], ...] = (
    percent,
    milliseconds,
    seconds,
    megabytes,
    joules,
    probability,
    factor,
    interval_end,
    three_digits,
    two_digits,
    difference,
    coefficient,
    points,
    count,
)
