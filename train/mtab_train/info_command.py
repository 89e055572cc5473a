"""``mtab-train info``: how many parameters a preset has, part by part, and which of them are trained."""

import json
from typing import Any

import click

from mtab.console import Command, table
from mtab.options import json_option
from mtab_train.config import PRESETS

_KINDS = ("total", "trained", "frozen")


def info_report(preset: str) -> dict[str, Any]:
    """The parameters of a preset's model as plain JSON values; no weights are made.

    ``without_text_encoder`` is the paper's count (§5.3.2), which leaves out the frozen RoBERTa; the stand-ins
    for a missing modality, which the paper has not, are left out too.
    """
    import torch

    from mtab_train.model import MulTAB, count_parameters

    config = PRESETS[preset].model
    with torch.device("meta"):
        parts = count_parameters(MulTAB.from_config(config))
    return {
        "preset": preset,
        "classes": len(config.labels),
        "parts": parts,
        "all": {kind: sum(count[kind] for count in parts.values()) for kind in _KINDS},
        "without_text_encoder": sum(
            count["total"] for part, count in parts.items() if part not in ("text_encoder", "stand_in")
        ),
    }


def print_report(report: dict[str, Any]) -> None:
    """Print what `info_report` found."""
    counts = {part.replace("_", " "): count for part, count in report["parts"].items()}
    rows = [
        (part, *(f"{count[kind]:,}" for kind in _KINDS))
        for part, count in (counts | {"all": report["all"]}).items()
    ]
    click.echo(f"parameters of {report['preset']} with {report['classes']} classes\n")
    click.echo(table(rows, ("part", *_KINDS)))
    click.echo(f"\nwithout the text encoder, as the paper counts: {report['without_text_encoder']:,}")


@click.command(cls=Command)
@click.option(
    "--preset", type=click.Choice(list(PRESETS)), required=True, help="Preset whose parameters to count."
)
@json_option
def info(preset: str, as_json: bool) -> None:
    """Count a preset's parameters: by part, trained and frozen, and as the paper counts them.

    \b
    Example:
      mtab-train info --preset base
    """
    report = info_report(preset)
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print_report(report)
