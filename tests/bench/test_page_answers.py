"""The sentences of the page: none claims more than was measured."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mtab.timing import Ratio
from mtab_bench.render import answers, tables
from mtab_bench.render.formats import milliseconds
from mtab_bench.report import Report
from mtab_bench.sections.accuracy import McNemar


def test_answers(report: Report, report_without_change: Report, report_beyond_budget: Report) -> None:
    accuracy, speed, invariance, *_ = answers.answers(report)
    assert report.evaluation is not None
    assert report.speed is not None
    changed = report.evaluation.backends["onnxruntime-int8"]
    assert changed.parity is not None
    assert changed.accuracy is not None
    assert accuracy.lead == "No measurable loss."
    assert f"ONNX Runtime int8 changes {len(changed.parity.changed)} of 120 labels" in accuracy.sentence
    assert f"WAR {100 * changed.accuracy.war:.1f} %" in accuracy.sentence
    assert "(chance 33.3 %)" in accuracy.sentence
    times = {key: timed.speedup for key, timed in report.speed.cases[1].timed.items()}
    ours, compiled = times["onnxruntime-int8"], times["torch-compile"]
    assert ours is not None
    assert compiled is not None
    assert speed.lead == f"{ours.value:.2f} × PyTorch."
    assert f"{ours.value:.2f} × ({ours.low:.2f} to {ours.high:.2f}) PyTorch" in speed.sentence
    assert f"torch.compile, {compiled.value:.2f} ×" in speed.sentence
    assert invariance.lead == "Yes."
    assert answers.answers(report_without_change)[0].lead == "No."
    assert answers.answers(report_without_change)[0].sentence.startswith(
        "Both backends give PyTorch's label for all 40"
    )
    assert answers.answers(report_beyond_budget)[-1].lead == "Not with ONNX Runtime int8."


def test_a_disturbed_run_has_no_factor_in_its_headline(report_beyond_budget: Report) -> None:
    speed, _ = answers.answers(report_beyond_budget)
    assert speed.lead.endswith(" ms.")
    assert "no factor can be given" in speed.sentence
    assert "×" not in speed.lead + speed.sentence


@pytest.mark.parametrize(
    ("low", "high", "lead", "verdict"),
    [
        (0.97, 1.08, "As fast as PyTorch.", "as fast"),
        (1.01, 1.08, "1.04 × PyTorch.", "faster"),
        (0.90, 0.99, "1.04 × PyTorch.", "slower"),
    ],
)
def test_no_sentence_claims_more_than_its_interval(
    report: Report, report_of: Callable[..., Report], low: float, high: float, lead: str, verdict: str
) -> None:
    assert report.speed is not None
    key = "onnxruntime-int8"
    case = report.speed.cases[1]
    timed = replace(case.timed[key], speedup=Ratio(1.04, low, high, False))
    case = replace(case, backends=case.backends | {key: replace(case.backends[key], timed=timed)})
    told = report_of(replace(report.speed, cases=(case,)))
    assert answers.answers(told)[0].lead == lead
    table = tables.overview(told)
    assert table is not None
    assert {row.cells[0]: row.cells[-1] for row in table.rows}["ONNX Runtime int8"] == verdict


def test_a_model_at_chance_is_called_one(report_at_chance: Report, report: Report) -> None:
    assert any(
        each.startswith("A model at chance: PyTorch reaches") for each in answers.warnings(report_at_chance)
    )
    assert not any("at chance" in each for each in answers.warnings(report))


@pytest.mark.parametrize(
    ("count", "subject"), [(1, "ONNX Runtime gives"), (2, "Both backends give"), (3, "All 3 backends give")]
)
def test_backends_that_keep_every_label_are_counted(
    report_without_change: Report, report_of: Callable[..., Report], count: int, subject: str
) -> None:
    assert report_without_change.evaluation is not None
    evaluation = report_without_change.evaluation
    reference, *ours = evaluation.backends
    kept = [*ours, *ours][:count]
    backends = {f"{key}{i}": evaluation.backends[key] for i, key in enumerate(kept)}
    found = report_of(replace(evaluation, backends={reference: evaluation.backends[reference], **backends}))
    assert f"{subject} PyTorch's label for all 40 test utterances" in answers.answers(found)[0].sentence


def test_a_backend_that_loses_is_named(report: Report, report_of: Callable[..., Report]) -> None:
    assert report.evaluation is not None
    key = "onnxruntime-int8"
    losing = report.evaluation.backends[key]
    assert losing.parity is not None
    test = McNemar(1, 2 * 14 / 2**13, 12, 1)
    losing = replace(losing, parity=replace(losing.parity, mcnemar=test))
    evaluation = replace(report.evaluation, backends=report.evaluation.backends | {key: losing})
    told = report_of(evaluation)
    accuracy, *_ = answers.answers(told)
    assert accuracy.lead == "Yes, with ONNX Runtime int8."
    assert "4 of 5 backends show no measurable loss" in accuracy.sentence
    assert answers.chosen(evaluation) == "openvino-fp32", "the fastest of those that keep the accuracy"
    table = tables.overview(report_of(evaluation, report.speed))
    assert table is not None
    verdicts = {row.cells[0]: row.cells[-1] for row in table.rows}
    assert verdicts["ONNX Runtime int8"] == "right less often, over budget, faster"
    assert "Over budget: ONNX Runtime int8." in accuracy.sentence
    assert verdicts["ONNX Runtime"] == "same labels, within budget, faster"
    assert verdicts["PyTorch"] == "the reference"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0123, "12.3 ms"),
        (1.2345, "1234 ms"),
        (0.062, "62.0 ms"),
        (0.00099964, "1.00 ms"),
        (1.5e-5, "0.0150 ms"),
    ],
)
def test_milliseconds(value: float, expected: str) -> None:
    assert milliseconds(value) == expected
