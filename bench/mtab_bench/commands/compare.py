"""``mtab-bench compare``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtab.console import Command, table
from mtab.errors import DataError, MtabError

if TYPE_CHECKING:
    from mtab_bench.sections.compare import Comparison


def to_text(found: "Comparison") -> str:
    """The significant changes as a table, and the notes."""
    from mtab_bench.render.formats import milliseconds, percent, two_digits

    shown = {"accuracy": percent, "latency": milliseconds}
    rows = [
        (
            each.backend,
            each.figure,
            each.of,
            shown[each.figure](each.before),
            shown[each.figure](each.after),
            two_digits(each.adjusted_p_value),
            "worse" if each.worse else "better",
        )
        for each in found.changes
        if each.significant
    ]
    told = f"{len(rows)} of {len(found.changes)} comparisons show a significant change"
    lines = [found.models, "", told if rows else f"No significant change in {len(found.changes)} comparisons"]
    if rows:
        lines += ["", table(rows, ("backend", "figure", "of", "first", "second", "p (Holm)", "second is"))]
    return "\n".join([*lines, *(["", *found.notes] if found.notes else [])])


@click.command("compare", cls=Command)
@click.argument("first", metavar="A.json", type=click.Path(path_type=Path))
@click.argument("second", metavar="B.json", type=click.Path(path_type=Path))
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Highest probability of any false alarm.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(min=0),
    default=0.02,
    show_default=True,
    help="Smallest relative change of a median latency that counts.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every comparison as JSON.")
def compare_command(first: Path, second: Path, alpha: float, threshold: float, as_json: bool) -> None:
    """Compare two reports: what changed by more than chance.

    Accuracy by McNemar's exact test on the same utterances, latency by Mann and Whitney's U test on the
    samples where the machines are the same and were idle otherwise; p-values are adjusted for all
    comparisons (Holm). The exit code is 1 if the second report is significantly worse in anything.

    \b
    Example:
      mtab-bench compare main/report.json branch/report.json
    """
    from mtab_bench.report import read_report
    from mtab_bench.sections.compare import compare

    before, after = read_report(first), read_report(second)
    try:
        found = compare(before, after, alpha, threshold)
    except DataError as error:
        raise DataError(f"{second}: {error} as in {first}") from None
    if as_json:
        changes = [{**asdict(each), "worse": each.worse} for each in found.changes]
        models = {"first": asdict(found.first), "second": asdict(found.second)}
        values = models | {"alpha": alpha, "threshold": threshold, "changes": changes, "notes": found.notes}
        click.echo(json.dumps(values, indent=2))
    else:
        click.echo(to_text(found))
    if worse := [each for each in found.changes if each.worse]:
        backends = ", ".join(f"{each.backend} ({each.figure}, {each.of})" for each in worse)
        raise MtabError(f"{second}: significantly worse than {first}: {backends}")
