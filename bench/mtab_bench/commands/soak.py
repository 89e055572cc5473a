"""``mtab-bench soak``."""

import json
from pathlib import Path

import click

from mtab.config import to_dict
from mtab.console import Command
from mtab.errors import MtabError
from mtab.options import json_option
from mtab_bench.sections.soak import GROWTH, SETTLED, soak


@click.command("soak", cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--requests",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="Number of requests in all.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Number of threads that ask at once.",
)
@click.option("--device", default="auto", show_default=True, help="Device to use, as for mtab predict.")
@json_option
def soak_command(bundle: Path, requests: int, threads: int, device: str, as_json: bool) -> None:
    """Send a bundle many requests from many threads at once.

    Every second request has a length that comes once. Answers are held against those of a single thread, to
    the last bit; resident memory after the first
    1,000 requests may grow by 2 %. The exit code is 1 if either fails.

    \b
    Example:
      mtab-bench soak runs/mine/bundle
    """
    from mtab.loading import load

    found = soak(load(bundle, device), requests, threads)
    if as_json:
        click.echo(json.dumps(to_dict(found), indent=2))
    else:
        grown = "not known" if found.growth is None else f"{100 * found.growth:+.1f} %"
        click.echo(
            f"{requests:,} requests from {threads} threads in {found.seconds:.0f} s on {found.engine} "
            f"{found.precision}, every second one of a new length\n"
            f"answers unlike the single thread's: {found.wrong:,} of {found.checked:,} compared\n"
            f"resident memory after the first {SETTLED:,} requests: {grown}"
        )
    if found.wrong:
        raise MtabError(f"{bundle}: {found.wrong:,} of {found.checked:,} answers differ, expected none")
    if found.growth is not None and found.growth > GROWTH:
        told = f"memory grew by {100 * found.growth:.1f} %"
        raise MtabError(f"{bundle}: {told}, expected at most {100 * GROWTH:.0f} %")
