"""The command ``mtab-export``."""

from pathlib import Path

import click

from mtab import __version__
from mtab.console import Group, table
from mtab.data import DATASETS


@click.group(cls=Group, invoke_without_command=True, subcommand_metavar="")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="The run folder to export.  [default: the run below runs/ that ended last]",
)
@click.option("--out", type=click.Path(path_type=Path), help="The bundle to write.  [default: RUN/bundle]")
@click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    help="Compare on the utterances of another corpus.  [default: the test part that the run was scored on]",
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the corpus lies now.")
@click.option("--opset", type=click.IntRange(18, 22), default=18, show_default=True)
@click.option(
    "--atol",
    type=click.FloatRange(0, min_open=True),
    default=1e-5,
    show_default=True,
    help="Largest difference of a probability from PyTorch's.",
)
@click.option(
    "--utterances",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="How many to compare on, alone and in mixed batches.",
)
@click.option("--overwrite", is_flag=True, help="Replace the bundle if it exists.")
@click.version_option(__version__, prog_name="mtab-export")
@click.pass_context
def main(
    context: click.Context,
    checkpoint: Path | None,
    out: Path | None,
    dataset: str | None,
    data_dir: Path | None,
    opset: int,
    atol: float,
    utterances: int,
    overwrite: bool,
) -> None:
    """Export a trained model to a bundle of ONNX graphs for the torch-free runtime.

    The graph is compared with PyTorch on utterances of the corpus, alone and in mixed batches; if it answers
    differently, the export fails and nothing is written.

    \b
    Examples:
      mtab-export
      mtab-export --checkpoint runs/mine --out bundle
    """
    if context.invoked_subcommand is not None:
        return

    from mtab.files import refuse_existing
    from mtab.graphs import FUSED
    from mtab_export.exporter import Budget, export_bundle, utterances_to_compare
    from mtab_train.run import newest_run, open_run

    run = open_run(checkpoint or newest_run())
    out = out or run.folder / "bundle"
    refuse_existing(out, overwrite)
    corpus, chosen = utterances_to_compare(run, dataset, data_dir)
    click.echo(f"Exporting {run.folder} ({run.config.title}) to {out}")
    manifest = export_bundle(run, out, corpus, chosen, opset, Budget(atol, utterances=utterances), overwrite)
    graph = manifest.graphs[FUSED.name]
    megabytes = sum(entry.size for name, entry in manifest.files.items() if "onnx" in name) / 1e6
    click.echo(f"{graph.file}: {graph.dtype}, opset {graph.opset}, {megabytes:.1f} MB")
    parity = graph.parity
    click.echo(f"Against PyTorch on {parity['utterances']} utterances of {parity['corpus']}:")
    rows = [
        ("largest difference of a probability, alone", f"{parity['max_probability_difference']:.1e}"),
        (f"... in batches of {parity['batch_size']}", f"{parity['max_batched_difference']:.1e}"),
        ("largest difference between batched and alone", f"{parity['max_invariance_difference']:.1e}"),
        ("labels that agree", f"{parity['label_agreement']:.2%}"),
    ]
    click.echo(table(rows, ("measured", "")))


if __name__ == "__main__":
    main()
