"""``mtab-train data``: what a corpus holds, and everything in it that had to be skipped."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from mtab.console import Command, table
from mtab.data import (
    Corpus,
    Problem,
    Utterance,
    default_scheme,
    fold_warnings,
    make_folds,
)
from mtab.data.check import measure
from mtab.errors import DataError
from mtab.options import corpora_options
from mtab_train.options import folds_option, one_corpus, read_corpora

_MOST_SHOWN = 20


def data_report(annotated: Corpus, folds: str | None = None) -> dict[str, Any]:
    """Check a corpus; what it holds as plain JSON values.

    Every count is given of the annotated utterances and of the usable ones, whose clip is there and readable.
    Folds are made of the usable ones or, where no clip is usable, of the annotated ones (``folds.of``); where
    the default scheme does not fit, ``folds.unavailable`` says why.
    Raises `DataError` if ``folds`` is given and does not fit.
    """
    usable, seconds = measure(annotated)
    return {
        "dataset": annotated.name,
        "title": annotated.title,
        "root": str(annotated.place),
        "synthetic": annotated.synthetic,
        "utterances": {"annotated": len(annotated.utterances), "usable": len(usable.utterances)},
        "classes": _by_class(annotated, usable),
        "excluded": dict(annotated.excluded),
        "splits": _by_split(annotated, usable),
        "hours": _hours(annotated.utterances, seconds),
        "folds": _folds(annotated, usable, folds),
        "problem_count": len(usable.problems),
        "problems": _listed(usable.problems),
        "notices": _listed(usable.notices),
    }


def _listed(found: Iterable[Problem]) -> list[dict[str, Any]]:
    return [{"file": str(each.file), "line": each.line, "message": each.message} for each in found]


def _by_class(annotated: Corpus, usable: Corpus) -> dict[str, dict[str, int]]:
    every, good = (_counts(corpus.utterances, annotated.labels) for corpus in (annotated, usable))
    return {label: {"annotated": every[label], "usable": good[label]} for label in annotated.labels}


def _by_split(annotated: Corpus, usable: Corpus) -> dict[str, dict[str, Any]]:
    """By split, where the corpus has its own; empty otherwise."""
    report = {}
    for split in ("train", "dev", "test"):
        every, good = (
            [utterance for utterance in corpus.utterances if utterance.split == split]
            for corpus in (annotated, usable)
        )
        if every:
            classes = _counts(every, annotated.labels)
            report[split] = {"annotated": len(every), "usable": len(good), "classes": classes}
    return report


def _hours(annotated: Iterable[Utterance], seconds: dict[str, float]) -> dict[str, float | int]:
    """Hours of speech, from clip headers or else from annotated times, and of how many utterances each."""
    times = [
        utterance.end - utterance.start
        for utterance in annotated
        if utterance.id not in seconds and utterance.start is not None and utterance.end is not None
    ]
    return {
        "from_clips": sum(seconds.values()) / 3600,
        "utterances_from_clips": len(seconds),
        "from_annotated_times": sum(times) / 3600,
        "utterances_from_annotated_times": len(times),
    }


def _folds(annotated: Corpus, usable: Corpus, wanted: str | None) -> dict[str, Any]:
    corpus, of = (usable, "usable") if usable.utterances else (annotated, "annotated")
    scheme = wanted or default_scheme(corpus)
    report: dict[str, Any] = {"scheme": scheme, "of": of, "folds": [], "warnings": []}
    try:
        folds = make_folds(corpus, scheme)
    except DataError as error:
        if wanted:
            raise
        return report | {"unavailable": str(error)}
    report["warnings"] = fold_warnings(corpus, scheme, folds)
    for fold in folds:
        parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
        counts = {part: _counts(utterances, corpus.labels) for part, utterances in parts.items()}
        report["folds"].append({"name": fold.name} | counts)
    return report


def _counts(utterances: Iterable[Utterance], labels: tuple[str, ...]) -> dict[str, int]:
    found = Counter(utterance.label for utterance in utterances)
    return {label: found[label] for label in labels}


def print_report(report: dict[str, Any]) -> None:
    """Print what `data_report` found, with the first problems."""
    total, hours, folds, labels = (report[key] for key in ("utterances", "hours", "folds", "classes"))
    click.echo(f"{report['title']} in {report['root']}")
    click.echo(f"{total['annotated']} utterances annotated, {total['usable']} usable\n")
    rows = [(label, count["annotated"], count["usable"]) for label, count in labels.items()]
    click.echo(table([*rows, ("all", total["annotated"], total["usable"])], ("class", "annotated", "usable")))
    if report["excluded"]:
        others = ", ".join(f"{emotion} {count}" for emotion, count in sorted(report["excluded"].items()))
        click.echo(f"outside the label set, left out: {others}")
    if report["splits"]:
        rows = [
            (split, count["annotated"], count["usable"], *count["classes"].values())
            for split, count in report["splits"].items()
        ]
        click.echo("\n" + table(rows, ("split", "annotated", "usable", *labels)))

    click.echo("\nhours of speech:")
    click.echo(f"  {hours['from_clips']:.2f} from the headers of {hours['utterances_from_clips']} clips")
    if count := hours["utterances_from_annotated_times"]:
        annotated = hours["from_annotated_times"]
        click.echo(
            f"  {annotated:.2f} from the annotated times of {count} utterances without a readable clip"
        )

    click.echo(f"\nfolds: {folds['scheme']}, of the {folds['of']} utterances")
    if "unavailable" in folds:
        click.echo(f"  none: {folds['unavailable']}")
    else:
        rows = [
            (fold["name"], part, sum(fold[part].values()), *fold[part].values())
            for fold in folds["folds"]
            for part in ("train", "validation", "test")
        ]
        click.echo(table(rows, ("fold", "part", "utterances", *labels)))

    for warning in folds["warnings"]:
        click.echo(f"Warning: {warning}", err=True)

    _print_listed("problems", report["problems"])
    if report["notices"]:
        _print_listed("notices", report["notices"])


def _print_listed(name: str, listed: list[dict[str, Any]]) -> None:
    click.echo(f"\n{name}: {len(listed)}")
    for each in listed[:_MOST_SHOWN]:
        click.echo(f"  {Problem(Path(each['file']), each['message'], each['line'])}")
    if len(listed) > _MOST_SHOWN:
        click.echo(f"  ... and {len(listed) - _MOST_SHOWN} more (--json lists all)")


@click.command(cls=Command)
@corpora_options
@folds_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, every problem included.")
def data(**values: Any) -> None:
    """Check a corpus: utterances per class, fold and split, hours of speech, and every problem found.

    Several corpora are checked as the one that they make. Problems (a missing or unreadable clip, a label
    outside the set, a line that does not parse) are listed with file and line, and skipped. Notices (labels
    that look alike, bytes that were mended) are kept. The exit code is 1 only if nothing at all is annotated,
    or a file is not CSV or not UTF-8.

    \b
    Examples:
      mtab-train data --dataset emodb --data-dir EmoDB --folds speaker-pair
      mtab-train data --dataset ravdess --dataset nemo --label-map labels.csv
      mtab-train data --dataset manifest --data-dir mine.csv --columns audio=path,label=emotion
    """
    if not values["datasets"]:
        raise click.UsageError("Missing option '--dataset'.")
    report = data_report(one_corpus(read_corpora(values), values["label_map"]), values["folds"])
    if values["as_json"]:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print_report(report)
