"""``mtab serve``: bundles behind an address."""

import click

from mtab.console import Command


@click.command(cls=Command)
def serve() -> None:
    """Answer requests over HTTP."""
