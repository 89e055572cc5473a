"""``mtab-bench memory``."""

import dataclasses
import json
from pathlib import Path

import click

from mtab.console import Command
from mtab_bench.sections.memory import SECONDS, measure_memory


@click.command("memory", cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--engine", default="onnxruntime", show_default=True, help="As for mtab predict.")
@click.option("--precision", default="auto", show_default=True, help="As for mtab predict.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    multiple=True,
    default=SECONDS,
    show_default=True,
    help="Length of a clip; may be given again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def memory_command(
    bundle: Path, engine: str, precision: str, seconds: tuple[float, ...], as_json: bool
) -> None:
    """Measure memory and time by the length of a clip, each in a process of its own.

    Memory is the highest resident size while a clip of noise is answered, less that of the model after it has
    answered one of 1 s; time is that of the one answer.

    \b
    Example:
      mtab-bench memory runs/mine/bundle --engine openvino --seconds 30 --seconds 150
    """
    measured = []
    for each in seconds:
        found = measure_memory(bundle, engine, precision, each)
        measured.append(dataclasses.asdict(found))
        if not as_json:
            click.echo(f"{each:6g} s  {found.bytes / 1e6:8,.0f} MB  {found.time:8.2f} s")
    if as_json:
        click.echo(json.dumps(measured, indent=2))
