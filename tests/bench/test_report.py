"""The report: a page that needs nothing else, shows the JSON's figures and no other, survives its data."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mtab_bench import pictures
from mtab_bench import report as rendering
from mtab_bench.report import protocol_line, to_html, to_text, write_report

VOID = {"br", "meta", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Elements and their text; fails on an end tag that does not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.stack: list[int] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(tag)
            self.stack.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        for index in self.stack:
            self.elements[index][2].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, "".join(text)) for name, attributes, text in self.elements if name == tag]


def numbers(value: Any) -> set[str]:
    """Every number in a JSON value, as Python writes it."""
    if isinstance(value, dict):
        return set().union(*map(numbers, value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers, value))
    return {repr(value)} if isinstance(value, (int, float)) and not isinstance(value, bool) else set()


@pytest.fixture(scope="module", params=["report", "report_without_pytorch", "report_without_change"])
def any_report(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def any_html(any_report: dict[str, Any]) -> str:
    return to_html(any_report)


@pytest.fixture(scope="module")
def html(report: dict[str, Any]) -> str:
    return to_html(report)


def test_page_is_whole_and_needs_nothing_else(any_html: str) -> None:
    page = Page(any_html)
    assert any_html.startswith("<!DOCTYPE html>")
    assert page.all("html")[0][0]["lang"] == "en"
    assert not page.all("script")
    assert not page.all("link")
    assert "@import" not in any_html
    assert not re.search(r"https?:", any_html)
    for _, attributes, _ in page.elements:
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:")), target


def test_page_can_be_read_out(any_report: dict[str, Any], any_html: str) -> None:
    page = Page(any_html)
    drawn = page.all("svg")
    assert len(drawn) == (4 if any_report["engines"]["pytorch"]["skipped"] else 7)
    for attributes, _ in drawn:
        assert attributes["role"] == "img"
        assert attributes["aria-label"]
    for attributes, _ in page.all("th"):
        assert attributes["scope"] in ("col", "row")
    assert len(page.all("h1")) == 1
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', any_html)
    assert targets
    assert set(targets) <= set(ids)


def test_both_files_are_written(report: dict[str, Any], html: str, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert (tmp_path / "report.html").read_text() == html
    assert len(list(tmp_path.iterdir())) == 2


def test_every_figure_is_the_jsons(any_report: dict[str, Any], any_html: str) -> None:
    page = Page(any_html)
    known = numbers(json.loads(json.dumps(any_report)))
    shown = page.all("data")
    assert len(shown) > 40
    for attributes, text in shown:
        value = attributes["value"]
        assert value is not None
        assert value in known
        number = float(value) if "." in value or "e" in value else int(value)
        assert text in {show(number) for show in rendering.FORMATS}
    # A number that stands in a cell without its value would not have been checked above.
    tables, figures = page.all("table"), {text for _, text in shown}
    cells = {text.strip() for _, text in page.all("td") if text.strip() not in tables[-1][1]}
    assert {cell for cell in cells if re.fullmatch(r"[-+]?\d[\d.,e-]*( %| ms| ×)?", cell)} <= figures


def test_same_report_same_page(report: dict[str, Any], html: str) -> None:
    assert to_html(report) == html


def test_protocol_stands_beside_every_figure(report: dict[str, Any], html: str) -> None:
    line = protocol_line(report)
    for expected in ("synthetic speech", "session-5 of session", "honest", "4 classes", "40 test utterances",
                     "problems skipped: 1", "seed 0", "0123456789ab"):  # fmt: skip
        assert expected in line
    page = Page(html)
    captions = page.all("figcaption") + page.all("caption")
    without = [text for _, text in captions if line not in text]
    assert without == ["Where the figures come from"]
    assert line in to_text(report)


def test_hostile_names_stay_text(html: str) -> None:
    assert "<script" not in html
    assert "<b>joy" not in html
    assert "utt-3&lt;script&gt;alert(1)&lt;/script&gt;" in html
    page = Page(html)
    assert any(text == "<b>joy</b>" for _, text in page.all("th"))
    assert any("neutral & co" in text for _, text in page.all("text"))


def test_many_points_are_an_embedded_image(report: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_VECTOR_POINTS", 0)
    images = Page(pictures.parity_scatter(report, "onnxruntime")).all("image")
    assert [(attributes["href"] or "")[:22] for attributes, _ in images] == ["data:image/png;base64,"]


def test_control_characters_in_a_label(report: dict[str, Any]) -> None:
    text = json.dumps(report).replace("neutral & co", "neu\\u0000\\u001btral")
    assert Page(to_html(json.loads(text)))


def test_first_screen_answers(any_report: dict[str, Any], any_html: str) -> None:
    paragraphs = [text for _, text in Page(any_html).all("p")]
    assert rendering.accuracy_verdict(any_report) in paragraphs[:3]
    assert rendering.speed_verdict(any_report) in paragraphs[:4]


def test_noise_is_told(report: dict[str, Any], html: str) -> None:
    expected = "Other processes kept 1.2 cores busy"
    assert expected in html
    assert expected in to_text(report)
    for quiet in (0.1, None):
        assert rendering.noise(report | {"timing": report["timing"] | {"other_load": quiet}}) is None


def test_verdict_tells_what_changed(report: dict[str, Any], report_without_change: dict[str, Any]) -> None:
    changed = rendering.accuracy_verdict(report)
    accuracy = report["engines"]["onnxruntime"]["accuracy"]
    assert "changed 1 of 40 labels (0 at a near-tie)" in changed
    assert f"WAR {100 * accuracy['war']:.1f} %" in changed
    same = rendering.accuracy_verdict(report_without_change)
    assert same.startswith("Deployment cost no accuracy: ONNX Runtime gives PyTorch's label for all 40")


def test_skipped_side_says_why(report_without_pytorch: dict[str, Any]) -> None:
    reason = report_without_pytorch["engines"]["pytorch"]["skipped"]
    verdict = rendering.accuracy_verdict(report_without_pytorch)
    assert "not known here" in verdict
    assert "no accuracy" not in verdict
    page = Page(to_html(report_without_pytorch))
    assert any(reason in text for _, text in page.all("p"))
    assert [text for _, text in page.all("td")].count("skipped") >= 12
    assert f"PyTorch skipped: {reason}" in to_text(report_without_pytorch)


def test_terminal_shows_the_same_figures(report: dict[str, Any]) -> None:
    text = to_text(report)
    for engine in report["engines"].values():
        for value in (100 * engine["accuracy"]["war"], 100 * engine["accuracy"]["uar"]):
            assert f"{value:.1f} %" in text
        for key in ("p50", "p90", "p95", "p99"):
            assert rendering.milliseconds(engine["latency"][key]) in text


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
    assert rendering.milliseconds(value) == expected


def test_nothing_is_half_written(report: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_report(report | {"created": float("nan")}, tmp_path)
    assert not list(tmp_path.iterdir())
