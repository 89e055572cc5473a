"""``mtab-bench robustness``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtab.config import to_dict
from mtab.console import Command, table
from mtab.options import corpus_options, json_option, label_map_option
from mtab_bench.commands.options import fold_option, split_option

if TYPE_CHECKING:
    from mtab_bench.sections.breakdown import Estimate


@click.command("robustness", cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@corpus_options(required=True)
@split_option
@fold_option
@label_map_option
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the noise, and of the draws.")
@click.option("--device", default="auto", show_default=True, help="Device to use, as for mtab predict.")
@json_option
def robustness_command(
    bundle: Path,
    dataset: str,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    split: str | None,
    fold: str | None,
    label_map: Path | None,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Spoil a corpus's clips and transcripts, and say how much less often the model is right.

    Noise and babble, the telephone, codecs, reverberation, gain, clipping, wrong words: each is a row, with
    the difference from the clean utterances and its 95 % interval.

    \b
    Example:
      mtab-bench robustness runs/mine/bundle --dataset emodb --data-dir EmoDB
    """
    from mtab.loading import load
    from mtab_bench.sections.robustness import measure_robustness
    from mtab_bench.test_set import read_test_set

    model = load(bundle, device)
    test = read_test_set(model.bundle, model.preprocess, dataset, data_dir, columns, split, fold, label_map)
    found = measure_robustness(model, test, seed)
    if as_json:
        click.echo(json.dumps(to_dict(found), indent=2))
        return
    rows = [
        (
            each.condition,
            f"{each.war:.3f}",
            f"{each.uar:.3f}",
            *map(_difference, (each.war_difference, each.uar_difference)),
        )
        for each in found.conditions
    ]
    click.echo(table(rows, ("condition", "WAR", "UAR", "WAR less clean", "UAR less clean")))
    click.echo(
        f"\n{found.corpus}, {found.part}: {found.utterances} utterances; {found.engine} {found.precision}; "
        f"seed {found.seed}; corpus {found.corpus_sha256[:12]}"
    )
    if found.left_out:
        click.echo(f"labels that are no class, left out: {sum(found.left_out.values())} utterances", err=True)
    if found.overlap:
        click.echo(f"{found.overlap} of the clips are among those that the model was trained on", err=True)


def _difference(moved: "Estimate") -> str:
    return f"{moved.value:+.3f} ({moved.low:+.3f} to {moved.high:+.3f})"
