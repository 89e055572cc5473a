"""``mtab-bench serve``."""

import json
from pathlib import Path

import click

from mtab.config import to_dict
from mtab.console import Command, table
from mtab.errors import MtabError
from mtab.options import corpus_options, json_option, require_dataset, threads_option, tuned_for_option
from mtab.types import TunedFor


@click.command("serve", cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@corpus_options("Layout of a corpus whose durations and transcripts are asked.  [default: 1 to 4 s]")
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=10.0,
    show_default=True,
    help="Seconds of load at each number of clients.",
)
@click.option(
    "--clients",
    type=click.IntRange(min=1),
    multiple=True,
    help="Number of clients that ask at once; may be given again.  [default: 1, 2, 4, ... 64]",
)
@click.option(
    "--requests",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Number of requests of a long run, in which every answer is compared and memory is watched.",
)
@threads_option
@tuned_for_option
@json_option
def serve_command(
    bundle: Path,
    dataset: str | None,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    seconds: float,
    clients: tuple[int, ...],
    requests: int,
    threads: int | None,
    tuned_for: TunedFor,
    as_json: bool,
) -> None:
    """Put mtab serve with a bundle under load.

    Needs wrk, which makes the load on this machine. Servers take turns: as it is, one whose batches are
    whoever waits, padded, and one without batches; with --for throughput also as it is for latency, and
    untuned. No clip of a corpus is opened: its durations are those of noise. The exit code is 1 if a request
    is lost or, in the long run, an answer is not predict's or memory grows by more than 2 %.

    \b
    Example:
      mtab-bench serve runs/mine/bundle
      mtab-bench serve runs/mine/bundle --for throughput --clients 64
      mtab-bench serve runs/mine/bundle --dataset meld --data-dir MELD.Raw
      mtab-bench serve runs/mine/bundle --clients 32 --requests 50000
    """
    require_dataset(dataset, data_dir, columns)

    from mtab.data import read_corpus
    from mtab.loading import load
    from mtab_bench.sections.serving import BESIDE, CONCURRENCY, measure_serving
    from mtab_bench.sections.soak import GROWTH

    model = load(bundle, threads=threads, tuned_for=tuned_for)
    corpus = None if dataset is None else read_corpus(dataset, data_dir, columns).utterances
    levels = clients or CONCURRENCY
    found = measure_serving(model, seconds, requests, threads, levels, tuned_for, corpus)
    if as_json:
        click.echo(json.dumps(to_dict(found), indent=2))
    else:
        rows = [
            (
                each.concurrency,
                f"{each.requests_per_second:.1f}",
                *(f"{each.gain(over):.2f}" for over in BESIDE[tuned_for]),
                f"{1000 * each.p50:.1f} ms",
                f"{1000 * each.p99:.1f} ms",
                f"{each.batch:.1f}",
            )
            for each in found.levels
        ]
        gains = (f"times {over}" for over in BESIDE[tuned_for])
        click.echo(table(rows, ("clients", "requests/s", *gains, "p50", "p99", "batch")))
        click.echo(f"predict in a process, {found.engine}: {1000 * found.predict:.1f} ms (median)")
        if found.long is not None:
            grown = "not known" if found.long.growth is None else f"{100 * found.long.growth:+.1f} %"
            click.echo(
                f"{found.long.requests:,} requests from {found.long.clients} clients in "
                f"{found.long.seconds:.0f} s: {found.long.lost} lost, {found.long.wrong} unlike predict's; "
                f"memory {grown}"
            )
    failed = sum(each.failed for each in found.levels)
    if found.long is not None:
        failed += found.long.lost + found.long.wrong
        if found.long.growth is not None and found.long.growth > GROWTH:
            told = f"memory grew by {100 * found.long.growth:.1f} %"
            raise MtabError(f"{bundle}: {told}, expected at most {100 * GROWTH:.0f} %")
    if failed:
        raise MtabError(f"{bundle}: {failed} requests without predict's answer, expected none")
