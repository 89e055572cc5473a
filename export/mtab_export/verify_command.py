"""``mtab-export verify``: needs neither PyTorch nor what exports."""

from pathlib import Path

import click

from mtab.bundle import open_bundle
from mtab.console import Command
from mtab.options import bundle_argument, corpus_options
from mtab.progress import say
from mtab_export.tables import format_notes, measured_table


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

    Against PyTorch where it and the checkpoint are here, else against the answers that the bundle stores:
    mtab[cpu] is enough for that, but for half precisions, which the export extra emulates. Exits with 1 if a
    file was changed or a graph is over its budget.
    """
    from mtab_export.verify import verify_bundle

    opened = open_bundle(bundle)
    click.echo(f"{bundle}: {len(opened.manifest.files)} files are as they were written")
    reference, checks = verify_bundle(opened, dataset, data_dir, checkpoint, device, columns)
    click.echo(f"Against {reference}")
    rows, failures, verdicts = [], [], {}
    for check in checks:
        if check.verdict is None:
            say(f"{check.part} {check.precision}: not checked, {check.skipped}")
            continue
        verdicts[check.precision] = check.verdict
        rows.append(((check.part, check.precision), check.verdict))
        failures += [f"{check.part} {check.precision}: {failure}" for failure in check.verdict.failures]
    click.echo(measured_table(rows, ("part", "precision")))
    click.echo(format_notes(verdicts))
    if failures:
        raise click.ClickException("; ".join(failures))
