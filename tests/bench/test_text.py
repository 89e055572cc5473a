"""A section in the terminal: the JSON's figures, in 110 columns."""

import pytest

from mtab_bench.render.provenance import section_line
from mtab_bench.render.text import WIDTH, to_text
from mtab_bench.report import SECTIONS, Report


@pytest.mark.parametrize("name", SECTIONS)
def test_fits_the_terminal(report: Report, name: str) -> None:
    lines = to_text(report, name).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert section_line(report, report.sections[name]) in " ".join(lines)


def test_every_section_of_every_report_is_written(any_report: Report) -> None:
    for name in any_report.sections:
        assert to_text(any_report, name)


def row(text: str, title: str, number: int = 0) -> list[str]:
    """The cells of the ``number``-th line that begins with ``title``."""
    lines = [line for line in text.splitlines() if line.startswith(f"{title}  ")]
    return [cell.strip() for cell in lines[number].removeprefix(title).split("  ") if cell.strip()]


def test_evaluation(report: Report) -> None:
    text = to_text(report, "evaluation")
    assert report.evaluation is not None
    for backend in report.evaluation.backends.values():
        if backend.skipped:
            assert f"{backend.title} skipped: {backend.skipped}" in text
            continue
        accuracy, timed, parity = backend.accuracy, backend.timed, backend.parity
        assert accuracy is not None
        assert timed is not None
        scored = row(text, backend.title)
        assert scored == [
            f"{100 * each:.1f} %"
            for each in (accuracy.war, accuracy.uar, accuracy.chance.uar, accuracy.weighted_f1, accuracy.ece)
        ]
        shown = row(text, backend.title, 3 if parity else 2)
        assert timed.repeated is not None
        milliseconds = [1e3 * each for each in (timed.latency.p50, timed.latency.p99, timed.repeated.p50)]
        assert [float(cell.removesuffix(" ms")) for cell in shown[:3]] == pytest.approx(
            milliseconds, rel=0.006
        )
        if parity:
            assert timed.speedup is not None
            assert shown[-1].startswith(f"[{timed.speedup.value:.2f} × (")
            assert shown[-1].endswith("disturbed]")
            assert row(text, backend.title, 2)[1] == str(len(parity.changed))
    assert "Other processes kept 1.2 cores busy" in text
    assert "UAR is over 3 of the 4 classes: no test utterance of sadness." in text


def test_speed(report: Report) -> None:
    text = to_text(report, "speed")
    assert "Weights are random" in text
    assert report.speed is not None
    for number, case in enumerate(report.speed.cases):
        shown, timed = row(text, "OpenVINO bf16", 2 * number), case.timed["openvino-bf16"]
        assert float(shown[0].removesuffix(" ms")) == pytest.approx(1e3 * timed.latency.p50, rel=0.006)
        assert timed.speedup is not None
        assert shown[5].startswith(f"{timed.speedup.value:.2f} × ({timed.speedup.low:.2f} to ")
        # The invented machine multiplies no bfloat16.
        numbers, rate, *limits = row(text, "OpenVINO bf16", 2 * number + 1)
        assert [numbers, *limits] == ["fp32", "21.0 %", "7.0 %", "arithmetic"]
        assert case.gflop is not None
        assert float(rate) == pytest.approx(case.gflop / timed.latency.p50, rel=0.006)


def test_invariance(report: Report) -> None:
    shown = row(to_text(report, "invariance"), "ONNX Runtime int8")
    assert list(map(float, shown)) == pytest.approx([6.2e-4, 4.2e-4, 8.3e-4, 8.3e-4, 2e-3, 0], rel=0.02)


def test_without_pytorch(report_without_pytorch: Report) -> None:
    text = to_text(report_without_pytorch, "evaluation")
    assert text.startswith("Did deployment cost accuracy? Not known. PyTorch was")
    assert row(text, "ONNX Runtime", 2)[-1] == "–"
