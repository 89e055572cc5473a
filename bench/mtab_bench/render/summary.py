"""What a report answers: a sentence for each question, a row for each engine, the line every figure carries.

Nothing is computed here but counts of engines: every other number is one of the report's, rounded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mtab.machine import load_warning
from mtab_bench.backends import BASELINE_TITLES
from mtab_bench.render.formats import (
    count,
    difference,
    factor,
    milliseconds,
    percent,
    seconds,
    three_digits,
    two_digits,
)

Report = dict[str, Any]

SECTIONS = {
    "evaluation": "mtab-bench --dataset",
    "speed": "mtab-bench latency",
    "batching": "mtab-bench batching",
    "invariance": "mtab-bench invariance",
    "training": "mtab-bench training",
}
"""The sections that a report may have, in the order of reading, and the command that measures each."""
TITLES = {
    "evaluation": "Accuracy",
    "speed": "Speed",
    "batching": "Batches",
    "invariance": "Invariance",
    "training": "Training",
}
PEERS = tuple(BASELINE_TITLES)
"""The engines that need no bundle: what one would deploy otherwise."""
SIGNIFICANT = 0.05
"""A p-value of McNemar's test below which an engine is said to be right more, or less, often."""
SAME_SPEED = 0.95, 1.05
"""Between these multiples of the reference's throughput an engine is called as fast."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, the answer in a few words, and the sentence that supports it."""

    question: str
    lead: str
    sentence: str


@dataclass(frozen=True, slots=True)
class EngineRow:
    """An engine in the first table; a figure that was not measured is None."""

    title: str
    precision: str
    uar: float | None
    labels_changed: int | None
    p50: float | None
    speedup: float | None
    memory: float | None
    verdict: str


def answers(report: Report) -> list[Answer]:
    """One answer for each question that the report's sections can answer."""
    found = []
    if "evaluation" in report:
        found.append(_accuracy(report["evaluation"]))
    if "speed" in report or "evaluation" in report:
        found.append(_speed(report))
    if "invariance" in report:
        found.append(_invariance(report["invariance"]))
    if "batching" in report:
        found.append(_batching(report["batching"]))
    if "training" in report:
        found.append(_training(report["training"]))
    return found


def section_answers(report: Report, name: str) -> list[Answer]:
    """What one section says for itself, as if the report had no other."""
    return answers({name: report[name]})


def warnings(report: Report) -> list[str]:
    """What a reader must know before believing a figure: made-up data, noise, classes that are not heard."""
    found = []
    evaluation = report.get("evaluation")
    if evaluation and evaluation["protocol"]["synthetic"]:
        found.append(
            "Synthetic speech: the accuracy shows that the product works from end to end, not how well it "
            "recognises the emotions of people."
        )
    if "speed" in report and report["speed"]["random_weights"]:
        found.append("Random weights: the speed is that of a model of this size that was not trained.")
    found += [f"{TITLES[name]}: {noise(report[name])}" for name in SECTIONS if noise(report.get(name, {}))]
    if evaluation and (unheard := unheard_classes(evaluation["protocol"])):
        found.append(unheard)
    return found


def missing(report: Report) -> list[str]:
    """The commands whose section the report lacks."""
    return [command for name, command in SECTIONS.items() if name not in report]


def engine_rows(report: Report) -> list[EngineRow]:
    """Every engine of the report, once; times are those of `timed_case`."""
    _, timed = timed_case(report)
    parts = [report[name]["engines"] for name in ("evaluation", "speed", "invariance") if name in report]
    keys = dict.fromkeys(key for engines in parts for key in engines)
    rows = []
    for key in keys:
        entries = [engines[key] for engines in parts if key in engines]
        accuracy, parity = (_figure(report, "evaluation", key, group) for group in ("accuracy", "parity"))
        memory = _figure(report, "speed", key, "memory")
        latency = (timed.get(key) or {}).get("latency")
        rows.append(
            EngineRow(
                title=entries[0]["title"],
                precision=entries[0]["precision"] or "–",
                uar=accuracy and accuracy["uar"],
                labels_changed=parity and parity["labels_changed"],
                p50=latency and latency["p50"],
                speedup=latency and timed[key]["speedup"],
                memory=memory and memory["max_ram"],
                verdict=_verdict(report, key, entries),
            )
        )
    return rows


def timed_case(report: Report) -> tuple[str, dict[str, Any]]:
    """What the first table's times are of, in words, and the engines with their ``latency`` and ``speedup``.

    That is the smallest batch, of speech of the middle length, where speed was measured beside all that
    one could use otherwise; else the test utterances.
    """
    if "speed" in report:
        case = main_case(report["speed"])
        return case_title(case), case["engines"]
    if "evaluation" in report:
        return "test utterances one at a time", report["evaluation"]["engines"]
    return "", {}


def main_case(speed: dict[str, Any]) -> dict[str, Any]:
    """The case of the smallest batch and, among these, of the middle length."""
    smallest = min(case["batch_size"] for case in speed["cases"])
    ordered = sorted(
        (case for case in speed["cases"] if case["batch_size"] == smallest), key=lambda case: case["seconds"]
    )
    return ordered[len(ordered) // 2]


def case_title(case: dict[str, Any]) -> str:
    size = "one utterance" if case["batch_size"] == 1 else f"a batch of {case['batch_size']}"
    return f"{size} of {case['seconds']:g} s"


def chosen(evaluation: dict[str, Any]) -> str | None:
    """The bundle's fastest engine among those that lost no accuracy; None if none of its engines ran."""
    ran = _ran(evaluation["engines"])
    kept = {key: engine for key, engine in ran.items() if not lost(engine)} or ran
    return max(kept, key=lambda key: kept[key]["throughput"]["value"], default=None)


def lost(engine: dict[str, Any]) -> bool:
    """Whether an engine is right significantly less often than the reference."""
    test = engine["parity"] and engine["parity"]["mcnemar"]
    return bool(
        test and test["p_value"] < SIGNIFICANT and test["only_reference_right"] > test["only_engine_right"]
    )


def protocol_line(protocol: dict[str, Any], of: str = "test utterances") -> str:
    """What every figure carries: corpus, fold, protocol, classes, utterances, problems, seed, hash.

    ``of`` says which utterances these are. Made-up speech has no fold.
    """
    parts = [protocol["title"]]
    if protocol["fold"] is not None:
        parts += [f"fold {protocol['fold']} of {protocol['folds']}", f"{protocol['protocol']} protocol"]
    parts += [f"{len(protocol['classes'])} classes", f"{protocol['utterances']} {of}"]
    if "problem_count" in protocol:
        parts.append(f"problems skipped: {protocol['problem_count']}")
    return "; ".join([*parts, f"seed {protocol['seed']}", f"corpus {protocol['corpus_sha256'][:12]}"])


def section_line(report: Report, name: str) -> str:
    """The line that every figure of a section carries."""
    section = report[name]
    match name:
        case "evaluation":
            return protocol_line(section["protocol"])
        case "invariance":
            of = "utterances" if section["protocol"]["fold"] is None else "test utterances"
            parts = (protocol_line(section["protocol"], of), f"batches of {section['batch_size']}")
        case "speed":
            weights = "random weights" if section["random_weights"] else "trained weights"
            size = section["parameters"]
            parameters = "" if size is None else f"{count(size)} parameters, "
            parts = (
                f"{report['bundle']['name']}: {parameters}{weights}",
                "made-up speech and text",
                f"{section['timing']['threads']} threads",
                f"warm-up {section['timing']['warmup']}",
                f"at least {section['timing']['min_seconds']:g} s each",
            )
        case "batching":
            durations = section["durations"]
            parts = (
                f"durations of {section['dataset']}: {count(durations['count'])} utterances",
                f"{seconds(durations['total_seconds'])} of speech",
                f"engine {section['engine']} in {section['precision']}",
            )
        case _:
            parts = (
                protocol_line(section["protocol"], "training utterances"),
                f"preset {section['preset']}",
                f"{section['epochs']} epochs",
            )
    return "; ".join(parts)


def unheard_classes(protocol: dict[str, Any]) -> str | None:
    """Over how many classes UAR is, where some class has no test utterance."""
    found = protocol["utterances_per_class"]
    empty = [label for label in protocol["classes"] if not found[label]]
    if not empty:
        return None
    total = len(protocol["classes"])
    return (
        f"UAR is over {total - len(empty)} of the {total} classes: no test utterance of {', '.join(empty)}."
    )


def noise(section: dict[str, Any]) -> str | None:
    """A warning where other processes kept the machine busy while the clock ran."""
    return load_warning(section.get("timing", {}).get("other_load"))


def machine_line(machine: dict[str, Any]) -> str:
    """Processor, cores, system and versions in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']} ({', '.join(machine['instruction_sets'] or [machine['architecture']])}), "
        f"{machine['cores']['usable']} cores, {machine['os']}, Python {machine['python']}, {versions}"
    )


def _accuracy(evaluation: dict[str, Any]) -> Answer:
    question = "Did deployment cost accuracy?"
    reference, ran = evaluation["engines"][evaluation["reference"]], _ran(evaluation["engines"])
    best = chosen(evaluation)
    if best is None:
        return Answer(question, "Not known.", "Every engine of the bundle was skipped.")
    if reference["skipped"]:
        return Answer(
            question,
            "Not known.",
            f"{reference['title']} was skipped; {ran[best]['title']} alone reaches {_reached(ran[best])}.",
        )
    title, total = reference["title"], reference["accuracy"]["utterances"]
    changed = [engine for engine in ran.values() if engine["parity"]["labels_changed"]]
    if not changed:
        return Answer(
            question,
            "No.",
            f"{_subject(ran.values())} {title}'s label for all {total} test utterances "
            f"({_reached(reference)}).",
        )
    losing = [engine for engine in ran.values() if lost(engine)]
    worst = max(losing or changed, key=lambda engine: engine["parity"]["labels_changed"])
    parity = worst["parity"]
    told = (
        f"{worst['title']} changes {parity['labels_changed']} of {total} labels "
        f"({parity['labels_changed_at_near_ties']} at a near-tie) and reaches {_reached(worst)}, {title} "
        f"{_reached(reference)} (McNemar's p = {two_digits(parity['mcnemar']['p_value'])})"
    )
    if losing:
        lead = f"Yes, with {_listing(engine['title'] for engine in losing)}."
        kept = len(ran) - len(losing)
        rest = f"; {kept} of {len(ran)} engines lose nothing that can be told from chance" if kept else ""
        return Answer(question, lead, f"{told}{rest}.")
    same = len(ran) - len(changed)
    rest = f"; {same} of {len(ran)} engines change no label" if len(ran) > 1 else ""
    most = "The most: " if len(changed) > 1 else ""
    return Answer(question, "Nothing that can be told from chance.", f"{most}{told}{rest}.")


def _speed(report: Report) -> Answer:
    question = "How fast is it here?"
    of, timed = timed_case(report)
    section = report["speed" if "speed" in report else "evaluation"]
    entries = section["engines"]
    times = {key: value for key, value in timed.items() if value["latency"]}
    ours = max(_ran(times), key=lambda key: times[key]["throughput"]["value"], default=None)
    if ours is None:
        return Answer(question, "Not known.", "Every engine of the bundle was skipped.")
    latency, threads, speedup = times[ours]["latency"], entries[ours]["threads"], times[ours]["speedup"]
    sentence = (
        f"{entries[ours]['title']}, the bundle's fastest engine, takes {milliseconds(latency['p50'])} for "
        f"{of} (median; 99 % within {milliseconds(latency['p99'])}) on {threads} "
        f"thread{'s' if threads > 1 else ''}"
    )
    if speedup is None:
        return Answer(question, f"{milliseconds(latency['p50'])}.", f"{sentence}.")
    lead = f"{factor(speedup)} {entries[section['reference']]['title']}."
    others = [key for key in times if key in PEERS and key != section["reference"]]
    if others:
        peer = max(others, key=lambda key: times[key]["speedup"])
        sentence += (
            f"; the fastest that needs no bundle, {entries[peer]['title']}, runs at "
            f"{factor(times[peer]['speedup'])}"
        )
    return Answer(question, lead, f"{sentence}.")


def _invariance(section: dict[str, Any]) -> Answer:
    question = "Is the answer the same in any batch?"
    ran = [engine for engine in section["engines"].values() if not engine["skipped"]]
    if not ran:
        return Answer(question, "Not known.", "Every engine was skipped.")
    beyond = [engine for engine in ran if not within_budget(engine)]
    farthest = max(beyond or ran, key=lambda engine: engine["max_difference"])
    reached = f"{difference(farthest['max_difference'])} ({farthest['title']})"
    labels = sum(engine["labels_changed"] for engine in ran)
    ways = _listing(dict.fromkeys(way for engine in ran for way in engine["ways"]))
    published = section["published"]
    beside = f"; {published['title']}: {difference(published['max_difference'])}" if published else ""
    if beyond:
        return Answer(
            question,
            f"Not with {_listing(engine['title'] for engine in beyond)}.",
            f"Against the utterance alone, {ways}, probabilities move by up to {reached}, beyond the "
            f"budget of {difference(farthest['budget'])}{beside}.",
        )
    told = "no label changes" if labels == 0 else f"{labels} labels change"
    return Answer(
        question,
        "Yes.",
        f"Against the utterance alone, {ways}, probabilities move by {reached} at most, within every "
        f"engine's budget, and {told}{beside}.",
    )


def _batching(section: dict[str, Any]) -> Answer:
    first, *_ = section["ways"]
    best = max(section["ways"], key=lambda way: way["speedup"])
    return Answer(
        "What do batches bring?",
        f"{factor(best['speedup'])} the throughput.",
        f"“{best['name']}” answers {three_digits(best['throughput']['value'])} utterances a second where "
        f"“{first['name']}” answers {three_digits(first['throughput']['value'])}, and computes "
        f"{factor(best['padding'])} the speech.",
    )


def _training(section: dict[str, Any]) -> Answer:
    first, *_ = section["variants"]
    best = max(section["variants"], key=lambda variant: variant["speedup"])
    return Answer(
        "How fast is training?",
        f"{factor(best['speedup'])} the padded loop.",
        f"“{best['name']}” trains an epoch in {seconds(best['median_seconds'])} (median) where "
        f"“{first['name']}” takes {seconds(first['median_seconds'])}; the last training losses are "
        f"{three_digits(best['losses'][-1])} and {three_digits(first['losses'][-1])}.",
    )


def within_budget(engine: dict[str, Any]) -> bool:
    """Whether an engine's answers moved no farther, from batch to batch, than its precision allows."""
    return engine["max_difference"] <= engine["budget"]


def _verdict(report: Report, key: str, entries: Sequence[dict[str, Any]]) -> str:
    reasons = {entry["skipped"]: None for entry in entries if entry["skipped"]}
    said = [f"skipped: {reason}" for reason in reasons]
    if key in {report[name].get("reference") for name in ("evaluation", "speed") if name in report}:
        return "; ".join(["the reference", *said])
    parity = _figure(report, "evaluation", key, "parity")
    if parity:
        engine = report["evaluation"]["engines"][key]
        if parity["labels_changed"] == 0:
            said.append("same labels")
        else:
            said.append("right less often" if lost(engine) else "no measurable loss")
    speedup = (timed_case(report)[1].get(key) or {}).get("speedup")
    if speedup is not None:
        slow, fast = SAME_SPEED
        said.append("slower" if speedup < slow else "faster" if speedup > fast else "as fast")
    engine = report.get("invariance", {}).get("engines", {}).get(key)
    if engine and not engine["skipped"]:
        said.append("same in any batch" if within_budget(engine) else "moves with the batch")
    return ", ".join(said) or "timed among the parts alone"


def _figure(report: Report, section: str, key: str, group: str) -> Any:
    return report.get(section, {}).get("engines", {}).get(key, {}).get(group)


def _ran(engines: dict[str, Any]) -> dict[str, Any]:
    """The bundle's engines that were measured."""
    return {key: engine for key, engine in engines.items() if key not in PEERS and not engine.get("skipped")}


def _reached(engine: dict[str, Any]) -> str:
    return f"WAR {percent(engine['accuracy']['war'])}, UAR {percent(engine['accuracy']['uar'])}"


def _subject(engines: Iterable[dict[str, Any]]) -> str:
    titles = [engine["title"] for engine in engines]
    return f"{titles[0]} gives" if len(titles) == 1 else f"All {len(titles)} engines give"


def _listing(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
