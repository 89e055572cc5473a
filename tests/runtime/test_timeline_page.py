"""The page of a timeline: whole in itself, quiet and usable in a browser."""

import base64
import dataclasses
import html
import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mtab import Model
from mtab.audio.streaming import open_audio
from mtab.timeline.attention import attend
from mtab.timeline.page import PEAK_SECONDS, write_page
from mtab.timeline.timeline import Timeline

from ..browser import chromium

NASTY = '</script><b onclick="x">$data & 言う'
CUES = [
    {"start": 0.0, "end": 0.5, "text": "it is high", "speaker": "Ann"},
    {"start": 0.7, "end": 1.2, "text": NASTY, "speaker": "Bo <i>"},
]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "a <talk> & more.wav"
    tone = 0.3 * np.sin(2 * np.pi * 700 * np.arange(8_000) / 16_000)
    soundfile.write(path, np.concatenate([tone, np.zeros(3_200), 0.5 * tone, np.zeros(4_800)]), 16_000)
    return path


@pytest.fixture(scope="module")
def timeline(model: Model, recording: Path) -> Timeline:
    return model.timeline(recording, CUES)


@pytest.fixture(scope="module")
def page(model: Model, timeline: Timeline, recording: Path) -> str:
    path = recording.with_suffix(".html")
    write_page(timeline, recording, path, model)
    return path.read_text(encoding="utf-8")


def part(page: str, name: str) -> str:
    found = re.search(rf'<script type="[\w/]+" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found
    return found[1]


def values(page: str) -> dict[str, Any]:
    return json.loads(part(page, "data"))


def test_the_recording_is_in_it(page: str, recording: Path) -> None:
    sound = base64.b64decode(part(page, "sound"))
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert (soundfile.info(io.BytesIO(sound)).format, rate) == ("MP3", 16_000)
    assert len(samples) / rate == pytest.approx(1.5, abs=0.1)
    assert np.abs(samples[:8_000]).max() == pytest.approx(0.3, abs=0.1)


def test_its_values_are_the_timelines(page: str, timeline: Timeline) -> None:
    found = values(page)
    assert {name: found[name] for name in ("labels", "duration", "complete")} == {
        "labels": list(timeline.labels), "duration": 1.5, "complete": True,
    }  # fmt: skip
    assert [(s["start"], s["text"], s["speaker"]) for s in found["segments"]] == [
        (0.0, "it is high", "Ann"), (0.7, NASTY, "Bo <i>"),
    ]  # fmt: skip
    assert len(found["peaks"]) == round(1.5 / PEAK_SECONDS)
    assert (max(found["peaks"]), found["peaks"][11]) == (100, 0)
    assert found["peaks"][16] == 50


def test_nothing_in_it_is_markup_or_from_elsewhere(page: str) -> None:
    assert page.count("</script>") == 3
    assert NASTY not in page
    assert "a &lt;talk&gt; &amp; more.wav" in page
    assert not re.findall(r"""(?:src|href)=["']?(?!data:)\w""", page)
    assert "http" not in page.replace("http-equiv", "")


def test_attention_is_the_explanations(model: Model, timeline: Timeline, recording: Path, page: str) -> None:
    with open_audio(recording) as stream:
        found = attend(timeline, stream.blocks, model)
    samples = soundfile.read(recording, dtype="float32")[0][:8_000]
    expected = model.explain(samples, "it is high", occlusion=False)
    assert found.words[0] == pytest.approx([word.attention for word in expected.words], abs=1e-6)
    assert [(a, b) for a, b, _ in found.stretches] == [(0.0, 0.5), (0.7, 1.2)]
    means = [expected.tab_attention[i : i + 5].mean() for i in range(0, 24, 5)]  # pyright: ignore[reportOptionalSubscript]
    assert np.corrcoef(found.stretches[0][2], means)[0, 1] == pytest.approx(1, abs=1e-6)
    every = np.concatenate([each for _, _, each in found.stretches])
    assert (every.min(), every.max()) == (0, 1)
    assert [word["attention"] for word in values(page)["segments"][0]["words"]] == pytest.approx(
        found.words[0], abs=1e-4
    )


def test_without_the_graph_there_is_no_attention(
    model: Model, timeline: Timeline, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = dataclasses.replace(model.bundle.manifest, reasons=None)
    monkeypatch.setattr(model, "bundle", dataclasses.replace(model.bundle, manifest=manifest))
    with open_audio(recording) as stream:
        found = attend(timeline, stream.blocks, model)
    assert (found.words, found.stretches) == ([[None] * 3, [None] * 5], [])


def test_only_what_was_answered_of_an_interrupted_one(
    model: Model, timeline: Timeline, recording: Path
) -> None:
    part_of_it = dataclasses.replace(timeline, duration=0.5, complete=False, segments=timeline.segments[:1])
    path = recording.with_name("part.html")
    write_page(part_of_it, recording, path, model)
    found = path.read_text(encoding="utf-8")
    assert len(values(found)["peaks"]) == 10
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(part(found, "sound"))))
    assert len(samples) / rate == pytest.approx(0.5, abs=0.1)


SCRIPT = """
const page = f.contentDocument, root = page.documentElement;
const press = (key) => page.dispatchEvent(new f.contentWindow.KeyboardEvent('keydown', {key, bubbles: true}));
const now = () => page.querySelector('[aria-current]')?.textContent ?? 'none';
const said = [now()];
page.body.dispatchEvent(new f.contentWindow.KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));
said.push(now());
page.body.dispatchEvent(new f.contentWindow.KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}));
said.push(now());
setTimeout(() => {
  document.title = JSON.stringify({said, width: root.clientWidth, needed: root.scrollWidth,
    seconds: page.querySelector('audio').duration, rows: page.querySelectorAll('#segments li').length});
}, 800);
"""


@pytest.mark.parametrize("scheme", ["0", "1"], ids=["dark", "light"])
@pytest.mark.parametrize("width", [390, 1200])
def test_in_a_browser(page: str, tmp_path: Path, scheme: str, width: int) -> None:
    """No word on the console, nothing too wide, the recording plays, keys go from segment to segment."""
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe id="f" style="width:{width}px;height:800px;border:0" onload="{html.escape(SCRIPT)}" '
        f'srcdoc="{html.escape(page)}"></iframe>',
        encoding="utf-8",
    )
    arguments = ("--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0")
    command = [chromium(), *arguments, "--virtual-time-budget=4000", "--dump-dom"]
    command += [f"--blink-settings=preferredColorScheme={scheme}", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, frame.as_uri()], capture_output=True, text=True, timeout=60)
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title, done.stderr
    found = json.loads(html.unescape(title[1]))
    assert found["said"] == ["0:00.0 – 0:00.5", "0:00.7 – 0:01.2", "0:00.0 – 0:00.5"]
    assert found["needed"] <= found["width"]
    assert found["seconds"] == pytest.approx(1.5, abs=0.2)
    assert found["rows"] == 2
    assert "CONSOLE" not in done.stderr
