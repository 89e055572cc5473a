"""The tables of an evaluation's breakdowns."""

from collections.abc import Iterator

from mtab_bench.render.formats import count, percent
from mtab_bench.render.table import Column, Table, figure, rows_of
from mtab_bench.sections.breakdown import Breakdown, By, Estimate
from mtab_bench.sections.evaluation import Evaluation

MOST_ROWS = 12
"""Groups that a table shows; of more, those with the lowest WAR and those with the highest."""
_TITLES: dict[By, str] = {
    "all": "All utterances",
    "speaker": "By speaker",
    "gender": "By gender",
    "duration": "By duration",
    "snr": "By signal-to-noise ratio",
}
_NOTES: dict[By, str] = {
    "duration": " Terciles of the seconds of speech.",
    "snr": " Terciles of an estimate: the mean power over the 10th percentile of that of frames of 20 ms.",
}


def breakdown_tables(section: Evaluation) -> Iterator[Table]:
    """One for each breakdown; none for a section without."""
    for each in section.breakdowns:
        assert section.broken_down is not None
        yield _table(each, section.backends[section.broken_down].title)


def _table(breakdown: Breakdown, backend: str) -> Table:
    groups = breakdown.groups
    left = ""
    if len(groups) > MOST_ROWS:
        ordered = sorted(groups, key=lambda group: group.war.value)
        groups = (*ordered[: MOST_ROWS // 2], *ordered[-MOST_ROWS // 2 :])
        left = f" The lowest and the highest of {len(ordered)}; all are in the report's JSON."
    rows = [(each.name, figure(count, each.utterances), _cell(each.war), _cell(each.uar)) for each in groups]
    return Table(
        _TITLES[breakdown.by],
        (Column("group", words=True), Column("utterances"), Column("WAR"), Column("UAR")),
        rows_of(rows),
        f"{backend}, with the 95 % interval of a bootstrap over the utterances. UAR is over the classes that "
        f"a group has.{_NOTES.get(breakdown.by, '')}{left}",
    )


def _cell(estimate: Estimate) -> str:
    return f"{percent(estimate.value)} ({percent(estimate.low)} to {percent(estimate.high)})"
