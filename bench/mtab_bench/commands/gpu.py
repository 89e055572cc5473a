"""``mtab-bench gpu``: everything that the bench measures, on a machine with an RTX-class GPU, in one go."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtab.console import Command
from mtab.options import corpus_options, threads_option
from mtab_bench.commands.options import (
    bundle_option,
    checkpoint_option,
    out_option,
    overwrite_option,
)

if TYPE_CHECKING:
    from mtab.bundle import Bundle


@click.command("gpu", cls=Command)
@corpus_options("Layout of the corpus.  [default: no accuracy]")
@bundle_option
@checkpoint_option
@threads_option
@out_option
@overwrite_option
def gpu_command(
    dataset: str | None,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    bundle: Path | None,
    checkpoint: Path | None,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Measure everything on a GPU: accuracy, speed and invariance.

    Builds the engines that the bundle lacks for this GPU, then measures like "mtab-bench --dataset",
    "mtab-bench latency" and "mtab-bench invariance". Without a GPU it says
    what it skips, and the exit code is 1.

    \b
    Example:
      mtab-bench gpu --dataset iemocap --bundle runs/mine/bundle
    """
    from mtab.errors import EngineError
    from mtab.machine import usable_cores
    from mtab_bench.commands.target import Target
    from mtab_bench.sections.evaluation import evaluate
    from mtab_bench.sections.invariance import measure_invariance
    from mtab_bench.sections.section import BackendEntry
    from mtab_bench.sections.speed import Options
    from mtab_bench.sections.speed_measuring import measure_speed

    names = ["evaluation", "speed", "invariance"][dataset is None :]
    target = Target.open(bundle, out, overwrite, *names)
    for absent in BackendEntry.absent().values():
        raise EngineError(f"{absent.skipped}: engines, {', '.join(names)} were skipped; see mtab doctor")
    for line in build_missing(target.bundle):
        click.echo(line)
    target = Target.open(target.bundle.folder, target.folder, overwrite, *names)
    # Each is written once it is measured: what is complete stays if a later one is interrupted.
    if dataset is not None:
        target.add(evaluate(target.bundle, dataset, data_dir, checkpoint, threads, columns))
    target.add(measure_speed(target.bundle, checkpoint, Options(threads=threads or usable_cores())))
    target.add(
        measure_invariance(target.bundle, dataset, data_dir, checkpoint, threads=threads, columns=columns)
    )


def build_missing(bundle: "Bundle", precisions: Sequence[str] = ("fp32", "fp16")) -> Iterator[str]:
    """Build TensorRT engines of the bundle's whole model for this machine's GPU, and say what was done.

    One that is there already is left alone, and so is a flavor of TensorRT that cannot build here.
    """
    from mtab.bundle import open_bundle
    from mtab.errors import EngineError
    from mtab_export.engines import EngineOptions, build_engines, chosen_graphs

    for flavor in ("rtx", "trt"):
        # The flavor before has written the manifest anew.
        current = open_bundle(bundle.folder)
        graphs = chosen_graphs(current, "fused", precisions)
        try:
            yield from build_engines(current, graphs, EngineOptions(flavor))
        except EngineError as error:
            yield f"no engines of flavor {flavor}: {error}"
