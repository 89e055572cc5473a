"""``mtab info``: what a bundle is, and what runs it here."""

import json
from pathlib import Path
from typing import Literal, cast

import click

from mtab.console import Command
from mtab.options import bundle_argument, engine_options, json_option, tuned_for_option
from mtab.types import Precision, TunedFor


@click.command(cls=Command)
@bundle_argument
@engine_options
@tuned_for_option
@json_option
def info(
    bundle: Path,
    engine: str,
    device: str,
    precision: str,
    threads: int | None,
    tuned_for: TunedFor,
    as_json: bool,
) -> None:
    """Show what BUNDLE holds, and what runs it on this machine.

    The engine is opened as it is for answers, so that what is shown is what you get.

    \b
    Examples:
      mtab info bundle
      mtab info bundle --device cpu --json
    """
    from mtab import info as description

    wanted = cast(Precision | Literal["auto"], precision)
    found = description.describe(bundle, device, engine, wanted, threads, tuned_for)
    click.echo(
        json.dumps(found, indent=2, ensure_ascii=False) if as_json else description.format_report(found)
    )
