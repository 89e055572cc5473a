"""``mtab-bench latency``: how fast a bundle is on this machine, beside what one would use otherwise."""

import json
from pathlib import Path

import click

from mtab.console import Command
from mtab.options import threads_option
from mtab_bench.commands.options import (
    bundle_option,
    checkpoint_option,
    newest_bundle,
    out_option,
    overwrite_option,
    report_folder,
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
    help="Number of utterances in a batch; may be given again.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    default=(4.5,),
    show_default=True,
    help="Seconds of speech in each utterance; may be given again.",
)
@threads_option
@click.option(
    "--min-seconds",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="Shortest time to measure each engine on each case, in seconds.",
)
@click.option(
    "--engine",
    "engines",
    metavar="KEY",
    multiple=True,
    help="Engine to time beside PyTorch, such as onnxruntime-int8; may be given again.  [default: all]",
)
@click.option("--no-parts", is_flag=True, help="Time the whole model only, not its parts.")
@click.option(
    "--optimum",
    type=click.Path(path_type=Path),
    metavar="PYTHON",
    help="Python with optimum-onnx, to time the encoders as optimum exports them.",
)
@click.option(
    "--starts",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Number of starts to time for each engine, each in a new process; 0 times none.",
)
@out_option
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print the section as JSON.")
def latency_command(
    bundle: Path | None,
    checkpoint: Path | None,
    batch_sizes: tuple[int, ...],
    seconds: tuple[float, ...],
    threads: int | None,
    min_seconds: float,
    engines: tuple[str, ...],
    no_parts: bool,
    optimum: Path | None,
    starts: int,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure latency and throughput beside PyTorch and other baselines.

    Times the whole model and its parts on every engine that is here, beside PyTorch (eager, bf16, compiled)
    and ONNX Runtime on a plain export, all in turns; and the start of each in a new process. Adds the section
    "speed" to the report.

    \b
    Examples:
      mtab-bench latency
      mtab-bench latency --batch-size 1 --seconds 2 --seconds 10 --engine onnxruntime-int8
    """
    from mtab.bundle import open_bundle
    from mtab.machine import usable_cores
    from mtab_bench.render.text import to_text
    from mtab_bench.report import add_section, bundle_record, check_section, written
    from mtab_bench.sections.speed import Options, measure_speed

    bundle = bundle or newest_bundle()
    out = report_folder(out, bundle)
    opened = open_bundle(bundle)
    record = bundle_record(opened)
    # Before the minutes of measuring, not after them.
    check_section(out, record, "speed", overwrite)
    options = Options(
        batch_sizes=tuple(dict.fromkeys(batch_sizes)),
        seconds=tuple(dict.fromkeys(seconds)),
        threads=threads or usable_cores(),
        min_seconds=min_seconds,
        engines=engines,
        parts=not no_parts,
        optimum=optimum,
        starts=starts,
    )
    section = measure_speed(opened, checkpoint, options)
    report = add_section(out, "speed", section, record, overwrite)
    click.echo(json.dumps(section, indent=2) if as_json else to_text(report, "speed"))
    click.echo(f"\n{written(out)}", err=as_json)
