"""A measured report as JSON, as one HTML page, and as text; docs/report-schema.md describes its values.

Nothing is computed here: every number shown is one of the report's, rounded.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mtab.console import table
from mtab.files import write_json, write_text

SCHEMA_VERSION = 1
NOISE = 0.2
"""Cores that other processes may use while the clock runs before the report warns of it."""
JSON, HTML = "report.json", "report.html"

Report = dict[str, Any]


def write_report(report: Report, folder: Path) -> None:
    """Write ``report.json`` and ``report.html`` into ``folder``."""
    write_json(folder / JSON, report)
    write_text(folder / HTML, to_html(report))


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def milliseconds(value: float) -> str:
    return f"{three_digits(1e3 * value)} ms"


def probability(value: float) -> str:
    return f"{value:.5f}"


def factor(value: float) -> str:
    return f"{value:.2f} ×"


def three_digits(value: float) -> str:
    """Three significant digits, more where the whole part has more, without an exponent."""
    exponent = int(f"{value:.2e}".partition("e")[2])
    return f"{value:.{max(2 - exponent, 0)}f}"


def difference(value: float) -> str:
    return f"{value:.1e}"


def points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def count(value: int) -> str:
    return f"{value:,}"


FORMATS: tuple[Callable[[Any], str], ...] = (
    percent,
    milliseconds,
    probability,
    factor,
    three_digits,
    difference,
    points,
    count,
)


def protocol_line(report: Report) -> str:
    """What every figure carries: corpus, fold, protocol, classes, utterances, problems, seed, hash."""
    protocol = report["protocol"]
    parts = (
        protocol["title"],
        f"fold {protocol['fold']} of {protocol['folds']}",
        f"{protocol['protocol']} protocol",
        f"{len(protocol['classes'])} classes",
        f"{protocol['utterances']} test utterances",
        f"problems skipped: {protocol['problem_count']}",
        f"seed {protocol['seed']}",
        f"corpus {protocol['corpus_sha256'][:12]}",
    )
    return "; ".join(parts)


def accuracy_verdict(report: Report) -> str:
    """Did deployment cost accuracy? A sentence for each engine beside the reference."""
    return " ".join(_accuracy_sentence(report, engine) for engine in _others(report))


def _accuracy_sentence(report: Report, engine: dict[str, Any]) -> str:
    reference = report["engines"][report["reference"]]
    accuracy, parity = engine["accuracy"], engine["parity"]
    reached = f"WAR {percent(accuracy['war'])}, UAR {percent(accuracy['uar'])}"
    if parity is None:
        return (
            f"Whether deployment cost accuracy is not known here, for {reference['title']} was skipped; "
            f"{engine['title']} alone reaches {reached}."
        )
    if parity["labels_changed"] == 0:
        return (
            f"Deployment cost no accuracy: {engine['title']} gives {reference['title']}'s label for all "
            f"{parity['utterances']} test utterances ({reached})."
        )
    before = reference["accuracy"]
    return (
        f"Deployment changed {parity['labels_changed']} of {parity['utterances']} labels "
        f"({parity['labels_changed_at_near_ties']} at a near-tie): {engine['title']} reaches {reached}, "
        f"{reference['title']} WAR {percent(before['war'])}, UAR {percent(before['uar'])}."
    )


def speed_verdict(report: Report) -> str:
    """How fast is it here? A sentence for each engine beside the reference."""
    return " ".join(_speed_sentence(report, engine) for engine in _others(report))


def _speed_sentence(report: Report, engine: dict[str, Any]) -> str:
    latency, threads = engine["latency"], engine["threads"]
    sentence = (
        f"{engine['title']} answers an utterance in {milliseconds(latency['p50'])} (median; 99 % within "
        f"{milliseconds(latency['p99'])}) on {threads} thread{'s' if threads > 1 else ''}"
    )
    if engine["speedup"] is None:
        return sentence + "."
    reference = report["engines"][report["reference"]]["title"]
    return f"{sentence}, at {factor(engine['speedup'])} the throughput of {reference}."


def noise(report: Report) -> str | None:
    """A warning where other processes used `NOISE` cores or more while the clock ran."""
    load = report["timing"]["other_load"]
    if load is None or load < NOISE:
        return None
    return f"Other processes kept {load:.1f} cores busy meanwhile: the times are disturbed."


def to_text(report: Report) -> str:
    """The verdicts and the main figures for a terminal."""
    engines = report["engines"]
    rows = [
        (
            title,
            *("skipped" if engine["skipped"] else show(engine[group][key]) for engine in engines.values()),
        )
        for title, group, key, show in (
            ("WAR", "accuracy", "war", percent),
            ("UAR", "accuracy", "uar", percent),
            ("weighted F1", "accuracy", "weighted_f1", percent),
            *(
                (f"latency {key}", "latency", key, milliseconds)
                for key in ("p50", "p90", "p95", "p99", "mean")
            ),
            ("utterances/s", "throughput", "value", three_digits),
        )
    ]
    if report["protocol"]["speech_seconds"]:
        values = ("skipped" if e["skipped"] else three_digits(e["rtf"]["value"]) for e in engines.values())
        rows.append(("real-time factor", *values))
    for title, key, show in (
        ("label agreement", "label_agreement", percent),
        ("labels changed", "labels_changed", count),
        ("near-ties", "near_ties", count),
        ("largest probability difference", "max_probability_difference", difference),
        ("mean probability difference", "mean_probability_difference", difference),
    ):
        parities = [engine["parity"] for engine in engines.values()]
        rows.append((title, *("-" if parity is None else show(parity[key]) for parity in parities)))
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        accuracy_verdict(report),
        speed_verdict(report),
        *filter(None, [noise(report)]),
        "",
        table(rows, ("", *(engine["title"] for engine in engines.values()))),
        *(f"{e['title']} skipped: {e['skipped']}" for e in engines.values() if e["skipped"]),
        "",
        protocol_line(report),
        f"{machine['cpu']} ({', '.join(machine['instruction_sets'] or [machine['architecture']])}), "
        f"{machine['cores']['usable']} cores, {machine['os']}, Python {machine['python']}, {versions}",
    ]
    return "\n".join(lines)


def to_html(report: Report) -> str:
    """The whole report as one page that needs no other file."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from mtab_bench import pictures

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = {show.__name__: _figure(show) for show in FORMATS}
    environment.filters |= figures
    environment.globals |= figures
    return environment.get_template("report.html.j2").render(
        report=report,
        protocol_line=protocol_line(report),
        accuracy_verdict=accuracy_verdict(report),
        speed_verdict=speed_verdict(report),
        noise=noise(report),
        pictures=pictures,
    )


def _figure(show: Callable[[Any], str]) -> Callable[[Any], Markup]:
    """A filter that shows a number rounded and keeps it whole for machines."""

    def figure(value: Any) -> Markup:
        if value is None:
            return Markup("–")
        return Markup('<data value="{}">{}</data>').format(repr(value), show(value))

    return figure


def _others(report: Report) -> list[dict[str, Any]]:
    return [engine for name, engine in report["engines"].items() if name != report["reference"]]
