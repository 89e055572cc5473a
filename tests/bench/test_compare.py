"""What two reports differ in: tests against scipy and hand-worked examples, and what is not compared."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, mannwhitneyu

from mtab.errors import DataError
from mtab_bench.commands.compare import compare_command
from mtab_bench.report import Report, report_values
from mtab_bench.sections.compare import compare, holm
from mtab_bench.sections.samples import Latency
from mtab_bench.sections.section import Conditions

KEY = "onnxruntime-fp32"


@pytest.fixture
def first(report: Report) -> Report:
    """Measured while nothing else ran."""
    return on(report, "evaluation", timing=Conditions(2, 0.05, False, ""))


@pytest.fixture
def second(first: Report) -> Report:
    return first


def on(report: Report, name: str, **changes: Any) -> Report:
    """The report with other values in a section."""
    return report.with_section(replace(report.sections[name], **changes))


def spoil(report: Report, count: int) -> Report:
    """Make ``KEY`` wrong about ``count`` utterances that it was right about."""
    assert report.evaluation is not None
    classes, utterances = report.evaluation.protocol.classes, []
    for each in report.evaluation.utterances:
        probabilities = each.probabilities[KEY]
        if count and int(np.argmax(probabilities)) == classes.index(each.true):
            rolled = tuple(np.roll(probabilities, 1).tolist())
            each = replace(each, probabilities=each.probabilities | {KEY: rolled})
            count -= 1
        utterances.append(each)
    assert not count
    return on(report, "evaluation", utterances=tuple(utterances))


def slow(report: Report, share: float) -> Report:
    """Make every sample of ``KEY`` in the evaluation longer by a share."""
    assert report.evaluation is not None
    backend = report.evaluation.backends[KEY]
    assert backend.timed is not None
    latency = Latency.of(np.array(backend.timed.latency.values) * (1 + share))
    backend = replace(backend, timed=replace(backend.timed, latency=latency))
    return on(report, "evaluation", backends=report.evaluation.backends | {KEY: backend})


def test_a_report_does_not_differ_from_itself(first: Report, second: Report) -> None:
    found = compare(first, second)
    assert found.notes == ()
    assert not any(each.significant for each in found.changes)
    assert {each.p_value for each in found.changes} == {1.0}
    assert first.evaluation is not None
    assert {each.backend for each in found.changes if each.figure == "accuracy"} == set(
        first.evaluation.measured
    )


def test_accuracy(first: Report, second: Report) -> None:
    second = spoil(second, 30)
    (change,) = (each for each in compare(first, second).changes if each.significant)
    assert (change.figure, change.backend, change.worse) == ("accuracy", KEY, True)
    assert change.p_value == pytest.approx(binomtest(30, 30).pvalue)
    assert change.before - change.after == pytest.approx(30 / 120)
    (change,) = (each for each in compare(second, first).changes if each.significant)
    assert not change.worse
    # Four utterances are chance (p = 1/8).
    few = spoil(first, 4)
    assert not any(each.significant for each in compare(first, few).changes)


def test_latency_by_chance_and_by_size(first: Report, second: Report) -> None:
    second = slow(second, 0.5)
    (change,) = (each for each in compare(first, second).changes if each.significant)
    timed = [each.evaluation.backends[KEY].timed for each in (first, second) if each.evaluation]
    values = [each.latency.values for each in timed if each]
    assert (change.figure, change.backend, change.worse) == ("latency", KEY, True)
    assert change.p_value == pytest.approx(mannwhitneyu(*values).pvalue)
    assert not any(each.significant for each in compare(first, second, threshold=0.6).changes)
    (change,) = (each for each in compare(second, first).changes if each.significant)
    assert not change.worse


def test_other_machines_are_not_timed_against_each_other(first: Report, second: Report) -> None:
    second = slow(second, 2.0)
    for name in ("evaluation", "speed"):
        second = on(second, name, machine=replace(second.sections[name].machine, cpu="another"))
    found = compare(first, second)
    assert {each.figure for each in found.changes} == {"accuracy"}
    assert [note.split(":")[0] for note in found.notes] == ["evaluation", "speed"]
    assert all("times are not compared: cpu is another in the second report" in note for note in found.notes)
    second = on(first, "evaluation", timing=Conditions(64, 0.05, False, ""))
    assert "64 threads in the second report" in compare(first, second).notes[0]


def test_a_busy_machine_is_not_taken_for_a_slow_engine(first: Report, second: Report) -> None:
    second = slow(second, 2.0)
    second = on(second, "evaluation", timing=Conditions(2, 1.7, True, ""))
    found = compare(first, second)
    assert not any(each.significant for each in found.changes)
    expected = "evaluation: times are not compared: other processes kept 1.7 cores busy during the second"
    assert found.notes == (expected,)


def test_backends_of_one_report_are_named(first: Report, second: Report) -> None:
    assert first.evaluation is not None
    rest = {key: backend for key, backend in first.evaluation.backends.items() if key != KEY}
    second = on(second, "evaluation", backends=rest)
    assert compare(first, second).notes == (f"evaluation: only the first report has {KEY}",)
    assert compare(second, first).notes == (f"evaluation: only the second report has {KEY}",)


def test_other_utterances_are_refused(first: Report, second: Report) -> None:
    assert first.evaluation is not None
    second = on(second, "evaluation", protocol=replace(first.evaluation.protocol, corpus_sha256="f" * 64))
    with pytest.raises(DataError, match="corpus_sha256 is ffff"):
        compare(first, second)
    second = on(first, "evaluation", utterances=first.evaluation.utterances[::-1])
    with pytest.raises(DataError, match="other test utterances"):
        compare(first, second)


def test_holm_worked_example() -> None:
    # 4 × 0.01, 3 × 0.02 and 2 × 0.03 (not less than the one before), 0.9.
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([]) == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_rejects_as_the_step_down_procedure(p_values: list[float], alpha: float) -> None:
    rejected = set()
    for step, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if not p_values[i] * (len(p_values) - step) < alpha:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(holm(p_values)) if p < alpha} == rejected


def test_command(first: Report, second: Report, report_of: Callable[..., Report], tmp_path: Path) -> None:
    second = spoil(second, 30)
    training = report_of(first.training)
    for name, report in (("a", first), ("b", second), ("training", training)):
        (tmp_path / f"{name}.json").write_text(json.dumps(report_values(report)))

    def run(*arguments: str) -> tuple[int, str, str]:
        paths = [str(tmp_path / each) if each.endswith(".json") else each for each in arguments]
        done = CliRunner().invoke(compare_command, paths)
        return done.exit_code, done.stdout, done.stderr

    code, told, _ = run("a.json", "a.json")
    assert (code, "No significant change in " in told) == (0, True)
    assert "the same checkpoint and bundle, measured twice" in told
    assert "runs/tiny/bundle (checkpoint cccccccccccc)" in told
    code, told, error = run("a.json", "b.json")
    assert code == 1
    assert "worse" in told
    assert error.count("\n") == 1
    assert f"{KEY} (accuracy, test utterances)" in error
    code, told, _ = run("b.json", "a.json")
    assert (code, "better" in told) == (0, True)
    code, told, _ = run("a.json", "b.json", "--json")
    changes = json.loads(told)["changes"]
    assert (code, [each["backend"] for each in changes if each["worse"]]) == (1, [KEY])
    code, _, error = run("a.json", "training.json")
    assert (code, "training.json: has no section in common" in error) == (1, True)
    assert run("a.json", "none.json")[0] == 1
    assert run("a.json")[0] == 2
    assert run("a.json", "b.json", "--alpha", "1")[0] == 2
