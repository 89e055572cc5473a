"""What the commands that measure a bundle have in common: which bundle, and which report."""

from pathlib import Path

import click

from mtab_bench.report import bundle_name

bundle_option = click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Bundle to measure.  [default: the newest below runs/]",
)
checkpoint_option = click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run that the bundle was exported from.  [default: the folder that the bundle lies in]",
)
out_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the report.  [default: reports/<the run's name>]",
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace the section if the report has it already."
)


def newest_bundle(root: Path = Path("runs")) -> Path:
    """The bundle below ``root`` that was written last. Raises `BundleError` if there is none."""
    from mtab.bundle import MANIFEST
    from mtab.errors import BundleError

    manifests = list(root.glob(f"**/bundle/{MANIFEST}"))
    if not manifests:
        raise BundleError(f"{root}: no bundle in it, expected one made by mtab-export; give --bundle")
    return max(manifests, key=lambda path: path.stat().st_mtime).parent


def report_folder(out: Path | None, bundle: Path) -> Path:
    """Where the report of a bundle belongs that was not told where."""
    return out or Path("reports") / bundle_name(bundle)
