"""The page: needs nothing else, shows the JSON's figures only, survives its data, fits a telephone."""

import html as markup
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mtab.config import from_dict, to_dict
from mtab_bench.render import answers, drawing, pictures, tables
from mtab_bench.render.formats import FORMATS
from mtab_bench.render.page import TEMPLATES, to_html
from mtab_bench.render.provenance import section_line
from mtab_bench.report import Report
from mtab_bench.sections.section import Conditions

from ..browser import chromium

VOID = {"br", "meta", "hr", "img", "link", "input"}
NUMBER = re.compile(r"[-+]?\d[\d.,e-]*( %| ms| s| MB| J| ×| points)?")


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


@pytest.fixture(scope="session")
def page_of() -> Callable[[Report], str]:
    """`to_html`, once a report: its pictures take seconds."""
    pages: dict[str, str] = {}

    def rendered(report: Report) -> str:
        key = json.dumps(to_dict(report))
        if key not in pages:
            pages[key] = to_html(report)
        return pages[key]

    return rendered


@pytest.fixture
def html(page_of: Callable[[Report], str], report: Report) -> str:
    return page_of(report)


@pytest.fixture
def any_html(page_of: Callable[[Report], str], any_report: Report) -> str:
    return page_of(any_report)


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


def test_page_can_be_read_out(any_html: str) -> None:
    page = Page(any_html)
    assert page.all("svg")
    for attributes, _ in page.all("svg"):
        assert attributes["role"] == "img"
        assert attributes["aria-label"]
    for attributes, _ in page.all("th"):
        assert attributes["scope"] in ("col", "row", "rowgroup")
    assert len(page.all("caption")) == len(page.all("table"))
    assert [len(page.all(tag)) for tag in ("h1", "main", "header", "nav")] == [1, 1, 1, 1]
    boxes = [attributes for attributes, _ in page.all("div") if attributes.get("role") == "region"]
    regions = [attributes["aria-label"] for attributes in boxes]
    assert len(regions) == len(set(regions)) == len(page.all("table"))
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:href="#|url\(#|labelledby=")([^")]+)', any_html)
    assert targets[0] == "answer", "the page begins with a link past its head"
    assert set(targets) <= set(ids)


def test_every_figure_is_the_jsons(any_report: Report, any_html: str) -> None:
    page = Page(any_html)
    known = numbers(json.loads(json.dumps(to_dict(any_report))))
    shown = page.all("data")
    assert len(shown) > 10
    for attributes, text in shown:
        value = attributes["value"]
        assert value is not None
        assert value in known
        number = float(value) if "." in value or "e" in value else int(value)
        assert text in {show(number) for show in FORMATS}
    # A number that stands in a cell without its value would not have been checked above.
    figures = {text for _, text in shown}
    cells = {text.strip() for _, text in page.all("td")}
    assert {cell for cell in cells if NUMBER.fullmatch(cell)} <= figures


def test_every_backend_of_every_case_has_its_figures(report: Report, html: str) -> None:
    assert report.speed is not None
    assert report.evaluation is not None
    values = {attributes["value"] for attributes, _ in Page(html).all("data")}
    measured = 0
    for case in report.speed.cases:
        for timed in case.timed.values():
            measured += 1
            latency, ratio = timed.latency, timed.speedup
            wanted = [latency.p50, latency.p90, latency.p95, latency.p99, timed.throughput.value]
            wanted += [timed.rtf.value] if timed.rtf else []
            wanted += [ratio.value, ratio.low, ratio.high] if ratio else []
            assert {repr(value) for value in wanted} <= values
    assert measured == 9 * 4
    for backend in report.evaluation.measured.values():
        found = backend.accuracy
        assert found is not None
        assert {
            repr(each) for each in (found.war, found.uar, found.chance.uar, found.weighted_f1, found.ece)
        } <= values


def test_same_report_same_page(hostile_report: Report, page_of: Callable[[Report], str]) -> None:
    assert to_html(hostile_report) == page_of(hostile_report)


def test_page_is_light(html: str) -> None:
    assert len(html.encode()) < 2_000_000


def test_the_line_stands_once_in_every_section(report: Report, html: str) -> None:
    assert report.evaluation is not None
    line = section_line(report, report.evaluation)
    for expected in ("synthetic speech", "session-5 of session", "honest", "4 classes", "120 test utterances",
                     "problems skipped: 1", "seed 0", "0123456789ab"):  # fmt: skip
        assert expected in line
    page = Page(html)
    paragraphs = [text for _, text in page.all("p")]
    for section in report.sections.values():
        line = section_line(report, section)
        assert [text for text in paragraphs if line in text] == [f"{line}. Measured {section.created}."]
        assert not any(line in text for _, text in page.all("figcaption") + page.all("caption"))
    for _, text in page.all("figcaption"):
        assert text.strip().endswith("."), "a caption that is cut"


def test_first_screen_answers(any_report: Report, any_html: str) -> None:
    page = Page(any_html)
    paragraphs = [text for _, text in page.all("p")]
    for number, answer in enumerate(answers.answers(any_report)[:3]):
        assert paragraphs[2 * number : 2 * number + 2] == [answer.lead, answer.sentence]
    if (table := tables.overview(any_report)) is not None:
        captions = page.all("caption")
        assert captions[0][1].startswith("Every backend")
        assert [text for attributes, text in page.all("th") if attributes["scope"] == "row"][
            : len(table.rows)
        ] == [row.cells[0] for row in table.rows]


def test_hostile_names_stay_text(hostile_report: Report, page_of: Callable[[Report], str]) -> None:
    html = page_of(hostile_report)
    assert "<script" not in html
    assert "<b>joy" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    page = Page(html)
    assert any(text == "<b>joy</b>" for _, text in page.all("th"))
    assert any("neutral & | co" in text for _, text in page.all("text"))


def test_control_characters_in_a_label(hostile_report: Report) -> None:
    values = {key: each for key, each in to_dict(hostile_report).items() if each is not None}
    text = json.dumps(values).replace("neutral & | co", "neu\\u0000\\u001btral")
    assert Page(to_html(from_dict(Report, json.loads(text), "report")))


def test_many_points_are_an_embedded_image(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MAX_VECTOR_POINTS", 0)
    assert report.evaluation is not None
    drawn = pictures.parity_scatter(report.evaluation, "onnxruntime-int8")
    images = Page(drawn).all("image")
    assert [(attributes["href"] or "")[:22] for attributes, _ in images] == ["data:image/png;base64,"]


def test_pictures_say_their_figures(report: Report) -> None:
    assert report.speed is not None
    (attributes, _), *_ = Page(pictures.speedups(report.speed, 1)).all("svg")
    fastest = report.speed.cases[1].timed["onnxruntime-int8"].speedup
    assert fastest is not None
    assert f"ONNX Runtime int8 {fastest.value:.2f}, " in (attributes["aria-label"] or "")
    (attributes, _), *_ = Page(pictures.invariance(report.invariance)).all("svg")
    assert (attributes["aria-label"] or "").endswith("wav2vec2 as published 1.3e-01")


def test_skipped_backends_say_why(report: Report, html: str) -> None:
    cells = [text for _, text in Page(html).all("td")]
    for section in (report.evaluation, report.speed, report.invariance):
        assert section is not None
        for backend in section.backends.values():
            if backend.skipped:
                assert f"skipped: {backend.skipped}" in cells


def test_without_pytorch_nothing_is_claimed(
    report_without_pytorch: Report, page_of: Callable[[Report], str]
) -> None:
    assert report_without_pytorch.evaluation is not None
    reason = report_without_pytorch.evaluation.backends["pytorch"].skipped
    assert reason is not None
    accuracy, speed = answers.answers(report_without_pytorch)
    assert accuracy.lead == "Not known."
    assert speed.lead.endswith("ms.")
    page = Page(page_of(report_without_pytorch))
    assert any(reason in text for _, text in page.all("p"))
    assert "Not known: nothing was compared with PyTorch." in [text for _, text in page.all("p")]


def test_warnings(report: Report, report_beyond_budget: Report, html: str) -> None:
    found = [text for _, text in Page(html).all("li")]
    assert "Accuracy: Other processes kept 1.2 cores busy meanwhile: the times are disturbed." in found
    assert "UAR is over 3 of the 4 classes: no test utterance of sadness." in found
    assert any(text.startswith("Random weights") for text in found)
    assert any(
        text.startswith("Speed: Other processes kept 1.2") for text in answers.warnings(report_beyond_budget)
    )
    for quiet in (0.1, None):
        assert Conditions(2, quiet, False, "").warning is None


def test_colours_have_contrast() -> None:
    """WCAG AA: 4.5 for text, 3 for what is drawn, in the light and in the dark."""
    blocks = re.findall(r":root \{([^}]*)\}", (TEMPLATES / "style.css").read_text())
    assert len(blocks) == 2

    def luminance(colour: str) -> float:
        digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for block in blocks:
        colours = {name: luminance(value) for name, value in re.findall(r"--(\w+): #(\w+);", block)}
        pairs = [
            (text, ground, 4.5) for text in ("ink", "soft", "link") for ground in ("paper", "panel", "note")
        ]
        pairs += [(drawn, "paper", 3.0) for drawn in ("blue", "orange", "green")]
        for one, other, wanted in pairs:
            dark, light = sorted((colours[one], colours[other]))
            assert (light + 0.05) / (dark + 0.05) >= wanted, (one, other)


@pytest.mark.parametrize("scheme", ["0", "1"], ids=["dark", "light"])
def test_in_a_browser(html: str, tmp_path: Path, scheme: str) -> None:
    """No word on the console, and nothing wider than a telephone but what scrolls in its own box."""
    # A window cannot be as narrow as a telephone; a frame can.
    frame = tmp_path / "frame.html"
    frame.write_text(
        '<iframe id="f" style="width:390px;height:800px;border:0" onload="const root=f.contentDocument'
        ".documentElement;document.title=`${root.clientWidth} ${root.scrollWidth} "
        '${getComputedStyle(root.querySelector(`.scroll`)).overflowX}`" '
        f'srcdoc="{markup.escape(html)}"></iframe>',
        encoding="utf-8",
    )
    arguments = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--v=0",
        "--dump-dom",
    )
    command = [chromium(), *arguments, f"--blink-settings=preferredColorScheme={scheme}"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title, done.stderr
    width, needed, overflow = title[1].split()
    assert overflow == "auto"
    assert int(width) > 370
    assert int(needed) <= int(width)
    assert "CONSOLE" not in done.stderr
