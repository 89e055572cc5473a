"""``mtab-bench timeline``."""

import json
from pathlib import Path

import click

from mtab.config import to_dict
from mtab.console import Command
from mtab.options import corpus_options, json_option
from mtab_bench.sections.timeline import CHANNELS, RATE, measure_timeline


@click.command("timeline", cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@corpus_options(required=True)
@click.option(
    "--hours",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="Length of the recording.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the order and the pauses.")
@click.option("--device", default="auto", show_default=True, help="Device to use, as for mtab timeline.")
@json_option
def timeline_command(
    bundle: Path,
    dataset: str,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    hours: float,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Join a corpus's test clips to a long recording, and judge its timeline.

    The clips are drawn again and again, with pauses between them, so that every label and time is known.
    mtab timeline answers the recording in a process of its own: its time, its memory, and how far what it
    says is true, beside what the same model says of each clip alone.

    \b
    Example:
      mtab-bench timeline runs/mine/bundle --dataset emodb --data-dir EmoDB --hours 2
    """
    from mtab.loading import load
    from mtab_bench.test_set import read_test_set

    model = load(bundle, device)
    test = read_test_set(model.bundle, model.preprocess, dataset, data_dir, columns)
    found = measure_timeline(model, test, hours, seed)
    if as_json:
        click.echo(json.dumps(to_dict(found), indent=2))
        return
    click.echo(
        f"{found.seconds / 3600:.2f} h in {CHANNELS} channels at {RATE / 1000:g} kHz, "
        f"{found.turns:,} clips of {test.corpus.title}\n"
        f"answered in {found.wall:.1f} s: {found.real_time_factor:.4f} of its length; "
        f"at most {found.max_ram / 1e6:.0f} MB of memory\n"
        f"{found.segments:,} segments, which cover {found.covered:.1%} of the speech; {found.outside:.1%} of "
        "their time is outside it\n"
        f"by clip: WAR {found.war:.3f}  UAR {found.uar:.3f}; the clips alone: WAR {found.clips_war:.3f}  UAR "
        f"{found.clips_uar:.3f}\n"
        f"by time: {found.time_agreement:.1%} of the speech has its label"
    )
    if found.warning:
        click.echo(found.warning, err=True)
