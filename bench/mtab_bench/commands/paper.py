"""``mtab-bench paper``."""

from pathlib import Path
from typing import Any, get_args

import click

from mtab.console import Command
from mtab.options import corpus_options
from mtab_bench.paper.rows import ROWS, SIZES, Asked, Modalities
from mtab_train.options import cache_option, folds_option, machine_options


class _Rows(click.ParamType):
    """``mul-tab,compact`` as a tuple of names."""

    name = "rows"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        names = tuple(name.strip() for name in value.split(","))
        if unknown := [name for name in names if name not in ROWS]:
            self.fail(f"{unknown[0]!r} is no row, expected some of {', '.join(ROWS)}", param, ctx)
        return names


@click.command("paper", cls=Command)
@corpus_options(required=True)
@folds_option
@click.option(
    "--rows",
    type=_Rows(),
    metavar="NAME,...",
    help=f"Rows to run, of {', '.join(ROWS)}.  [default: all]",
)
@click.option(
    "--preset",
    type=click.Choice(SIZES),
    default="base",
    show_default=True,
    help="Preset of Mul-TAB and its ablations: base is the paper's. MMER is as large.",
)
@click.option(
    "--protocol",
    "asked",
    type=click.Choice(get_args(Asked)),
    default="both",
    show_default=True,
    help="What chooses the epoch: a validation split (honest), the test part as in the paper (paper), both "
    "side by side, or nothing (fixed). The floors choose nothing.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of seeds of each model, from 0.",
)
@click.option(
    "--modalities",
    type=click.Choice(get_args(Modalities)),
    default="audio+text",
    show_default=True,
    help="Modalities that the rows may look at.",
)
@click.option(
    "--init-from",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run that the row compact-pretrained starts from, as one on other corpora.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs.  [default: each preset's]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the runs, tables and charts; what is done in it is not done again.",
)
@click.option("--dry-run", is_flag=True, help="Print what the rows cost on this device, and stop.")
@machine_options
@cache_option
@click.option(
    "--ray",
    "cluster",
    metavar="ADDRESS",
    help="Ray cluster whose tasks are the folds of the models: local, auto or its address.",
)
def paper_command(
    dataset: str,
    data_dir: Path | None,
    columns: dict[str, str] | None,
    folds: str | None,
    rows: tuple[str, ...] | None,
    preset: str,
    asked: Asked,
    seeds: int,
    modalities: Modalities,
    init_from: Path | None,
    epochs: int | None,
    out: Path,
    dry_run: bool,
    cluster: str | None,
    **machine: Any,
) -> None:
    """Redo the paper: train every row on every fold, and write its tables and charts.

    Rows are Mul-TAB, its ablations, MMER, TIM-Net, the compact model, and the classical floors. It
    says first what they cost on this device. Interrupted at any moment, the same command goes on, and
    other rows, protocols and seeds can be added with the same folder. Writes paper.json, paper.md,
    paper.html, which opens from disk, charts, and answers.csv with what each row answered to each utterance.

    \b
    Examples:
      mtab-bench paper --dataset iemocap --data-dir IEMOCAP --out redone --dry-run
      mtab-bench paper --dataset iemocap --data-dir IEMOCAP --out redone --device cuda
      mtab-bench paper --dataset emodb --data-dir EmoDB --preset tiny --protocol fixed --seeds 2 --out emodb
      mtab-bench paper --dataset emodb --data-dir EmoDB --modalities audio --rows compact --out sound
      mtab-bench paper --dataset meld --data-dir MELD --rows tfidf,tfidf-balanced --out words
    """
    from mtab.config import to_dict
    from mtab.data import default_scheme, read_corpus, validate
    from mtab.files import write_json
    from mtab.progress import track
    from mtab_bench.paper.cost import estimate, gpu_line, to_text
    from mtab_bench.paper.results import gather
    from mtab_bench.paper.rows import unusable
    from mtab_bench.paper.running import begin, make_jobs, make_recipe, run_job
    from mtab_bench.render.paper import CHARTS, paper_text
    from mtab_bench.render.paper_files import ANSWERS, HTML, JSON, MARKDOWN, write_paper
    from mtab_train.fit_command import resumable
    from mtab_train.options import set_threads

    set_threads(machine.pop("threads"))
    corpus = validate(read_corpus(dataset, data_dir, columns))
    for notice in corpus.notices:
        click.echo(f"Notice: {notice}", err=True)
    recipe = make_recipe(corpus, folds or default_scheme(corpus), preset, epochs, modalities)
    chosen = [row for name, row in ROWS.items() if rows is None or name in rows]
    # Of all rows: what the folder says of them does not depend on which this command runs.
    reasons = {
        name: unusable(row, preset, corpus, modalities, init_from is not None) for name, row in ROWS.items()
    }
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    for row in chosen:
        if row.name in left_out:
            click.echo(f"Left out: {row.name} {left_out[row.name]}", err=True)
    jobs = make_jobs([row for row in chosen if row.name not in left_out], recipe, asked, seeds)
    if not dry_run:
        recipe = begin(out, recipe)
    if costs := estimate(jobs, recipe, corpus, out, **machine):
        click.echo(f"From a measured step of each row:\n\n{to_text(costs)}")
        if preset == "base" and any(each.row.name == "mul-tab" for each in jobs):
            click.echo("\n" + gpu_line(recipe, corpus))
    if dry_run:
        return
    with resumable("the same command"):
        for job in track(jobs, "rows"):
            run_job(job, recipe, corpus, out, cluster, init_from, **machine)
            so_far, _ = gather(out, recipe, corpus, left_out)
            write_json(out / JSON, to_dict(so_far))
    paper, answers = gather(out, recipe, corpus, left_out)
    write_paper(out, paper, corpus, answers)
    click.echo("\n" + paper_text(paper))
    click.echo(f"\nWrote {out / JSON}, {HTML}, {MARKDOWN}, {ANSWERS} and {CHARTS}/")
