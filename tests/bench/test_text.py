"""A section in the terminal: the JSON's figures, in 110 columns."""

from typing import Any

import pytest

from mtab_bench.render.summary import SECTIONS, section_line
from mtab_bench.render.text import WIDTH, to_text

Report = dict[str, Any]


@pytest.mark.parametrize("name", SECTIONS)
def test_fits_the_terminal(report: Report, name: str) -> None:
    lines = to_text(report, name).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert section_line(report, name) in " ".join(lines)


def test_every_section_of_every_report_is_written(any_report: Report) -> None:
    for name in SECTIONS:
        if name in any_report:
            assert to_text(any_report, name)


def row(text: str, title: str, number: int = 0) -> list[str]:
    """The cells of the ``number``-th line that begins with ``title``."""
    lines = [line for line in text.splitlines() if line.startswith(f"{title}  ")]
    return [cell.strip() for cell in lines[number].removeprefix(title).split("  ") if cell.strip()]


def test_evaluation(report: Report) -> None:
    text = to_text(report, "evaluation")
    for engine in report["evaluation"]["engines"].values():
        if engine["skipped"]:
            assert f"{engine['title']} skipped: {engine['skipped']}" in text
            continue
        accuracy, latency = engine["accuracy"], engine["latency"]
        scored, timed = row(text, engine["title"]), row(text, engine["title"], 1)
        assert scored[:4] == [f"{100 * accuracy[key]:.1f} %" for key in ("war", "uar", "weighted_f1", "ece")]
        shown = [float(cell.removesuffix(" ms")) for cell in timed[:5]]
        assert shown == pytest.approx(
            [1e3 * latency[key] for key in ("p50", "p90", "p95", "p99", "mean")], rel=0.006
        )
        assert timed[-1] == f"{engine['speedup']:.2f} ×"
        if engine["parity"]:
            assert scored[5] == str(len(engine["parity"]["changed"]))
    assert "Other processes kept 1.2 cores busy" in text
    assert "UAR is over 3 of the 4 classes: no test utterance of sadness." in text


def test_speed(report: Report) -> None:
    text = to_text(report, "speed")
    assert "Weights are random" in text
    for number, case in enumerate(report["speed"]["cases"]):
        shown = row(text, "OpenVINO bf16", number)
        timed = case["engines"]["openvino-bf16"]
        assert float(shown[0].removesuffix(" ms")) == pytest.approx(1e3 * timed["latency"]["p50"], rel=0.006)
        assert shown[5] == f"{timed['speedup']:.2f} ×"


def test_invariance(report: Report) -> None:
    shown = row(to_text(report, "invariance"), "ONNX Runtime int8")
    assert list(map(float, shown)) == pytest.approx([6.2e-4, 4.2e-4, 8.3e-4, 8.3e-4, 2e-3, 0], rel=0.02)


def test_without_pytorch(report_without_pytorch: Report) -> None:
    text = to_text(report_without_pytorch, "evaluation")
    assert text.startswith("Did deployment cost accuracy? Not known. PyTorch was")
    assert row(text, "ONNX Runtime")[4:] == ["-"] * 5
