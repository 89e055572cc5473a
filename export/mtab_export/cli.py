"""The command ``mtab-export``."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtab import __version__
from mtab.console import Command, Group, table
from mtab.options import bundle_argument, corpus_options
from mtab_export.inspection import inspect

if TYPE_CHECKING:
    from mtab.types import Precision
    from mtab_export.exporter import Options, Outcome
    from mtab_export.gate import Verdict
    from mtab_export.tensorrt import Flavor
    from mtab_train.run import Run

DTYPES = ("fp32", "fp16", "bf16", "int8")
HEADER = (
    *("part", "precision", "MB", "seconds"),
    *("alone", "batched", "invariance", "logits", "labels kept", "WAR change", "verdict"),
)


@click.group(cls=Group, extra="export", invoke_without_command=True, subcommand_metavar="[COMMAND]")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run folder to export.  [default: the run below runs/ that ended last]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the bundle.  [default: RUN/bundle]")
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
    help="Precision of the graphs; may be given again.  [default: fp32]",
)
@click.option("--fp16", is_flag=True, help="Same as --dtype fp16.")
@click.option("--int8", is_flag=True, help="Same as --dtype int8.")
@click.option(
    "--target",
    type=click.Choice(["onnx", "tensorrt", "ort-trt"]),
    default="onnx",
    show_default=True,
    help="What to make: ONNX graphs; also TensorRT engines of them; or also options for ONNX Runtime's "
    "TensorRT providers.",
)
@click.option(
    "--opset", type=click.IntRange(18, 22), help="ONNX opset of the graphs.  [default: 18; 22 for bf16]"
)
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
    "--min-agreement",
    type=click.FloatRange(0, 1),
    help="Smallest share of labels that have to stay the same.  "
    "[default: fp32 1, fp16 0.995, bf16 and int8 0.99]",
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
    help="TensorRT to build with: rtx is TensorRT-RTX and needs no GPU; trt builds for this machine's GPU.",
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
@click.option("--overwrite", is_flag=True, help="Replace the bundle; without it, graphs are added.")
@click.version_option(__version__, prog_name="mtab-export")
@click.pass_context
def main(
    context: click.Context,
    checkpoint: Path | None,
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
    overwrite: bool,
) -> None:
    """Export a trained model to a bundle of ONNX graphs for the torch-free runtime.

    Every graph is compared with PyTorch on utterances of the corpus, alone and in mixed batches. One that
    answers differently is left out, with a report of where its error comes from, and the exit code is 1. A
    bundle of the same checkpoint gets the graphs beside those that it has.

    \b
    Examples:
      mtab-export
      mtab-export --fp16 --int8
      mtab-export --parts all --dtype fp32 --dtype fp16 --out bundle
      mtab-export --fp16 --target tensorrt --sm 86,89,120
    """
    if context.invoked_subcommand is not None:
        return

    from mtab.graphs import BUDGETS, Budget
    from mtab_export.exporter import Options
    from mtab_train.run import newest_run, open_run

    # TensorRT's int8 has fixed ranges.
    int8_name: Precision = "int8" if target == "onnx" else "int8-static"
    asked: list[Precision] = [int8_name if dtype == "int8" else dtype for dtype in dtypes]
    if fp16:
        asked.append("fp16")
    if int8:
        asked.append(int8_name)
    options = Options(
        parts=parts,
        precisions=tuple(dict.fromkeys(asked)) or ("fp32",),
        opset=opset,
        budgets={
            precision: Budget(
                usual.max_difference if atol is None else atol,
                usual.min_agreement if min_agreement is None else min_agreement,
            )
            for precision, usual in BUDGETS.items()
        },
        utterances=utterances,
        batch_size=batch_size,
        device=device,
        fp32_nodes=fp32_nodes,
        auto_islands=auto_islands,
        reduce_range=reduce_range,
    )
    run = open_run(checkpoint or newest_run())
    out = out or run.folder / "bundle"
    if target == "onnx":
        export(run, out, options, dataset, data_dir, columns, calibration_data, overwrite)
        return
    from mtab.bundle import open_bundle
    from mtab_export.engines import EngineOptions, build_engines, chosen_graphs, write_ort_options
    from mtab_export.exporter import without_existing

    capabilities = tuple(sm.split(",")) if sm else ()
    strides = (run.model.audio_config or {}).get("conv_stride", (320,))
    built = workspace, refit, strip_weights, math.prod(strides)
    wanted = EngineOptions(flavor, capabilities, min_shapes, opt_shapes, max_shapes, *built)
    if target == "tensorrt":
        # Before the minutes of exporting, not after them.
        wanted.check()
    if left := without_existing(run, out, options, overwrite):
        export(run, out, left, dataset, data_dir, columns, calibration_data, overwrite)
    bundle = open_bundle(out)
    graphs = chosen_graphs(bundle, options.parts, options.precisions)
    make = build_engines if target == "tensorrt" else write_ort_options
    for line in make(bundle, graphs, wanted):
        click.echo(line)


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
    from mtab_export.exporter import GateError, export_bundle, utterances_to_calibrate, utterances_to_compare

    corpus, chosen = utterances_to_compare(run, dataset, data_dir, columns)
    ranges = ()
    if "int8-static" in options.precisions:
        ranges = utterances_to_calibrate(run, calibration_data, data_dir, columns)
    click.echo(f"Exporting {run.folder} ({run.config.title}) to {out}")
    try:
        outcomes = export_bundle(run, out, corpus, chosen, options, ranges, overwrite).outcomes
    except GateError as error:
        show(error.outcomes)
        raise
    show(outcomes)
    if refused := [outcome for outcome in outcomes if not outcome.passed]:
        names = ", ".join(f"{outcome.part} {outcome.precision}" for outcome in refused)
        raise click.ClickException(f"over budget and left out: {names}; the rest is in {out}")


def show(outcomes: "Sequence[Outcome]") -> None:
    """Print what was measured of every graph, and where the error of a refused one comes from."""
    first = outcomes[0].verdict.certificate
    click.echo(f"Against PyTorch on {first.utterances} utterances of {first.corpus}:")
    rows = []
    for outcome in outcomes:
        place = f"{outcome.size / 1e6:.1f}", f"{outcome.seconds:.0f}"
        rows.append((outcome.part, outcome.precision, *place, *measured(outcome.verdict)))
    click.echo(table(rows, HEADER))
    for outcome in outcomes:
        for failure in outcome.verdict.failures:
            click.echo(f"{outcome.part} {outcome.precision}: {failure}")
        if outcome.culprits:
            rows = [
                (
                    culprit.layer or "(the model itself)",
                    culprit.node.rpartition("/")[2],
                    "overflow" if math.isinf(culprit.error) else f"{culprit.error:.1e}",
                    "-" if culprit.largest is None else f"{culprit.largest:.3g}",
                    f"--fp32-nodes '{culprit.pattern}'",
                )
                for culprit in outcome.culprits
            ]
            header = ("its error enters in", "first node", "adds", "largest number", "what cures it")
            click.echo(table(rows, header))
        if outcome.fp32_nodes:
            click.echo(f"{outcome.part} {outcome.precision}: in float32 are {' '.join(outcome.fp32_nodes)}")


def measured(verdict: "Verdict") -> tuple[str, ...]:
    """The columns of a table that say what was measured."""
    certificate = verdict.certificate
    accuracy = certificate.accuracy
    ties = f", near-ties: {count}" if (count := len(certificate.near_ties)) else ""
    return (
        f"{certificate.max_probability_difference:.1e}",
        f"{certificate.max_batched_difference:.1e}",
        f"{certificate.max_invariance_difference:.1e}",
        f"{certificate.relative_logits_difference:.1e}",
        f"{certificate.label_agreement:.2%}",
        "-" if accuracy is None else f"{accuracy.war.change:+.3f}",
        "over budget" if verdict.failures else f"passed{ties}",
    )


@click.command(cls=Command)
@bundle_argument
@corpus_options("Layout of another corpus to compare on.  [default: the utterances of the certificates]")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run that was exported.  [default: the folder that the bundle lies in]",
)
@click.option(
    "--device", default="cpu", show_default=True, help="Device on which graphs are compared with PyTorch."
)
def verify(
    bundle: Path,
    dataset: str | None,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    checkpoint: Path | None,
    device: str,
) -> None:
    """Check a bundle's hashes, and measure its certificates again on this machine.

    Against PyTorch where it and the checkpoint are here, else against the answers that the bundle stores.
    Exits with 1 if a file was changed or a graph is over its budget.
    """
    from mtab.bundle import open_bundle
    from mtab_export.verify import verify_bundle

    opened = open_bundle(bundle)
    click.echo(f"{bundle}: {len(opened.manifest.files)} files are as they were written")
    reference, checks = verify_bundle(opened, dataset, data_dir, checkpoint, device, columns)
    click.echo(f"Against {reference}")
    rows, failures = [], []
    for check in checks:
        if check.verdict is None:
            click.echo(f"{check.part} {check.precision}: not checked, {check.skipped}")
            continue
        rows.append((check.part, check.precision, *measured(check.verdict)))
        failures += [f"{check.part} {check.precision}: {failure}" for failure in check.verdict.failures]
    click.echo(table(rows, HEADER[:2] + HEADER[4:]))
    if failures:
        raise click.ClickException("; ".join(failures))


main.add_command(inspect)
main.add_command(verify)

if __name__ == "__main__":
    main()
