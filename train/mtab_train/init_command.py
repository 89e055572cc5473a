"""``mtab-train init``: a model that was never trained, to be exported and timed beforehand."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from mtab.console import Command
from mtab_train.config import PRESETS
from mtab_train.options import model_from, model_options, seed_option


@click.command(cls=Command)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folder to write.")
@model_options
@seed_option
@click.option("--overwrite", is_flag=True, help="Replace the run folder if it exists.")
def init(out: Path, seed: int | None, overwrite: bool, **values: Any) -> None:
    """Write a model with random weights, for timing and for trying an export.

    It has the size and the speed of a trained one and answers at random; every figure from it says so.

    \b
    Example:
      mtab-train init --preset base --out runs/base-random
    """
    from mtab_train.sentences import PLAIN
    from mtab_train.start import Start, untrained_run

    for name in ("audio_model", "text_model"):
        if values[name] is not None:
            raise click.UsageError(
                f"--{name.replace('_', '-')}: all weights are random here; see mtab-train fit"
            )
    train = dataclasses.replace(PRESETS[values["preset"]].train, seed=seed or 0)
    untrained_run(
        out, Start(model_from(values, random_weights=True), train, values["preset"]), PLAIN, overwrite
    )
    click.echo(f"untrained {values['preset']} model with random weights in {out}")
