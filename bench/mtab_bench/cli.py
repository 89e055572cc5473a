"""The command ``mtab-bench``."""

from pathlib import Path

import click

from mtab import __version__
from mtab.console import Group
from mtab.data import DATASETS
from mtab_bench.training import training


@click.group(cls=Group, invoke_without_command=True)
@click.option("--dataset", type=click.Choice(DATASETS), help="The corpus whose test utterances to run.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="What mtab-export wrote.  [default: the newest in runs/]",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="The corpus, its parent or a manifest's CSV file.  [default: $MTAB_DATA/DATASET, data/DATASET]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the report.  [default: reports/<the run's name>]",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="The run that the bundle was exported from.  [default: the folder that the bundle lies in]",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of either engine.  [default: one a core]")
@click.option("--overwrite", is_flag=True, help="Replace the report if it exists.")
@click.version_option(__version__, prog_name="mtab-bench")
@click.pass_context
def main(
    context: click.Context,
    dataset: str | None,
    bundle: Path | None,
    data_dir: Path | None,
    out: Path | None,
    checkpoint: Path | None,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Did deployment cost accuracy, and how fast is it here?

    Runs the test utterances of a corpus through PyTorch and through the bundle that was exported from it:
    WAR and UAR of both, labels and probabilities that differ, latency of both, warm. Writes report.json and
    report.html, which opens from disk. Where PyTorch or the checkpoint is missing its side is skipped, and
    the report says why.

    \b
    Examples:
      mtab-bench --dataset iemocap
      mtab-bench --dataset emodb --data-dir EmoDB --bundle runs/mine/bundle --out report
    """
    if context.invoked_subcommand is not None:
        return
    if dataset is None:
        raise click.UsageError(f"Missing option '--dataset'. Choose from: {', '.join(DATASETS)}")

    from mtab.files import atomic_folder, refuse_existing
    from mtab_bench.benchmark import benchmark, bundle_name
    from mtab_bench.report import HTML, JSON, to_text, write_report

    bundle = bundle or newest_bundle()
    out = out or Path("reports") / bundle_name(bundle)
    # Before the minutes of measuring, not after them.
    refuse_existing(out, overwrite)
    report = benchmark(dataset, bundle, data_dir, checkpoint, threads)
    with atomic_folder(out, overwrite) as folder:
        write_report(report, folder)
    click.echo(to_text(report))
    click.echo(f"\nWrote {out / JSON} and {out / HTML}")


def newest_bundle(root: Path = Path("runs")) -> Path:
    """The bundle below ``root`` that was written last. Raises `BundleError` if there is none."""
    from mtab.bundle import MANIFEST
    from mtab.errors import BundleError

    manifests = list(root.glob(f"**/bundle/{MANIFEST}"))
    if not manifests:
        raise BundleError(f"{root}: no bundle in it, expected one made by mtab-export; give --bundle")
    return max(manifests, key=lambda path: path.stat().st_mtime).parent


main.add_command(training)

if __name__ == "__main__":
    main()
