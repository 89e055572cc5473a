"""One section of a report for a terminal of 110 columns: what it answers, its main figures, their origin."""

from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import Any

from mtab.console import table
from mtab_bench.render import summary
from mtab_bench.render.formats import (
    count,
    difference,
    factor,
    megabytes,
    milliseconds,
    percent,
    seconds,
    three_digits,
    two_digits,
)

WIDTH = 110


def to_text(report: dict[str, Any], name: str) -> str:
    """The section ``name`` of ``report``, a key of `mtab_bench.render.summary.SECTIONS`."""
    section = report[name]
    said = [
        f"{answer.question} {answer.lead} {answer.sentence}"
        for answer in summary.section_answers(report, name)
    ]
    if name == "speed" and section["random_weights"]:
        said.append("Weights are random: the model was not trained.")
    if warning := summary.noise(section):
        said.append(warning)
    if name == "evaluation" and (unheard := summary.unheard_classes(section["protocol"])):
        said.append(unheard)
    skipped = [
        f"{engine['title']} skipped: {engine['skipped']}"
        for engine in section.get("engines", {}).values()
        if engine["skipped"]
    ]
    skipped += [
        f"{section['engines'][key]['title']} failed for {summary.case_title(case)}: {reason}"
        for case in section.get("cases", ())
        for key, reason in case["failures"].items()
    ]
    origin = [summary.section_line(report, name), summary.machine_line(section["machine"])]
    tables = TABLES[name](section)
    return "\n\n".join([_wrapped(said), *tables, *filter(None, [_wrapped(skipped)]), _wrapped(origin)])


def _evaluation(section: dict[str, Any]) -> list[str]:
    measured = [engine for engine in section["engines"].values() if not engine["skipped"]]
    scored = [
        (
            engine["title"],
            *(percent(engine["accuracy"][key]) for key in ("war", "uar", "weighted_f1", "ece")),
            *_optional(
                engine["parity"],
                lambda parity: percent(parity["label_agreement"]),
                lambda parity: count(parity["labels_changed"]),
                lambda parity: count(parity["near_ties"]),
                lambda parity: difference(parity["max_probability_difference"]),
                lambda parity: two_digits(parity["mcnemar"]["p_value"]),
            ),
        )
        for engine in measured
    ]
    timed = [
        (
            engine["title"],
            *(milliseconds(engine["latency"][key]) for key in ("p50", "p90", "p95", "p99", "mean")),
            three_digits(engine["throughput"]["value"]),
            *_optional(engine["rtf"], lambda rtf: three_digits(rtf["value"])),
            *_optional(engine["speedup"], factor),
        )
        for engine in measured
    ]
    return [
        table(
            scored,
            (
                "",
                "WAR",
                "UAR",
                "F1",
                "ECE",
                "agreement",
                "changed",
                "near-ties",
                "largest diff.",
                "McNemar's p",
            ),
        ),
        table(timed, ("", "p50", "p90", "p95", "p99", "mean", "utterances/s", "RTF", "times")),
    ]


def _speed(section: dict[str, Any]) -> list[str]:
    engines = section["engines"]
    tables = []
    for case in section["cases"]:
        rows = [
            (
                engines[key]["title"],
                *(milliseconds(timed["latency"][quantile]) for quantile in ("p50", "p90", "p99")),
                three_digits(timed["throughput"]["value"]),
                *_optional(timed["rtf"], lambda rtf: three_digits(rtf["value"])),
                *_optional(timed["speedup"], factor),
                *_optional(timed["share_of_matrix_rate"], percent),
            )
            for key, timed in case["engines"].items()
            if timed["latency"]
        ]
        header = (summary.case_title(case), "p50", "p90", "p99", "utterances/s", "RTF", "times", "of limit")
        tables.append(table(rows, header))
    rows = [
        (
            engine["title"],
            *_optional(
                engine["memory"],
                lambda memory: megabytes(memory["max_ram"]),
                lambda memory: megabytes(memory["ram"]),
            ),
            *_optional(engine["start"], lambda start: seconds(start["p50"])),
            *_optional(engine["parity"], lambda parity: difference(parity["max_probability_difference"])),
        )
        for engine in engines.values()
        if not engine["skipped"]
    ]
    tables.append(table(rows, ("", "most memory", "after first", "start", "largest diff.")))
    rows = [
        (
            part["part"],
            engines[key]["title"],
            milliseconds(timed["latency"]["p50"]),
            milliseconds(timed["latency"]["p99"]),
            *_optional(timed["speedup"], factor),
            *_optional(timed["share_of_matrix_rate"], percent),
        )
        for part in section["parts"]
        for key, timed in part["engines"].items()
        if timed["latency"]
    ]
    if rows:
        tables.append(table(rows, ("part", "", "p50", "p99", "times", "of limit")))
    return tables


def _batching(section: dict[str, Any]) -> list[str]:
    rows = [
        (
            way["name"],
            f"{way['padding']:.2f}",
            seconds(way["seconds"]),
            three_digits(way["throughput"]["value"]),
            factor(way["speedup"]),
        )
        for way in section["ways"]
    ]
    return [table(rows, ("", "padding", "time", "utterances/s", "times"))]


def _invariance(section: dict[str, Any]) -> list[str]:
    measured = [engine for engine in section["engines"].values() if not engine["skipped"]]
    ways = list(measured[0]["ways"]) if measured else []
    rows = [
        (
            engine["title"],
            *(difference(engine["ways"][way]) for way in ways),
            difference(engine["max_difference"]),
            difference(engine["budget"]),
            count(engine["labels_changed"]),
        )
        for engine in measured
    ]
    if published := section["published"]:
        moved = (difference(published["ways"][way]) for way in published["ways"])
        largest, labels = difference(published["max_difference"]), count(published["labels_changed"])
        rows.append((published["title"], *moved, largest, "-", labels))
    return [table(rows, ("", *ways, "largest", "budget", "labels"))]


def _training(section: dict[str, Any]) -> list[str]:
    rows = [
        (
            variant["name"],
            variant["precision"],
            seconds(variant["median_seconds"]),
            factor(variant["speedup"]),
            f"{variant['padding']:.2f}",
            three_digits(variant["losses"][-1]),
            three_digits(variant["validation_losses"][-1]),
        )
        for variant in section["variants"]
    ]
    return [table(rows, ("epoch", "", "median", "times", "padding", "last loss", "validation"))]


TABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "evaluation": _evaluation,
    "speed": _speed,
    "batching": _batching,
    "invariance": _invariance,
    "training": _training,
}


def _optional(value: Any, *shows: Callable[[Any], str]) -> list[str]:
    """What is shown of a value; a dash each where it was not measured."""
    return ["-" if value is None else show(value) for show in shows]


def _wrapped(paragraphs: Sequence[str]) -> str:
    return "\n".join("\n".join(wrap(paragraph, WIDTH)) for paragraph in paragraphs)
