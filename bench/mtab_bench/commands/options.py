"""The options that the commands which measure a bundle share, each declared once."""

from pathlib import Path

import click

from mtab.data.manifest import SPLITS


def refuse_split(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """Refuse ``--fold`` beside ``--split``: each names a part."""
    if value is not None and context.params.get("split") is not None:
        raise click.UsageError("--split and --fold: each names a part, expected one of them")
    return value


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
split_option = click.option(
    "--split",
    type=click.Choice(["all", *SPLITS]),
    help="Utterances to run: all, or the corpus's own split.  [default: the training's test part; all of a "
    "corpus that the model was not trained on]",
)
fold_option = click.option(
    "--fold",
    metavar="NAME",
    callback=refuse_split,
    help="Fold whose test part to run, of the training's or the corpus's usual folds.",
)
out_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the report.  [default: reports/<the run's name>]",
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace the section that the report has already."
)
