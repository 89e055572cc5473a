"""``mtab doctor``: what this machine can run."""

import json

import click

from mtab.console import Command
from mtab.options import json_option


@click.command(cls=Command)
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check what this machine can run, with a fix for each gap.

    Everything is tried: ONNX Runtime runs a graph, libraries are loaded, and the GPU is asked. The exit
    code is 0 if a bundle can be run here, on the CPU at least, and 1 if not.

    \b
    Examples:
      mtab doctor
      mtab doctor --json > machine.json
    """
    from mtab.config import to_dict
    from mtab.doctor.report import examine, format_report

    report = examine()
    click.echo(
        json.dumps(to_dict(report), indent=2, ensure_ascii=False) if as_json else format_report(report)
    )
    context.exit(0 if report.can_run else 1)
