"""``mtab-bench batching``."""

from pathlib import Path

import click

from mtab.console import Command
from mtab.machine import usable_cores
from mtab.options import corpus_options, threads_option
from mtab_bench.commands.options import (
    bundle_option,
    newest_bundle,
    out_option,
    overwrite_option,
    report_folder,
)
from mtab_bench.sections.batching import batching


@click.command("batching", cls=Command)
@corpus_options(required=True)
@bundle_option
@click.option(
    "--utterances",
    type=click.IntRange(min=32),
    help="Number of utterances to take, from the first on.  [default: all]",
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
    is opened. The most exact graph runs in ONNX Runtime on the CPU.

    \b
    Example:
      mtab-bench batching --dataset meld --data-dir MELD.Raw
    """
    from mtab.data import read_corpus
    from mtab.loading import load
    from mtab_bench.render.text import to_text
    from mtab_bench.report import add_section, bundle_record, check_section, written

    bundle = bundle or newest_bundle()
    out = report_folder(out, bundle)
    threads = threads or usable_cores()
    corpus = read_corpus(dataset, data_dir, columns)
    model = load(bundle, "cpu", engine="onnxruntime", threads=threads)
    record = bundle_record(model.bundle)
    check_section(out, record, "batching", overwrite)
    section = batching(model, corpus.title, corpus.utterances[:utterances], threads)
    report = add_section(out, "batching", section, record, overwrite)
    click.echo(f"{to_text(report, 'batching')}\n\n{written(out)}")
