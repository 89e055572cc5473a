"""``mtab serve``: bundles behind an address."""

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from mtab.console import Command
from mtab.options import batch_options, engine_options, limit_options, tuned_for_option
from mtab_serve.settings import (
    DRAIN,
    MAX_BODY,
    MAX_CONCURRENCY,
    MAX_QUEUE,
    READ_TIMEOUT,
    TOKEN,
    Settings,
    named_bundles,
    read_token,
    token_from_environment,
)

if TYPE_CHECKING:
    from mtab.types import Precision, TunedFor


@click.command(cls=Command)
@click.argument("bundles", metavar="[NAME=]BUNDLE...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen at; 0 is any that is free.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of processes, each with engines of its own.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"File with the token that requests must carry.  [default: the variable {TOKEN}]",
)
@engine_options
@tuned_for_option
@batch_options
@click.option(
    "--max-latency",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="Seconds that an utterance waits for others that are being read, once the engine is free.",
)
@limit_options
@click.option(
    "--max-body",
    type=click.IntRange(min=1),
    default=MAX_BODY,
    show_default=True,
    help="Largest body of a request, in bytes.",
)
@click.option(
    "--max-concurrency",
    type=click.IntRange(min=1),
    default=MAX_CONCURRENCY,
    show_default=True,
    help="Number of requests that a worker has in work at once; more are asked to come again.",
)
@click.option(
    "--max-queue",
    type=click.IntRange(min=1),
    default=MAX_QUEUE,
    show_default=True,
    help="Number of utterances without an answer, for each bundle of a worker.",
)
@click.option(
    "--read-timeout",
    type=click.FloatRange(0, min_open=True),
    default=READ_TIMEOUT,
    show_default=True,
    help="Seconds within which a request's body must be there.",
)
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=DRAIN,
    show_default=True,
    help="Seconds for which a worker that is to end still takes requests.",
)
def serve(
    bundles: tuple[str, ...],
    host: str,
    port: int,
    workers: int,
    token_file: Path | None,
    engine: str,
    device: str,
    precision: str,
    threads: int | None,
    tuned_for: "TunedFor",
    batch_size: int | None,
    batch_seconds: float,
    max_latency: float,
    max_seconds: float,
    max_characters: int,
    max_body: int,
    max_concurrency: int,
    max_queue: int,
    read_timeout: float,
    drain: float,
) -> None:
    """Answer requests for the emotion of utterances over HTTP.

    POST /v1/predict takes a clip and its transcript, as a form or as JSON, and answers what mtab predict
    --format json prints; /docs describes the rest. Requests that come at the same time are computed together.

    SIGTERM ends it once every request is answered. SIGHUP opens the bundles again in new workers, and ends
    each old one once its successor is ready.

    \b
    Examples:
      mtab serve bundle
      mtab serve bundle --for throughput
      mtab serve en=runs/en/bundle de=runs/de/bundle --workers 4
      MTAB_TOKEN=secret mtab serve bundle --host 0.0.0.0
      curl -F audio=@clip.wav -F text="I never said that!" http://127.0.0.1:8000/v1/predict
    """
    token = token_from_environment() if token_file is None else read_token(token_file)
    if token is None and not _is_loopback(host):
        raise click.UsageError(f"--host {host} is open to others, expected --token-file or {TOKEN} for it")
    if threads is None and workers > 1:
        from mtab.machine import usable_cores

        threads = max(1, usable_cores() // workers)
    settings = Settings(
        bundles=named_bundles(bundles),
        device=device,
        engine=engine,
        precision=cast("Precision | Literal['auto']", precision),
        threads=threads,
        tuned_for=tuned_for,
        batch_size=batch_size,
        batch_seconds=batch_seconds,
        max_latency=max_latency,
        max_seconds=max_seconds,
        max_characters=max_characters,
        max_body=max_body,
        max_concurrency=max_concurrency,
        max_queue=max_queue,
        read_timeout=read_timeout,
        drain=drain,
        token=token,
    )
    from mtab_serve.running import run

    run(settings, host, port, workers)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
