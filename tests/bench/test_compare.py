"""What two reports differ in: tests against scipy and hand-worked examples, and what is not compared."""

import copy
import json
from collections.abc import Callable
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
from mtab_bench.sections.compare import compare, holm

Report = dict[str, Any]
KEY = "onnxruntime-fp32"


@pytest.fixture
def first(report: Report) -> Report:
    """Measured while nothing else ran."""
    report = copy.deepcopy(report)
    report["evaluation"]["timing"]["other_load"] = 0.05
    return report


@pytest.fixture
def second(first: Report) -> Report:
    return copy.deepcopy(first)


def spoil(report: Report, count: int) -> None:
    """Make ``KEY`` wrong about ``count`` utterances that it was right about."""
    evaluation = report["evaluation"]
    classes = evaluation["protocol"]["classes"]
    for each in evaluation["utterances"]:
        probabilities = each["probabilities"][KEY]
        if count and int(np.argmax(probabilities)) == classes.index(each["true"]):
            each["probabilities"][KEY] = np.roll(probabilities, 1).tolist()
            count -= 1
    assert not count


def slow(report: Report, share: float) -> None:
    """Make every sample of ``KEY`` in the evaluation longer by a share."""
    latency = report["evaluation"]["engines"][KEY]["latency"]
    latency["values"] = [value * (1 + share) for value in latency["values"]]
    latency["p50"] *= 1 + share


def test_a_report_does_not_differ_from_itself(first: Report, second: Report) -> None:
    found = compare(first, second)
    assert found.notes == ()
    assert not any(each.significant for each in found.changes)
    assert {each.p_value for each in found.changes} == {1.0}
    engines = {key for key, engine in first["evaluation"]["engines"].items() if not engine["skipped"]}
    assert {each.engine for each in found.changes if each.figure == "accuracy"} == engines


def test_accuracy(first: Report, second: Report) -> None:
    spoil(second, 30)
    (change,) = (each for each in compare(first, second).changes if each.significant)
    assert (change.figure, change.engine, change.worse) == ("accuracy", KEY, True)
    assert change.p_value == pytest.approx(binomtest(30, 30).pvalue)
    assert change.before - change.after == pytest.approx(30 / 120)
    (change,) = (each for each in compare(second, first).changes if each.significant)
    assert not change.worse
    # Four utterances are chance (p = 1/8).
    few = copy.deepcopy(first)
    spoil(few, 4)
    assert not any(each.significant for each in compare(first, few).changes)


def test_latency_by_chance_and_by_size(first: Report, second: Report) -> None:
    slow(second, 0.5)
    (change,) = (each for each in compare(first, second).changes if each.significant)
    values = [each["evaluation"]["engines"][KEY]["latency"]["values"] for each in (first, second)]
    assert (change.figure, change.engine, change.worse) == ("latency", KEY, True)
    assert change.p_value == pytest.approx(mannwhitneyu(*values).pvalue)
    assert not any(each.significant for each in compare(first, second, threshold=0.6).changes)
    (change,) = (each for each in compare(second, first).changes if each.significant)
    assert not change.worse


def test_other_machines_are_not_timed_against_each_other(first: Report, second: Report) -> None:
    slow(second, 2.0)
    for name in ("evaluation", "speed"):
        second[name]["machine"]["cpu"] = "another"
    found = compare(first, second)
    assert {each.figure for each in found.changes} == {"accuracy"}
    assert [note.split(":")[0] for note in found.notes] == ["evaluation", "speed"]
    assert all("times are not compared: cpu is another in the second report" in note for note in found.notes)
    second = copy.deepcopy(first)
    second["evaluation"]["timing"]["threads"] = 64
    assert "64 threads in the second report" in compare(first, second).notes[0]


def test_a_busy_machine_is_not_taken_for_a_slow_engine(first: Report, second: Report) -> None:
    slow(second, 2.0)
    second["evaluation"]["timing"]["other_load"] = 1.7
    found = compare(first, second)
    assert not any(each.significant for each in found.changes)
    expected = "evaluation: times are not compared: other processes kept 1.7 cores busy during the second"
    assert found.notes == (expected,)


def test_engines_of_one_report_are_named(first: Report, second: Report) -> None:
    del second["evaluation"]["engines"][KEY]
    assert compare(first, second).notes == (f"evaluation: only the first report has {KEY}",)
    assert compare(second, first).notes == (f"evaluation: only the second report has {KEY}",)


def test_other_utterances_are_refused(first: Report, second: Report) -> None:
    second["evaluation"]["protocol"]["corpus_sha256"] = "f" * 64
    with pytest.raises(DataError, match="corpus_sha256 is ffff"):
        compare(first, second)
    second = copy.deepcopy(first)
    second["evaluation"]["utterances"].reverse()
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
    spoil(second, 30)
    training = report_of(training=first["training"])
    for name, report in (("a", first), ("b", second), ("training", training)):
        (tmp_path / f"{name}.json").write_text(json.dumps(report))

    def run(*arguments: str) -> tuple[int, str, str]:
        paths = [str(tmp_path / each) if each.endswith(".json") else each for each in arguments]
        done = CliRunner().invoke(compare_command, paths)
        return done.exit_code, done.stdout, done.stderr

    code, told, _ = run("a.json", "a.json")
    assert (code, told.startswith("No significant change in ")) == (0, True)
    code, told, error = run("a.json", "b.json")
    assert code == 1
    assert "worse" in told
    assert error.count("\n") == 1
    assert f"{KEY} (accuracy, test utterances)" in error
    code, told, _ = run("b.json", "a.json")
    assert (code, "better" in told) == (0, True)
    code, told, _ = run("a.json", "b.json", "--json")
    changes = json.loads(told)["changes"]
    assert (code, [each["engine"] for each in changes if each["worse"]]) == (1, [KEY])
    code, _, error = run("a.json", "training.json")
    assert (code, "training.json: has no section in common" in error) == (1, True)
    assert run("a.json", "none.json")[0] == 1
    assert run("a.json")[0] == 2
    assert run("a.json", "b.json", "--alpha", "1")[0] == 2
