"""The command ``mtab-bench``."""

from pathlib import Path

import click

from mtab import __version__
from mtab.console import Group
from mtab.data import DATASETS
from mtab.options import corpus_options, label_map_option, threads_option
from mtab_bench.commands.batching import batching_command
from mtab_bench.commands.compare import compare_command
from mtab_bench.commands.gpu import gpu_command
from mtab_bench.commands.invariance import invariance_command
from mtab_bench.commands.latency import latency_command
from mtab_bench.commands.live import live_command
from mtab_bench.commands.memory import memory_command
from mtab_bench.commands.options import (
    bundle_option,
    checkpoint_option,
    fold_option,
    out_option,
    overwrite_option,
    split_option,
)
from mtab_bench.commands.paper import paper_command
from mtab_bench.commands.profile import profile_command
from mtab_bench.commands.report import report_command
from mtab_bench.commands.robustness import robustness_command
from mtab_bench.commands.sdk import sdk_command
from mtab_bench.commands.serve import serve_command
from mtab_bench.commands.soak import soak_command
from mtab_bench.commands.timeline import timeline_command
from mtab_bench.commands.training import training_command
from mtab_bench.commands.vad import vad_command


@click.group(cls=Group, extra="bench", invoke_without_command=True)
@corpus_options("Layout of the corpus to run.")
@split_option
@fold_option
@label_map_option
@bundle_option
@checkpoint_option
@threads_option
@out_option
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.version_option(__version__, prog_name="mtab-bench")
@click.pass_context
def main(
    context: click.Context,
    dataset: str | None,
    bundle: Path | None,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    split: str | None,
    fold: str | None,
    label_map: Path | None,
    checkpoint: Path | None,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Did deployment cost accuracy, and how fast is it here?

    Runs the test set of a corpus through PyTorch and through every engine and precision of the bundle that
    was exported from it: accuracy, labels and probabilities that differ, latency. A corpus that the model was
    not trained on is run whole; labels that are none of the model's are left out. Writes report.json,
    report.html, which opens from disk, and report.md; the commands below add their sections to the same
    report. What cannot be had here is skipped, and the report says why.

    \b
    Examples:
      mtab-bench --dataset iemocap
      mtab-bench --dataset emodb --data-dir EmoDB --bundle runs/mine/bundle --out report
      mtab-bench --dataset ravdess --label-map labels.csv --bundle runs/emodb/bundle --out elsewhere
    """
    if context.invoked_subcommand is not None:
        return
    if dataset is None:
        raise click.UsageError(f"Missing option '--dataset'. Choose from: {', '.join(DATASETS)}")

    from mtab_bench.commands.target import Target
    from mtab_bench.sections.evaluation import evaluate

    target = Target.open(bundle, out, overwrite, "evaluation")
    section = evaluate(target.bundle, dataset, data_dir, checkpoint, threads, columns, split, fold, label_map)
    target.add(section, as_json)


for command in (
    latency_command,
    invariance_command,
    batching_command,
    training_command,
    paper_command,
    compare_command,
    gpu_command,
    memory_command,
    profile_command,
    robustness_command,
    sdk_command,
    serve_command,
    soak_command,
    timeline_command,
    live_command,
    vad_command,
    report_command,
):
    main.add_command(command)

if __name__ == "__main__":
    main()
