"""``mtab-bench batching``."""

from pathlib import Path

import click

from mtab.console import Command
from mtab.machine import usable_cores
from mtab.options import corpus_options, threads_option
from mtab_bench.commands.options import (
    bundle_option,
    out_option,
    overwrite_option,
)


@click.command("batching", cls=Command)
@corpus_options(required=True)
@bundle_option
@click.option(
    "--utterances", type=click.IntRange(min=32), help="Number of utterances, from the first.  [default: all]"
)
@threads_option
@out_option
@overwrite_option
def batching_command(
    dataset: str,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    bundle: Path | None,
    utterances: int | None,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Measure what batches of similar lengths gain over padded ones.

    Utterances have the durations and transcripts of the corpus, in its order, and noise for sound; no clip
    is opened. The most exact graph runs in ONNX Runtime on the CPU, and beside it what mtab tune --for
    throughput chose, where it did.

    \b
    Example:
      mtab-bench batching --dataset meld --data-dir MELD.Raw
    """
    from mtab.choice import tuned_choice
    from mtab.data import read_corpus
    from mtab.loading import load
    from mtab_bench.commands.target import Target
    from mtab_bench.sections.batching import measure_batching

    target = Target.open(bundle, out, overwrite, "batching")
    threads = threads or usable_cores()
    corpus = read_corpus(dataset, data_dir, columns)
    model = load(target.bundle.folder, "cpu", engine="onnxruntime", threads=threads)
    tuned = None
    if tuned_choice(model.bundle, "throughput") is not None:
        tuned = load(target.bundle.folder, threads=threads, tuned_for="throughput")
    target.add(measure_batching(model, corpus.title, corpus.utterances[:utterances], threads, tuned))
