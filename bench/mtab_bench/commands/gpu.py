"""``mtab-bench gpu``: everything that the bench measures, on a machine with an RTX-class GPU, in one go."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtab.console import Command
from mtab.options import corpus_options, threads_option
from mtab_bench.commands.options import (
    bundle_option,
    checkpoint_option,
    newest_bundle,
    out_option,
    overwrite_option,
    report_folder,
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
    from mtab.bundle import open_bundle
    from mtab.errors import EngineError
    from mtab.machine import usable_cores
    from mtab_bench.reference import absent_engines
    from mtab_bench.render.text import to_text
    from mtab_bench.report import add_section, bundle_record, check_section, written
    from mtab_bench.sections.evaluation import evaluate
    from mtab_bench.sections.invariance import measure_invariance
    from mtab_bench.sections.speed import Options, measure_speed

    bundle = bundle or newest_bundle()
    out = report_folder(out, bundle)
    opened = open_bundle(bundle)
    names = ["evaluation", "speed", "invariance"][dataset is None :]
    for absent in absent_engines().values():
        raise EngineError(f"{absent['skipped']}: engines, {', '.join(names)} were skipped; see mtab doctor")
    record = bundle_record(opened)
    for name in names:
        check_section(out, record, name, overwrite)
    for line in build_missing(opened):
        click.echo(line)
    opened = open_bundle(bundle)
    record = bundle_record(opened)
    for name in names:
        section: dict[str, Any]
        if name == "evaluation":
            assert dataset is not None
            section = evaluate(opened, dataset, data_dir, checkpoint, threads, columns)
        elif name == "speed":
            section = measure_speed(opened, checkpoint, Options(threads=threads or usable_cores()))
        else:
            section = measure_invariance(
                opened, dataset, data_dir, checkpoint, threads=threads, columns=columns
            )
        click.echo(to_text(add_section(out, name, section, record, overwrite), name) + "\n")
    click.echo(written(out))


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
