"""The report's answers as GitHub-flavoured Markdown, for a model card: compact tables, no raw HTML."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from mtab.console import markdown_table, markdown_text
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
)


def to_markdown(report: dict[str, Any]) -> str:
    """Every section of the report: its answer, its main table, and the line its figures carry."""
    lines = [f"# {markdown_text(report['bundle']['name'])}", ""]
    for answer in summary.answers(report):
        lines.append(f"- **{answer.question} {markdown_text(answer.lead)}** {markdown_text(answer.sentence)}")
    lines += [f"- {markdown_text(warning)}" for warning in summary.warnings(report)]
    rows = summary.engine_rows(report)
    if rows:
        of, _ = summary.timed_case(report)
        lines += ["", "## Engines", "", f"Times are for {of}." if of else "", ""]
        table = markdown_table(
            [
                (
                    row.title,
                    row.precision,
                    _optional(row.uar, percent),
                    _optional(row.labels_changed, count),
                    _optional(row.p50, milliseconds),
                    _optional(row.speedup, factor),
                    _optional(row.memory, megabytes),
                    row.verdict,
                )
                for row in rows
            ],
            ("engine", "precision", "UAR", "labels changed", "p50", "times", "memory", "verdict"),
        )
        lines += [table]
    for name in summary.SECTIONS:
        if name in report:
            header, body = TABLES[name](report[name])
            lines += ["", f"## {summary.TITLES[name]}", "", markdown_table(body, header), ""]
            lines += [
                f"{markdown_text(summary.section_line(report, name))}. Measured {report[name]['created']}.",
                "",
            ]
            lines += [markdown_text(summary.machine_line(report[name]["machine"])) + "."]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


Table = tuple[Sequence[str], list[Sequence[str]]]


def _evaluation(section: dict[str, Any]) -> Table:
    classes = section["protocol"]["classes"]
    body: list[Sequence[str]] = []
    for engine in section["engines"].values():
        accuracy = engine["accuracy"]
        if engine["skipped"]:
            body.append((engine["title"], *["skipped"] * (4 + len(classes))))
        else:
            scored = [percent(accuracy[key]) for key in ("war", "uar", "weighted_f1", "ece")]
            recalls = [_optional(accuracy["recall"][label], percent) for label in classes]
            body.append((engine["title"], *scored, *recalls))
    return ("engine", "WAR", "UAR", "weighted F1", "ECE", *(f"recall, {label}" for label in classes)), body


def _speed(section: dict[str, Any]) -> Table:
    cases = section["cases"]
    body: list[Sequence[str]] = []
    for key, engine in section["engines"].items():
        if engine["skipped"]:
            body.append((engine["title"], *["skipped"] * len(cases)))
        else:
            body.append((engine["title"], *(_timed(case, key) for case in cases)))
    return ("p50, times the reference", *map(summary.case_title, cases)), body


def _timed(case: dict[str, Any], key: str) -> str:
    timed = case["engines"][key]
    if not timed["latency"]:
        # What optimum exports are encoders, and no whole model.
        return f"failed: {case['failures'][key]}" if key in case["failures"] else "parts alone"
    return f"{milliseconds(timed['latency']['p50'])}, {_optional(timed['speedup'], factor)}"


def _batching(section: dict[str, Any]) -> Table:
    body = [
        (
            way["name"],
            factor(way["padding"]),
            three_digits(way["throughput"]["value"]),
            factor(way["speedup"]),
        )
        for way in section["ways"]
    ]
    return ("way", "padding", "utterances/s", "times"), list(body)


def _invariance(section: dict[str, Any]) -> Table:
    body: list[Sequence[str]] = []
    for engine in section["engines"].values():
        figures = (
            _optional(engine["max_difference"], difference),
            _optional(engine["budget"], difference),
            _optional(engine["labels_changed"], count),
        )
        body.append((engine["title"], *(["skipped"] * 3 if engine["skipped"] else figures)))
    if published := section["published"]:
        moved, labels = difference(published["max_difference"]), count(published["labels_changed"])
        body.append((published["title"], moved, "–", labels))
    return ("engine", "largest difference", "budget", "labels changed"), body


def _training(section: dict[str, Any]) -> Table:
    body = [
        (
            f"{variant['name']} ({variant['precision']})",
            seconds(variant["median_seconds"]),
            factor(variant["speedup"]),
            factor(variant["padding"]),
            three_digits(variant["losses"][-1]),
            three_digits(variant["validation_losses"][-1]),
        )
        for variant in section["variants"]
    ]
    return ("epoch", "median", "times", "padding", "last training loss", "last validation loss"), list(body)


TABLES: dict[str, Callable[[dict[str, Any]], Table]] = {
    "evaluation": _evaluation,
    "speed": _speed,
    "batching": _batching,
    "invariance": _invariance,
    "training": _training,
}


def _optional(value: Any, show: Callable[[Any], str]) -> str:
    return "–" if value is None else show(value)
