"""What ``mtab-export`` makes of a bundle that there is: neither PyTorch nor what exports is needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from mtab.types import Precision
    from mtab_export.tensorrt import Flavor

TARGETS = ("triton", "web")
"""Of ``--target`` those that are made from a bundle."""

_OPTIONS = ("checkpoint", "bundle", "out", "dtypes", "fp16", "int8", "target", "overwrite")


def write_from_bundle(
    context: click.Context,
    target: str,
    checkpoint: Path | None,
    bundle: Path | None,
    out: Path | None,
    precisions: "Sequence[Precision]",
    flavor: "Flavor",
    overwrite: bool,
) -> None:
    """Write what ``target`` names to ``out``, from ``bundle`` or that of the run ``checkpoint``.

    Raises `click.UsageError` without ``out``, for two precisions, and for an option that only exporting a run
    has.
    """
    for parameter in context.command.params:
        name = str(parameter.name)
        # Triton runs engines of the one flavour.
        fits = name in _OPTIONS or (target, name, flavor) == ("triton", "flavor", "trt")
        if not fits and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{parameter.opts[0]} is for exporting a run, and not for --target {target}"
            )
    if out is None:
        raise click.UsageError(f"--target {target} needs --out, the folder to write")
    if bundle is not None and checkpoint is not None:
        raise click.UsageError("give one of --bundle and --checkpoint")

    if len(precisions) > 1:
        raise click.UsageError(f"{' and '.join(precisions)} for --target {target}, expected one precision")

    from mtab.bundle import open_bundle
    from mtab_serve.site import write_site
    from mtab_serve.triton.repository import write_repository
    from mtab_train.run import newest_run

    opened = open_bundle(bundle or (checkpoint or newest_run()) / "bundle")
    if target == "web":
        lines = write_site(opened, out, *precisions, overwrite=overwrite)
    else:
        tensorrt = flavor == "trt"
        lines = write_repository(opened, out, *precisions, tensorrt=tensorrt, overwrite=overwrite)
    for line in lines:
        click.echo(line)
