"""``mtab-bench live``."""

import json
from pathlib import Path

import click

from mtab.config import to_dict
from mtab.console import Command
from mtab.errors import MtabError
from mtab.options import json_option, threads_option


@click.command("live", cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--streams", type=click.IntRange(min=1), default=20, show_default=True, help="Number of streams."
)
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=30.0,
    show_default=True,
    help="Seconds of a stream, give or take a tenth.",
)
@click.option("--window", type=float, default=4.0, show_default=True, help="Seconds that an update looks at.")
@click.option(
    "--hop", type=float, default=0.5, show_default=True, help="Seconds from one update to the next."
)
@click.option("--device", default="auto", show_default=True, help="Device to use, as for mtab listen.")
@threads_option
@json_option
def live_command(
    bundle: Path,
    streams: int,
    seconds: float,
    window: float,
    hop: float,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Stream synthetic speech in chunks of random sizes through a bundle.

    Measures how long an update takes from the chunk that completes its hop, and holds the answer at the end
    against that of mtab predict for the whole, to the last bit. The exit code is 1 if one differs.

    \b
    Example:
      mtab-bench live runs/mine/bundle
    """
    from mtab.loading import load
    from mtab_bench.sections.live import measure_live

    found = measure_live(load(bundle, device, threads=threads), streams, seconds, window, hop)
    if as_json:
        click.echo(json.dumps(to_dict(found), indent=2))
    else:
        click.echo(
            f"{streams} streams, {found.seconds:.0f} s of synthetic speech in chunks of random sizes\n"
            f"windows of {window:g} s, every {hop:g} s\n"
            f"delay of {found.updates:,} updates: median {1000 * found.p50:.1f} ms, 99 % within "
            f"{1000 * found.p99:.1f} ms, longest {1000 * found.longest:.1f} ms\n"
            f"real-time factor {found.real_time_factor:.4f}\n"
            f"answers at the end unlike predict's: {found.unlike} of {streams}"
        )
        if found.warning:
            click.echo(found.warning, err=True)
    if found.unlike:
        raise MtabError(f"{bundle}: {found.unlike} of {streams} answers differ from predict's, expected none")
