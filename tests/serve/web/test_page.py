"""The page in Chromium: it answers as the runtime, without a server and without a word on the console."""

import contextlib
import functools
import http.server
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

import mtab
from mtab.files import sha256
from mtab.output import record
from mtab.synthetic_inputs import speech

from ...browser import Page, browsing, chromium

READY = "!$('#predict').disabled || $('#error').textContent"
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-angle=swiftshader")
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


class _Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@contextlib.contextmanager
def serving(site: Path) -> Iterator[str]:
    """The address of a folder, as ``python -m http.server`` serves it."""
    handler = functools.partial(_Server, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    chromium()
    with serving(site) as address:
        yield address


@pytest.fixture(scope="module")
def page(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browsing(tmp_path_factory.mktemp("profile")) as page:
        page.open(address)
        page.wait(READY)
        yield page


@pytest.fixture(scope="module")
def model(rated_bundle: Path) -> mtab.Model:
    return mtab.load(rated_bundle, "cpu", threads=1)


def said(page: Page, name: str) -> str:
    return page.evaluate(f"$('#{name}').textContent")


def answered(page: Page, clip: Path | None, text: str) -> dict[str, Any] | str:
    """What the page answers, or its error."""
    page.evaluate("$('#json').textContent = $('#error').textContent = ''")
    if clip is not None:
        page.choose("#file", clip)
        shown = f"$('#clip-name').textContent.startsWith({json.dumps(clip.name)}) && !$('#clip').hidden"
        page.wait(f"{shown} || $('#error').textContent")
        if error := said(page, "error"):
            return error
    page.evaluate(f"$('#text').value = {json.dumps(text)}; $('#predict').click()")
    page.wait("$('#json').textContent || $('#error').textContent")
    return said(page, "error") or json.loads(said(page, "json"))[0]


def attend(page: Page) -> None:
    page.evaluate("$('#attention').click()")
    page.wait("$('#attention').ariaPressed === 'true'")


def reload(page: Page) -> None:
    page.evaluate("window.before = true")
    page.call("Page.reload")
    page.wait(f"!window.before && document.readyState === 'complete' && ({READY})")


def assert_near(found: Any, expected: dict[str, Any], tolerance: float) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        if name == "dimensions":
            assert found[name] == pytest.approx(value, abs=100 * tolerance)
        elif name == "probabilities":
            assert list(found[name]) == list(value)
            assert found[name] == pytest.approx(value, abs=tolerance)
        else:
            assert found[name] == value


@pytest.fixture(scope="module")
def recordings() -> list[Path]:
    """Real ones, at 16 kHz."""
    if "MTAB_TEST_DATA" not in os.environ:
        pytest.skip("needs EmoDB: set MTAB_TEST_DATA to the folder that holds emodb/")
    return sorted((Path(os.environ["MTAB_TEST_DATA"]) / "emodb" / "audio").glob("*.flac"))[::60]


def test_answers_to_recordings_are_the_runtimes(
    page: Page, model: mtab.Model, recordings: list[Path]
) -> None:
    for clip in recordings:
        text = f"it is high <mask> {clip.stem}\u3000👍"
        expected = record(clip.name, model.predict(clip, text=text))
        assert_near(answered(page, clip, text), expected, 1e-5)
    assert page.console == []


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_resampled_recordings(
    page: Page, model: mtab.Model, recordings: list[Path], tmp_path: Path, rate: int
) -> None:
    for clip in recordings[:3]:
        path = tmp_path / f"{clip.stem}-{rate}.wav"
        samples = soxr.resample(soundfile.read(clip)[0], 16_000, rate)
        soundfile.write(path, np.stack([samples, 0.5 * samples], axis=1), rate, subtype="PCM_24")
        expected = record(path.name, model.predict(path, text="it is low"))
        assert_near(answered(page, path, "it is low"), expected, 2e-3)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
def test_samples_arrive_untouched(
    page: Page, model: mtab.Model, tones: Any, tmp_path: Path, subtype: str
) -> None:
    path = tmp_path / f"{subtype}.wav"
    soundfile.write(path, 3 * soundfile.read(tones.root / "0-0.wav")[0], 16_000, subtype=subtype)
    expected = record(path.name, model.predict(path, text="it is low"))
    assert_near(answered(page, path, "it is low"), expected, 1e-6)


def test_a_text_that_is_too_long_is_cut(page: Page, model: mtab.Model, tones: Any) -> None:
    clip = tones.root / "0-0.wav"
    expected = record(clip.name, model.predict(clip, text="so " * 100))
    assert expected["text_truncated"]
    assert_near(answered(page, clip, "so " * 100), expected, 1e-5)
    assert not page.evaluate("$('#truncated').hidden")


def test_attention_is_the_runtimes(page: Page, model: mtab.Model, tones: Any) -> None:
    clip = tones.root / "1-1.wav"
    answered(page, clip, "it is low")
    attend(page)
    expected = model.explain(clip, text="it is low", occlusion=False)
    assert expected.times is not None
    assert expected.tab_attention is not None
    most = expected.times[expected.tab_attention.argmax()]
    assert said(page, "attention-said").endswith(f"most at {most:.2f} s.")
    assert "attention" in page.evaluate("$('#view').ariaLabel")
    page.evaluate("$('#attention').click()")
    page.wait("$('#attention').ariaPressed === 'false'")


def test_what_cannot_be_answered(page: Page, tones: Any, tmp_path: Path) -> None:
    def file(name: str, content: bytes | np.ndarray) -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            soundfile.write(path, content, 16_000)
        return path

    clip, short = tones.root / "0-0.wav", file("c.wav", np.zeros(200))
    cases = {
        "a.wav: the browser cannot decode it, expected an audio file": (file("a.wav", b"words"), "so"),
        "b.wav: holds no byte, expected an audio file": (file("b.wav", b""), "so"),
        "c.wav: 200 samples at 16 kHz (0.0125 s), expected at least 400 (0.0250 s)": (short, "so"),
        "d.flac: 700.00 s long, expected at most 600 s": (file("d.flac", np.zeros(16_000 * 700)), "so"),
        "0-0.wav: no transcript, expected one: this model answers from audio and text": (clip, " \n\u2003"),
        "0-0.wav: text of 100001 characters, expected at most 100000": (clip, "a" * 100_001),
    }  # fmt: skip
    for message, (path, text) in cases.items():
        assert answered(page, path, text) == message
        assert said(page, "said") == "None yet."
        assert page.evaluate("$('#answer').hidden")
    assert page.console == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1200])
def test_nothing_is_too_wide(page: Page, tones: Any, width: int, scheme: str) -> None:
    answered(page, tones.root / "0-0.wav", "it is low")
    page.evaluate("$('details').open = true")
    page.resize(width)
    page.prefer(scheme)
    needed, there = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert there == width
    assert needed <= there
    paper, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (sum(map(int, paper[4:-1].split(","))) > sum(map(int, ink[4:-1].split(",")))) == (
        scheme == "light"
    )


def test_by_keyboard_and_by_ear(page: Page, tones: Any) -> None:
    """Everything that takes the focus has a name, and Tab goes to all that is to be used."""
    answered(page, tones.root / "0-0.wav", "it is low")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if any(each["name"] == "focusable" and each["value"]["value"] for each in node.get("properties", []))
    }
    assert all(name for _, name in named), named
    page.evaluate("document.activeElement.blur()")
    reached: list[str] = []
    for _ in range(40):
        for kind in ("keyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.append(page.evaluate("document.activeElement.id"))
    assert {"file", "record", "player", "attention", "text", "predict", "webgpu"} <= set(reached)
    # The answer, and what went wrong, are read out as they come.
    assert page.evaluate("['#said', '#error'].map((name) => $(name).getAttribute('role'))") == [
        "status",
        "alert",
    ]


def test_a_gpu_that_is_not_there_is_refused(page: Page, tones: Any) -> None:
    if not page.evaluate("'gpu' in navigator"):
        pytest.skip("this Chromium has no WebGPU")
    if page.evaluate("navigator.gpu.requestAdapter().then(Boolean)"):
        pytest.skip("this Chromium has a GPU")
    page.evaluate("$('#webgpu').click()")
    page.wait("$('#webgpu-said').textContent")
    assert said(page, "webgpu-said") == "WebGPU is refused: this browser finds no GPU for it"
    assert not page.evaluate("$('#webgpu').checked")
    assert said(page, "engine").startswith("ONNX Runtime Web 1.30.0 in WebAssembly")
    assert isinstance(answered(page, tones.root / "0-0.wav", "it is low"), dict)
    # What Chromium itself says of it.
    assert set(page.console) <= {"No available adapters."}
    page.console.clear()


@pytest.mark.slow
def test_a_gpu_answers_as_the_runtime(address: str, model: mtab.Model, tones: Any, tmp_path: Path) -> None:
    """On SwiftShader, which computes WebGPU on a CPU."""
    with browsing(tmp_path / "profile", *SOFTWARE_GPU) as page:
        page.open(address)
        page.wait(READY)
        if not page.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
            pytest.skip("this Chromium has no SwiftShader for WebGPU")
        page.evaluate("$('#webgpu').click()")
        page.wait("!$('#webgpu').disabled", 60)
        assert said(page, "webgpu-said") == ""
        assert said(page, "engine") == "ONNX Runtime Web 1.30.0 in WebGPU."
        clip = tones.root / "1-1.wav"
        expected = record(clip.name, model.predict(clip, text="it is low"))
        assert_near(answered(page, clip, "it is low"), expected, 1e-5)
        assert page.console == []


def spoiled(site: Path, folder: Path, change: Any) -> Path:
    """A copy of a site with another description, as if it had been built so."""
    copy = shutil.copytree(site, folder / "site")
    values = json.loads((copy / "site.json").read_text(encoding="utf-8"))
    before = sha256(copy / "site.json")
    change(values)
    (copy / "site.json").write_text(json.dumps(values), encoding="utf-8")
    worker = copy / "service-worker.js"
    worker.write_text(
        worker.read_text(encoding="utf-8").replace(before, sha256(copy / "site.json")), encoding="utf-8"
    )
    return copy


def test_a_backend_that_answers_differently_is_refused(site: Path, tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values["self_test"]["utterances"][1]["probabilities"][0] += 3e-5

    chromium()
    with serving(spoiled(site, tmp_path, change)) as address, browsing(tmp_path / "profile") as page:
        page.open(address)
        page.wait(READY)
        assert said(page, "error") == (
            "WebAssembly is refused: its answers to the stored inputs differ by 3.0e-5, expected at most 1e-5"
        )
        assert page.evaluate("$('#predict').disabled")


def test_without_a_network(site: Path, tones: Any, tmp_path: Path) -> None:
    """After the first load no server is needed, and WebAssembly may have threads."""
    chromium()
    clip = tones.root / "0-0.wav"
    with browsing(tmp_path / "profile") as page:
        with serving(site) as address:
            page.open(address)
            page.wait(READY)
            before = answered(page, clip, "it is low")
            assert isinstance(before, dict)
            page.wait("$('#offline').textContent")
            attend(page)
        reload(page)
        again = answered(page, clip, "it is low")
        assert isinstance(again, dict)
        assert_near(again, before, 1e-6)
        attend(page)
        assert page.evaluate("crossOriginIsolated")
        assert page.console == []


def test_a_newer_build_takes_the_place(site: Path, tmp_path: Path) -> None:
    chromium()
    served = tmp_path / "served"
    shutil.copytree(site, served)
    with serving(served) as address, browsing(tmp_path / "profile") as page:
        page.open(address)
        page.wait("$('#offline').textContent")
        newer = spoiled(site, tmp_path, lambda values: values.update(title="something else"))
        shutil.rmtree(served)
        newer.rename(served)
        reload(page)
        assert "something else" not in said(page, "about")
        page.wait("!$('#newer').hidden")
        page.evaluate("$('#reload').click()")
        page.wait("$('#about')?.textContent.includes('something else')")
        page.wait(READY)
        assert page.evaluate("caches.keys().then((names) => names.length)") == 1
        assert page.console == []


def test_the_microphone(address: str, model: mtab.Model, tones: Any, tmp_path: Path) -> None:
    """What is recorded is what is said, and is answered as the file that it is saved as."""
    said_file = tmp_path / "said.wav"
    random = np.random.default_rng(0)
    sound = speech(random, 5, 48_000)
    soundfile.write(said_file, sound, 48_000)
    with browsing(tmp_path / "profile", *FAKE, f"--use-file-for-fake-audio-capture={said_file}") as page:
        page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
        page.open(address)
        page.wait(READY)
        page.evaluate("$('#text').value = 'it is low'; $('#record').click()")
        page.wait("parseFloat($('#recorded').textContent) > 1.5 || $('#error').textContent")
        page.evaluate("$('#record').click()")
        page.wait("!$('#clip').hidden || $('#error').textContent")
        found = answered(page, None, "it is low")
        page.evaluate("$('#save').click()")
        path = tmp_path / "saved" / "recording.wav"
        wait_for(path)
        assert page.console == []
    recorded, rate = soundfile.read(path)
    assert 1.2 < len(recorded) / rate < 3
    expected = soxr.resample(sound, 48_000, rate)
    part = recorded[rate // 2 : rate]
    heard = np.correlate(expected, part, "valid")
    energy = np.sqrt(np.convolve(expected**2, np.ones(len(part)), "valid") * (part**2).sum())
    assert (heard / energy).max() > 0.9
    assert isinstance(found, dict)
    assert_near(found, record("recording.wav", model.predict(path, text="it is low")), 2e-3)


def test_a_microphone_that_may_not_be_used(page: Page) -> None:
    page.evaluate("$('#record').click()")
    error = page.wait("$('#error').textContent")
    assert error.startswith("the microphone cannot be used (")
    assert error.endswith("), expected leave to record")
    assert page.evaluate("$('#record').textContent") == "Record"


def wait_for(path: Path) -> None:
    until = time.monotonic() + 10
    while not path.is_file():
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.02)
