"""``mtab-bench latency``: how fast a bundle is on this machine, beside what one would use otherwise."""

from pathlib import Path

import click

from mtab.console import Command
from mtab.machine import usable_cores
from mtab.options import json_option, threads_option
from mtab_bench.commands.options import (
    bundle_option,
    checkpoint_option,
    out_option,
    overwrite_option,
)


@click.command("latency", cls=Command)
@bundle_option
@checkpoint_option
@click.option(
    "--batch-size",
    "batch_sizes",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 8),
    show_default=True,
    help="Number of utterances at once; may be given again.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    default=(4.5,),
    show_default=True,
    help="Seconds of speech in each utterance, about; may be given again.",
)
@threads_option
@click.option(
    "--min-seconds",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="Seconds that each backend works on each case while the clock runs.",
)
@click.option(
    "--engine",
    "backends",
    metavar="KEY",
    multiple=True,
    help="Backend to measure beside PyTorch, such as onnxruntime-int8; may be given again.",
)
@click.option("--no-parts", is_flag=True, help="Measure the whole model, and not its parts.")
@click.option(
    "--optimum",
    type=click.Path(path_type=Path),
    metavar="PYTHON",
    help="Python with optimum-onnx, to time the encoders as it exports them.",
)
@click.option(
    "--starts",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Number of new processes for each backend, to its first answer, after one that fills the caches.",
)
@out_option
@overwrite_option
@json_option
def latency_command(
    bundle: Path | None,
    checkpoint: Path | None,
    batch_sizes: tuple[int, ...],
    seconds: tuple[float, ...],
    threads: int | None,
    min_seconds: float,
    backends: tuple[str, ...],
    no_parts: bool,
    optimum: Path | None,
    starts: int,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure latency and throughput beside PyTorch and other baselines.

    Times the whole model and its parts on every engine that is here, beside PyTorch (eager, bf16, compiled)
    and ONNX Runtime and OpenVINO on a plain export, interleaved and on ever new lengths; and the start of
    each in a new process. Adds the section "speed" to the report; Ctrl-C keeps the cases that are complete.

    \b
    Examples:
      mtab-bench latency
      mtab-bench latency --batch-size 1 --seconds 2 --seconds 10 --engine onnxruntime-int8
    """
    from mtab_bench.commands.target import Target
    from mtab_bench.sections.speed import Options
    from mtab_bench.sections.speed_measuring import measure_speed

    target = Target.open(bundle, out, overwrite, "speed")
    options = Options(
        batch_sizes=tuple(dict.fromkeys(batch_sizes)),
        seconds=tuple(dict.fromkeys(seconds)),
        threads=threads or usable_cores(),
        min_seconds=min_seconds,
        backends=backends,
        parts=not no_parts,
        optimum=optimum,
        starts=starts,
    )
    target.add(measure_speed(target.bundle, checkpoint, options), as_json)
