"""``mtab-bench profile``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtab.config import to_dict
from mtab.console import Command, table
from mtab.options import json_option, threads_option
from mtab_bench.commands.options import bundle_option

if TYPE_CHECKING:
    from mtab_bench.profiling import Profile
    from mtab_bench.rates import MachineRates

_LEAST = 0.01
"""Share of the time from which rows are printed each; ``--json`` has all."""


@click.command("profile", cls=Command)
@bundle_option
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="KEY",
    help="Backend to profile, such as onnxruntime-int8; may be given again.  [default: all on the CPU]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=4.5,
    show_default=True,
    help="Seconds of speech; tokens in proportion.",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Utterances in the batch."
)
@threads_option
@json_option
def profile_command(
    bundle: Path | None,
    backends: tuple[str, ...],
    seconds: float,
    batch_size: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Show where each engine's time goes: by part of the model and kind of operator.

    Times are the engine's own counters, the mean of several warm runs on speech-like noise of one length;
    operations are those of matrix products and convolutions, bytes what an operator reads and writes. The
    rate is held against the best at which this machine multiplies large matrices of the same numbers now.

    \b
    Examples:
      mtab-bench profile --bundle runs/mine/bundle
      mtab-bench profile --backend onnxruntime-fp32 --backend openvino-fp32 --seconds 8 --json
    """
    from mtab.bundle import open_bundle
    from mtab.errors import EngineError
    from mtab.loading import open_preprocessor
    from mtab.machine import OtherLoad, usable_cores
    from mtab_bench.backends import bundle_backends
    from mtab_bench.cases import make_cases
    from mtab_bench.commands.target import newest_bundle
    from mtab_bench.profiling import profile_backend
    from mtab_bench.rates import measure_rates

    opened = open_bundle(bundle or newest_bundle())
    cores = threads or usable_cores()
    every = {each.key: each for each in bundle_backends(opened, cores) if each.device == "cpu"}
    for key in backends:
        if key not in every:
            raise click.UsageError(f"--backend {key}: expected {', '.join(every)}")
    (case,) = make_cases(open_preprocessor(opened), [batch_size], [seconds])
    found: list[Profile] = []
    with OtherLoad() as beside:
        rates = measure_rates(cores)
        for key in backends or every:
            try:
                found.append(profile_backend(opened, every[key], case.inputs))
            except EngineError as error:
                if backends:
                    raise
                click.echo(f"Skipped: {every[key].title}: {error}", err=True)
    if beside.warning:
        click.echo(beside.warning, err=True)
    if as_json:
        values: dict[str, Any] = {"seconds": seconds, "tokens": case.tokens, "batch_size": batch_size}
        values["rates"] = to_dict(rates)
        values["backends"] = [to_dict(each) for each in found]
        click.echo(json.dumps(values, indent=2))
        return
    best = ", ".join(f"{each.value:.0f} in {name}" for name, each in rates.matrix.items())
    click.echo(
        f"{batch_size} x {seconds:g} s, {case.tokens} tokens, {cores} threads; large matrices at best, in "
        f"GFLOP/s: {best}"
    )
    for each in found:
        click.echo(f"\n{format_profile(each, rates)}")


def format_profile(profile: "Profile", rates: "MachineRates") -> str:
    """A sentence, and the rows that take time, each with its rate."""
    counted, whole = profile.counted, profile.gflop / profile.milliseconds * 1000
    share = rates.matrix_share(profile.precision, profile.gflop, profile.milliseconds / 1000)
    shown = [row for row in profile.rows if row.milliseconds >= _LEAST * counted]
    rest = profile.rows[len(shown) :]
    rows = [
        (
            row.part,
            row.kind,
            f"{row.operators:g}",
            f"{row.milliseconds:.2f}",
            f"{row.milliseconds / counted:.1%}",
            f"{row.gflop:.3g}" if row.gflop else "-",
            f"{1000 * row.gflop / row.milliseconds:.0f}" if row.gflop else "-",
            "-" if row.bytes is None else f"{row.bytes / 1e6:.2f}",
        )
        for row in shown
    ]
    if rest:
        count, milliseconds = sum(row.operators for row in rest), sum(row.milliseconds for row in rest)
        figures = (f"{count:g}", f"{milliseconds:.2f}", f"{milliseconds / counted:.1%}")
        rows.append((f"{len(rest)} more", "", *figures, "", "", ""))
    header = ("part", "kind", "operators", "ms", "share", "GFLOP", "GFLOP/s", "MB")
    rate = f"{share:.0%} of the rate in {rates.arithmetic(profile.precision)}"
    speed = f"{profile.gflop:.3g} GFLOP at {whole:.0f} GFLOP/s ({rate})"
    said = f"{profile.backend}: {profile.milliseconds:.2f} ms, {speed}; operators {counted:.2f} ms"
    return f"{said} by its counters\n{table(rows, header)}"
