"""What a report answers: a sentence for each question, and what must be known before believing one.

Every number is one of the report's, rounded. A factor is quoted where it was not disturbed, and called faster
or slower where its interval leaves no doubt.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mtab.timing import Ratio
from mtab_bench.backends import BASELINE_TITLES
from mtab_bench.render.formats import (
    difference,
    factor,
    milliseconds,
    percent,
    ratio,
    seconds,
    three_digits,
    two_digits,
)
from mtab_bench.report import Report
from mtab_bench.sections.batching import Batching
from mtab_bench.sections.evaluation import EvaluatedBackend, Evaluation
from mtab_bench.sections.invariance import Invariance
from mtab_bench.sections.samples import Timed
from mtab_bench.sections.section import BackendEntry, Protocol, Section
from mtab_bench.sections.speed import Speed, SpeedCase
from mtab_bench.sections.training import Training


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, the answer in a few words, and the sentence that supports it."""

    question: str
    lead: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Times:
    """What the main times are of, in words, the section they are from, and those of each backend."""

    of: str
    section: Evaluation | Speed
    timed: Mapping[str, Timed]


def answers(report: Report) -> list[Answer]:
    """One answer for each question that the report's sections can answer."""
    found = []
    if report.evaluation is not None:
        found.append(_accuracy(report.evaluation))
    if (times := main_times(report)) is not None:
        found.append(_speed(times))
    if report.invariance is not None:
        found.append(_invariance(report.invariance))
    if report.batching is not None:
        found.append(_batching(report.batching))
    if report.training is not None:
        found.append(_training(report.training))
    return found


def section_answers(report: Report, name: str) -> list[Answer]:
    """What one section says for itself, as if the report had no other."""
    return answers(Report(report.schema_version, report.bundle, **{name: getattr(report, name)}))


def warnings(report: Report) -> list[str]:
    """What a reader must know before believing a figure: what the data was, noise, what is missing."""
    found = []
    evaluation = report.evaluation
    if evaluation is not None and evaluation.protocol.synthetic:
        found.append(
            "Synthetic speech: the accuracy shows that the product works from end to end, not how well it "
            "recognises the emotions of people."
        )
    if evaluation is not None and (told := chance_warning(evaluation)):
        found.append(told)
    if report.speed is not None and report.speed.random_weights:
        found.append("Random weights: the speed is that of a model of this size that was not trained.")
    for section in report.sections.values():
        found += [f"{section.title}: {warning}" for warning in section_warnings(section)]
    if evaluation is not None and (unheard := unheard_classes(evaluation.protocol)):
        found.append(unheard)
    return found


def section_warnings(section: Section) -> list[str]:
    """What is missing of a section's corpus or known to its model, what disturbed it, or ended it early."""
    found = [] if section.protocol is None else _corpus_warnings(section.protocol)
    if section.timing is not None and section.timing.warning:
        found.append(section.timing.warning)
    if section.interrupted:
        found.append("Interrupted: it holds what was complete by then.")
    return found


def _corpus_warnings(protocol: Protocol) -> list[str]:
    """What was left out of a corpus, and what the model was trained on."""
    found = []
    if protocol.left_out:
        labels = ", ".join(f"{label} {number}" for label, number in protocol.left_out.items())
        total = sum(protocol.left_out.values())
        found.append(f"{total} utterances left out, whose labels are no class of the model: {labels}.")
    if protocol.overlap:
        found.append(
            f"{protocol.overlap} of {protocol.utterances} clips are among those that the model was trained "
            "on: the figures flatter."
        )
    elif protocol.overlap is None and protocol.part is not None and protocol.fold is None:
        found.append("Whether the model was trained on these utterances is not known.")
    return found


def chance_warning(evaluation: Evaluation) -> str | None:
    """A sentence where luck explains the model's figures."""
    best = evaluation.measured.get(evaluation.reference) or next(iter(evaluation.measured.values()), None)
    if best is None or best.accuracy is None or not best.accuracy.at_chance:
        return None
    chance = best.accuracy.chance
    luck = f"a WAR of up to {percent(chance.war_limit)} and a UAR of up to {percent(chance.uar_limit)}"
    return (
        f"A model at chance: {best.title} reaches {_reached(best)}; on {best.accuracy.utterances} utterances "
        f"luck gives {luck}."
    )


def unheard_classes(protocol: Protocol) -> str | None:
    """Over how many classes UAR is, where some class has no test utterance."""
    found = protocol.utterances_per_class or {}
    empty = [label for label in protocol.classes if not found.get(label)]
    if not empty:
        return None
    total = len(protocol.classes)
    return (
        f"UAR is over {total - len(empty)} of the {total} classes: no test utterance of {', '.join(empty)}."
    )


def main_times(report: Report) -> Times | None:
    """The times that the first table shows: of the main case of ``speed``, else of the test utterances."""
    if report.speed is not None:
        case = main_case(report.speed)
        return Times(case_title(case), report.speed, case.timed)
    if report.evaluation is not None:
        found = {key: each.timed for key, each in report.evaluation.measured.items()}
        timed = {key: each for key, each in found.items() if each is not None}
        return Times("test utterances one at a time", report.evaluation, timed)
    return None


def main_case(speed: Speed) -> SpeedCase:
    """The case of the smallest batch and, among these, of the middle length."""
    smallest = min(case.batch_size for case in speed.cases)
    ordered = sorted(
        (case for case in speed.cases if case.batch_size == smallest), key=lambda case: case.seconds
    )
    return ordered[len(ordered) // 2]


def case_title(case: SpeedCase) -> str:
    """``one utterance of 4.5 s``."""
    size = "one utterance" if case.batch_size == 1 else f"a batch of {case.batch_size}"
    return f"{size} of {case.seconds:g} s"


def chosen(evaluation: Evaluation) -> str | None:
    """The bundle's fastest backend among those that lost no accuracy and kept to their budgets.

    The fastest of all if none is left, None if none of the bundle's backends ran.
    """
    ran = {key: each for key, each in evaluation.measured.items() if key not in BASELINE_TITLES}
    kept = {key: each for key, each in ran.items() if not lost(each) and not over_budget(each)} or ran
    timed = {key: each.timed for key, each in kept.items() if each.timed is not None}
    return _fastest(timed) or next(iter(kept), None)


def lost(backend: EvaluatedBackend) -> bool:
    """Whether a backend is right significantly less often than the reference."""
    return backend.parity is not None and backend.parity.mcnemar.lost


def over_budget(backend: EvaluatedBackend) -> bool:
    """Whether a backend's answers are farther from the reference's than its precision's budget allows."""
    return backend.parity is not None and bool(backend.parity.failures)


def compared(speedup: Ratio) -> str:
    """Faster, slower or as fast, as sure as the interval is."""
    if speedup.disturbed:
        return "times disturbed"
    return "faster" if speedup.low > 1 else "slower" if speedup.high < 1 else "as fast"


def _fastest(timed: Mapping[str, Timed]) -> str | None:
    return max(timed, key=lambda key: timed[key].throughput.value, default=None)


def _accuracy(evaluation: Evaluation) -> Answer:
    question = "Did deployment cost accuracy?"
    measured = evaluation.measured
    reference = evaluation.backends[evaluation.reference]
    ran = {key: each for key, each in measured.items() if key not in BASELINE_TITLES}
    best = chosen(evaluation)
    if best is None:
        return Answer(question, "Not known.", "Every backend of the bundle was skipped.")
    if reference.accuracy is None:
        told = f"{reference.title} was skipped; {ran[best].title} alone reaches {_reached(ran[best])}."
        return Answer(question, "Not known.", told)
    total = reference.accuracy.utterances
    beyond = [each.title for each in ran.values() if over_budget(each)]
    budgets = f" Over budget: {_listing(beyond)}." if beyond else ""
    pairs = {key: (each, each.parity) for key, each in ran.items() if each.parity is not None}
    changed = {key: pair for key, pair in pairs.items() if pair[1].labels_changed}
    if not changed:
        told = f"{_subject(ran.values())} {reference.title}'s label for all {total} test utterances "
        return Answer(question, "No.", f"{told}({_reached(reference)}).{budgets}")
    losing = {key: pair for key, pair in changed.items() if lost(pair[0])}
    worst, parity = max((losing or changed).values(), key=lambda pair: pair[1].labels_changed)
    told = (
        f"{worst.title} changes {parity.labels_changed} of {total} labels "
        f"({len(parity.figures.changed_near_ties)} at a near tie) and reaches {_reached(worst)}, "
        f"{reference.title} {_reached(reference)} (McNemar's p = {two_digits(parity.mcnemar.p_value)})"
    )
    if losing:
        kept = len(ran) - len(losing)
        rest = f"; {kept} of {len(ran)} backends show no measurable loss" if kept else ""
        lead = f"Yes, with {_listing(each.title for each, _ in losing.values())}."
        return Answer(question, lead, f"{told}{rest}.{budgets}")
    same = len(ran) - len(changed)
    rest = f"; {same} of {len(ran)} backends change no label" if len(ran) > 1 else ""
    most = "The most: " if len(changed) > 1 else ""
    return Answer(question, "No measurable loss.", f"{most}{told}{rest}.{budgets}")


def _speed(times: Times) -> Answer:
    question, backends = "How fast is it here?", times.section.backends
    ours = _fastest({key: each for key, each in times.timed.items() if key not in BASELINE_TITLES})
    if ours is None:
        return Answer(question, "Not known.", "No backend of the bundle was timed.")
    timed, threads = times.timed[ours], backends[ours].threads
    threads = f" on {threads} thread{'s' if threads > 1 else ''}" if threads else ""
    sentence = (
        f"{backends[ours].title}, the bundle's fastest backend, takes {milliseconds(timed.latency.p50)} for "
        f"{times.of}, every one of a new length (median; 99 % within {milliseconds(timed.latency.p99)})"
        f"{threads}"
    )
    if timed.repeated is not None:
        sentence += f", {milliseconds(timed.repeated.p50)} for a length that came before"
    lead = f"{milliseconds(timed.latency.p50)}."
    if timed.speedup is None:
        return Answer(question, lead, f"{sentence}.")
    reference = backends[times.section.reference].title
    if timed.speedup.disturbed:
        return Answer(question, lead, f"{sentence}. Other processes disturbed it: no factor can be given.")
    lead = (
        f"As fast as {reference}."
        if timed.speedup.low <= 1 <= timed.speedup.high
        else f"{factor(timed.speedup.value)} {reference}."
    )
    sentence += f"; that is {ratio(timed.speedup)} {reference}"
    others = {
        key: each
        for key, each in times.timed.items()
        if key in BASELINE_TITLES and key != times.section.reference and each.speedup is not None
    }
    if (baseline := _fastest(others)) is not None and (best := others[baseline].speedup) is not None:
        sentence += f", the fastest that needs no bundle, {backends[baseline].title}, {ratio(best)}"
    return Answer(question, lead, f"{sentence}.")


def _invariance(section: Invariance) -> Answer:
    question = "Is the answer the same in any batch?"
    moved = [(each, each.movement) for each in section.backends.values() if each.movement is not None]
    if not moved:
        return Answer(question, "Not known.", "Every backend was skipped.")
    beyond = [(each, movement) for each, movement in moved if not each.within_budget]
    farthest, movement = max(beyond or moved, key=lambda pair: pair[1].max_difference)
    reached = f"{difference(movement.max_difference)} ({farthest.title})"
    labels = sum(movement.labels_changed for _, movement in moved)
    company = _listing(movement.differences)
    published = section.published
    beside = f"; {published.title}: {difference(published.movement.max_difference)}" if published else ""
    if beyond:
        return Answer(
            question,
            f"Not with {_listing(each.title for each, _ in beyond)}.",
            f"Against the utterance unbatched, {company}, probabilities move by up to {reached}, beyond the "
            f"budget of {difference(farthest.budget or 0)}{beside}.",
        )
    told = "no label changes" if labels == 0 else f"{labels} labels change"
    return Answer(
        question,
        "Yes.",
        f"Against the utterance unbatched, {company}, probabilities move by {reached} at most, within every "
        f"backend's budget, and {told}{beside}.",
    )


def _batching(section: Batching) -> Answer:
    first, *_ = section.strategies
    best = max(section.strategies, key=lambda each: each.throughput.value)
    return Answer(
        "What do batches bring?",
        _gain(best.speedup, "the throughput"),
        f"“{best.name}” answers {three_digits(best.throughput.value)} utterances a second where "
        f"“{first.name}” answers {three_digits(first.throughput.value)}, and computes "
        f"{factor(best.padding)} the speech{_interval(best.speedup)}.",
    )


def _training(section: Training) -> Answer:
    first, *_ = section.recipes
    best = min(section.recipes, key=lambda each: each.median_seconds)
    return Answer(
        "How fast is training?",
        _gain(best.speedup, "the padded loop"),
        f"“{best.name}” trains an epoch in {seconds(best.median_seconds)} (median) where "
        f"“{first.name}” takes {seconds(first.median_seconds)}{_interval(best.speedup)}; the last training "
        f"losses are {three_digits(best.losses[-1])} and {three_digits(first.losses[-1])}.",
    )


def _gain(speedup: Ratio | None, over: str) -> str:
    if speedup is None or speedup.low <= 1:
        return "Nothing that could be measured."
    if speedup.disturbed:
        return "Not known: other processes disturbed it."
    return f"{factor(speedup.value)} {over}."


def _interval(speedup: Ratio | None) -> str:
    return "" if speedup is None or speedup.disturbed else f": {ratio(speedup)}"


def _reached(backend: EvaluatedBackend) -> str:
    accuracy = backend.accuracy
    assert accuracy is not None
    return f"WAR {percent(accuracy.war)}, UAR {percent(accuracy.uar)} (chance {percent(accuracy.chance.uar)})"


def _subject(backends: Iterable[BackendEntry]) -> str:
    titles = [backend.title for backend in backends]
    match len(titles):
        case 1:
            return f"{titles[0]} gives"
        case 2:
            return "Both backends give"
    return f"All {len(titles)} backends give"


def _listing(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
