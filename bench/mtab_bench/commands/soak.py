"""``mtab-bench soak``."""

import json
from pathlib import Path

import click

from mtab.console import Command
from mtab.errors import MtabError
from mtab_bench.sections.soak import GROWTH, SETTLED, soak


@click.command("soak", cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--requests",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="Number of requests to send.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Number of threads that send requests at once.",
)
@click.option(
    "--device", default="auto", show_default=True, help="Device of the engine, as for mtab predict."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def soak_command(bundle: Path, requests: int, threads: int, device: str, as_json: bool) -> None:
    """Send a bundle many requests from many threads at once.

    Every answer is held against that of a single thread, to the last bit; resident memory after the first
    1,000 requests may grow by 2 %. The exit code is 1 if either fails.

    \b
    Example:
      mtab-bench soak runs/mine/bundle
    """
    from mtab.loading import load

    measured = soak(load(bundle, device), requests, threads)
    if as_json:
        click.echo(json.dumps(measured, indent=2))
    else:
        growth = measured["growth"]
        grown = "not known" if growth is None else f"{100 * growth:+.1f} %"
        click.echo(
            f"{requests:,} requests from {threads} threads in {measured['seconds']:.0f} s on "
            f"{measured['engine']} {measured['precision']}\nanswers unlike the single thread's: "
            f"{measured['wrong']:,}\nresident memory after the first {SETTLED:,} requests: {grown}"
        )
    if measured["wrong"]:
        raise MtabError(f"{bundle}: {measured['wrong']:,} of {requests:,} answers differ, expected none")
    if measured["growth"] is not None and measured["growth"] > GROWTH:
        found = f"memory grew by {100 * measured['growth']:.1f} %"
        raise MtabError(f"{bundle}: {found}, expected at most {100 * GROWTH:.0f} %")
