"""The command ``mtab-export``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtab import __version__
from mtab.options import corpus_options
from mtab.progress import say
from mtab_export.from_bundle import TARGETS, write_from_bundle
from mtab_export.inspect_command import inspect
from mtab_export.sections import SectionedGroup
from mtab_export.verify_command import verify

if TYPE_CHECKING:
    from mtab.types import Precision
    from mtab_export.options import Options
    from mtab_export.tensorrt import Flavor
    from mtab_train.run import Run

DTYPES = ("fp32", "fp16", "bf16", "int8")

SECTIONS = {
    "Comparing with PyTorch": (
        *("device", "dataset", "data_dir", "columns", "utterances", "batch_size", "atol"),
        *("dimensions_atol", "min_agreement"),
    ),
    "Lower precisions": ("fp32_nodes", "auto_islands", "reduce_range", "calibration_data"),
    "TensorRT, and ONNX Runtime's TensorRT providers": (
        *("flavor", "sm", "min_shapes", "opt_shapes", "max_shapes", "workspace", "refit", "strip_weights"),
    ),
}


@click.group(
    cls=SectionedGroup,
    sections=SECTIONS,
    extra="export",
    invoke_without_command=True,
    subcommand_metavar="[COMMAND]",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run folder to export.  [default: the run below runs/ that ended last]",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Bundle to take, for --target triton and web.  [default: RUN/bundle]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the bundle, of Triton's model repository, or of the page.  [default: RUN/bundle]",
)
@click.option(
    "--parts",
    type=click.Choice(["fused", "split", "all"]),
    default="fused",
    show_default=True,
    help="Graphs to export: fused is the whole model in one; split is audio_encoder, text_encoder, cme and "
    "tab_head; all is both.",
)
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(DTYPES),
    multiple=True,
    help="Precision of the graphs, and no other; may be given again.  [default: fp32]",
)
@click.option("--fp16", is_flag=True, help="Also write fp16; a new bundle without --dtype gets fp32 too.")
@click.option("--int8", is_flag=True, help="Also write int8; a new bundle without --dtype gets fp32 too.")
@click.option(
    "--target",
    type=click.Choice(["onnx", "tensorrt", "ort-trt", *TARGETS]),
    default="onnx",
    show_default=True,
    help="What to make: ONNX graphs; also TensorRT engines of them; or also options for ONNX Runtime's "
    "TensorRT providers; or, from a bundle that there is, a model repository for Triton, or "
    "a page that answers in the browser.",
)
@click.option(
    "--opset", type=click.IntRange(18, 22), help="ONNX opset of the graphs.  [default: 18; 22 for bf16]"
)
@click.option(
    "--unfinished", is_flag=True, help="Export the best epoch so far of a run whose training has not ended."
)
@click.option("--overwrite", is_flag=True, help="Replace the bundle; without it, graphs are added.")
@click.option(
    "--device", default="cpu", show_default=True, help="Device on which graphs are compared with PyTorch."
)
@corpus_options(
    "Layout of another corpus to compare on.  [default: the test part that the run was scored on]"
)
@click.option(
    "--utterances",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Number of utterances to compare on, unbatched and in mixed batches.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    help="Batch size of the comparisons.",
)
@click.option(
    "--atol",
    type=click.FloatRange(0, min_open=True),
    help="Largest difference of a probability that is accepted.  "
    "[default: fp32 1e-5, fp16 2e-3, bf16 and int8 2e-2]",
)
@click.option(
    "--dimensions-atol",
    type=click.FloatRange(0, min_open=True),
    help="Largest difference of a dimension that is accepted, in standard deviations of its ratings in "
    "training.  [default: fp32 1e-4, fp16 1e-2, bf16 and int8 5e-2]",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    help="Least share of labels kept; as many more, and at least one, may change where PyTorch's two "
    "likeliest classes are a near tie.  [default: fp32 1, fp16 0.995, bf16 and int8 0.99]",
)
@click.option(
    "--fp32-nodes",
    metavar="PATTERN",
    multiple=True,
    help="Nodes to keep in float32, by a pattern of their names such as '*.encoder.layers.3.*'; may be given "
    "again.",
)
@click.option(
    "--auto-islands",
    is_flag=True,
    help="Find the nodes to keep in float32 until a graph is within its budget.",
)
@click.option(
    "--reduce-range/--no-reduce-range",
    default=None,
    help="Whether int8 weights have 7 bits, on which no x86 processor saturates.  "
    "[default: as this one needs]",
)
@click.option(
    "--calibration-data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Corpus of the run's layout from which int8 for TensorRT takes its ranges.  "
    "[default: what the run was trained on]",
)
@click.option(
    "--flavor",
    type=click.Choice(["rtx", "trt"]),
    default="rtx",
    show_default=True,
    help="TensorRT to build with: rtx is TensorRT-RTX and needs no GPU; trt builds for this machine's GPU. "
    "With --target triton, trt serves the bundle's engines in the graph's place.",
)
@click.option(
    "--sm",
    metavar="LIST",
    help="Compute capabilities to build engines for, such as 86,89,120.  [default: this machine's GPU]",
)
@click.option(
    "--min-shapes",
    "--minShapes",
    metavar="SHAPES",
    help="Smallest shapes of an engine, such as input_values:1x400,audio_lengths:1.",
)
@click.option(
    "--opt-shapes",
    "--optShapes",
    metavar="SHAPES",
    help="Shapes that an engine is tuned for.  [default: one of 4 s, 16 tokens]",
)
@click.option(
    "--max-shapes",
    "--maxShapes",
    metavar="SHAPES",
    help="Largest shapes of an engine.  [default: 8 of 30 s, 128 tokens]",
)
@click.option(
    "--workspace",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Memory that TensorRT may use to build.  [default: no limit]",
)
@click.option("--refit", is_flag=True, help="Build engines whose weights can be replaced. It needs a GPU.")
@click.option("--strip-weights", is_flag=True, help="Build engines without weights. It needs a GPU.")
@click.version_option(__version__, prog_name="mtab-export")
@click.pass_context
def main(
    context: click.Context,
    checkpoint: Path | None,
    bundle: Path | None,
    out: Path | None,
    parts: str,
    dtypes: "tuple[Precision, ...]",
    fp16: bool,
    int8: bool,
    target: str,
    opset: int | None,
    device: str,
    dataset: str | None,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    utterances: int,
    batch_size: int,
    atol: float | None,
    dimensions_atol: float | None,
    min_agreement: float | None,
    fp32_nodes: tuple[str, ...],
    auto_islands: bool,
    reduce_range: bool | None,
    calibration_data: Path | None,
    flavor: "Flavor",
    sm: str | None,
    min_shapes: str | None,
    opt_shapes: str | None,
    max_shapes: str | None,
    workspace: int | None,
    refit: bool,
    strip_weights: bool,
    unfinished: bool,
    overwrite: bool,
) -> None:
    """Export a trained model to a bundle of ONNX graphs for the torch-free runtime.

    Every graph is compared with PyTorch on utterances of the corpus, unbatched and in mixed batches. One that
    answers differently is left out, with a report of where its error comes from, and the exit code is 1. A
    bundle of the same checkpoint gets the graphs beside those that it has.

    \b
    Examples:
      mtab-export
      mtab-export --fp16 --int8
      mtab-export --parts all --dtype fp32 --dtype fp16 --out bundle
      mtab-export --fp16 --target tensorrt --sm 86,89,120
      mtab-export --target triton --bundle bundle --out models
    """
    if context.invoked_subcommand is not None:
        return
    asked: list[Precision] = [*dtypes]
    if fp16:
        asked.append("fp16")
    if int8:
        asked.append("int8")
    asked = list(dict.fromkeys(asked))
    if target in TARGETS:
        write_from_bundle(context, target, checkpoint, bundle, out, asked, flavor, overwrite)
        return
    if bundle is not None:
        raise click.UsageError(f"--bundle needs --target {' or '.join(TARGETS)}, got {target}")

    from mtab.graphs import BUDGETS, Budget
    from mtab_export.exporter import with_base
    from mtab_export.options import Options
    from mtab_train.run import newest_run, open_run

    # TensorRT's int8 has fixed ranges.
    int8_name: Precision = "int8" if target == "onnx" else "int8-static"
    named: list[Precision] = [int8_name if dtype == "int8" else dtype for dtype in asked]
    options = Options(
        parts=parts,
        precisions=tuple(named) or ("fp32",),
        opset=opset,
        budgets={
            precision: Budget(
                usual.max_difference if atol is None else atol,
                usual.min_agreement if min_agreement is None else min_agreement,
                usual.max_dimension_difference if dimensions_atol is None else dimensions_atol,
            )
            for precision, usual in BUDGETS.items()
        },
        utterances=utterances,
        batch_size=batch_size,
        device=device,
        fp32_nodes=fp32_nodes,
        auto_islands=auto_islands,
        reduce_range=reduce_range,
        unfinished=unfinished,
    )
    run = open_run(checkpoint or newest_run())
    out = out or run.folder / "bundle"
    wanted = options if dtypes else with_base(run, out, options, overwrite)
    if target == "onnx":
        export(run, out, wanted, dataset, data_dir, columns, calibration_data, overwrite)
        return
    from mtab.bundle import open_bundle
    from mtab_export.engines import EngineOptions, build_engines, chosen_graphs, write_ort_options
    from mtab_export.exporter import without_existing

    capabilities = tuple(sm.split(",")) if sm else ()
    built = workspace, refit, strip_weights, run.model.samples_per_frame
    engines = EngineOptions(flavor, capabilities, min_shapes, opt_shapes, max_shapes, *built)
    if target == "tensorrt":
        # Before the minutes of exporting, not after them.
        engines.check()
    if left := without_existing(run, out, wanted, overwrite):
        export(run, out, left, dataset, data_dir, columns, calibration_data, overwrite)
    opened = open_bundle(out)
    graphs = chosen_graphs(opened, options.parts, options.precisions)
    make = build_engines if target == "tensorrt" else write_ort_options
    for line in make(opened, graphs, engines):
        say(line)


def export(
    run: "Run",
    out: Path,
    options: "Options",
    dataset: str | None,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    calibration_data: Path | None,
    overwrite: bool,
) -> None:
    """Export graphs, print what was measured, and exit with 1 if one is over its budget."""
    from mtab_export.exporter import GateError, export_bundle
    from mtab_export.tables import format_outcomes, format_reasons
    from mtab_export.utterances import utterances_to_calibrate, utterances_to_compare

    corpus, chosen = utterances_to_compare(run, dataset, data_dir, columns)
    ranges = ()
    if "int8-static" in options.precisions:
        ranges = utterances_to_calibrate(run, calibration_data, data_dir, columns)
    click.echo(f"Exporting {run.folder} ({run.config.title}) to {out}")
    try:
        done = export_bundle(run, out, corpus, chosen, options, ranges, overwrite)
    except GateError as error:
        for line in format_outcomes(error.outcomes):
            click.echo(line)
        raise
    for line in format_outcomes(done.outcomes):
        click.echo(line)
    refused = [f"{outcome.part} {outcome.precision}" for outcome in done.outcomes if not outcome.passed]
    if done.reasons is not None:
        for line in format_reasons(done.reasons):
            click.echo(line)
        refused += [done.reasons.entry.file] if done.reasons.failures else []
    if refused:
        names = ", ".join(refused)
        raise click.ClickException(f"over budget and left out: {names}; the rest is in {out}")


main.add_command(inspect)
main.add_command(verify)

if __name__ == "__main__":
    main()
