"""The options that the commands which measure a bundle share, each declared once."""

from pathlib import Path

import click

bundle_option = click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Bundle that mtab-export wrote.  [default: the newest in runs/]",
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
    "--overwrite", is_flag=True, help="Replace the section that the report has already."
)
