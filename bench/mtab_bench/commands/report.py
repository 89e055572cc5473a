"""``mtab-bench report``."""

from pathlib import Path

import click

from mtab.console import Command


@click.command("report", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
def report_command(folder: Path) -> None:
    """Write the HTML and the Markdown of a report again from its report.json.

    \b
    Example:
      mtab-bench report reports/mine
    """
    from mtab_bench.report_folder import HTML, MARKDOWN, render_report

    render_report(folder)
    click.echo(f"Wrote {folder / HTML} and {MARKDOWN}")
