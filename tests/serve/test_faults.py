"""What a server's processes do under load: end, die, and take a new bundle, without losing a request."""

import base64
import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.runtime.conftest import seal
from tests.runtime.gate import eventually

from mtab import Model
from mtab_serve.running import _HUNG_SECONDS

from .load import Load, load
from .servers import serving
from .test_predict import Clips


@pytest.fixture
def asked(clips: Clips) -> dict[str, Any]:
    path, text = clips[0]
    return {"audio": base64.b64encode(path.read_bytes()).decode(), "text": text}


def all_right(found: Load, expected: dict[str, float]) -> None:
    for answer in found.answers:
        assert answer["probabilities"] == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def expected(model: Model, clips: Clips) -> dict[str, float]:
    return model.predict(*clips[0]).probabilities


@pytest.mark.parametrize("keep_alive", [True, False])
def test_sigterm_loses_no_request(
    tone_bundle: Path, tmp_path: Path, asked: dict[str, Any], expected: dict[str, float], keep_alive: bool
) -> None:
    with serving(tmp_path / "log", tone_bundle, "--threads", 1) as server:
        with load(server.url, asked, keep_alive=keep_alive) as found:
            eventually(lambda: found.answered() > 50)
            assert server.stop() == 0
        assert set(found.outcomes) == {"200", "refused"}, found.outcomes
        assert found.answered() == found.asked
        all_right(found, expected)


def test_a_worker_that_is_killed_comes_back(
    tone_bundle: Path, tmp_path: Path, asked: dict[str, Any], expected: dict[str, float]
) -> None:
    with serving(tmp_path / "log", tone_bundle, "--workers", 2, "--threads", 1) as server:
        first = server.workers()
        assert len(first) == 2
        with load(server.url, asked) as found:
            eventually(lambda: found.answered() > 50)
            os.kill(first[0], signal.SIGKILL)
            eventually(lambda: len(server.workers()) == 2 and first[0] not in server.workers())
            before = found.answered()
            eventually(lambda: found.answered() > before + 50)
        lost = found.asked - found.answered()
        assert lost <= 8, "more than were in work"
        assert "refused" not in found.outcomes
        all_right(found, expected)


def test_a_worker_that_dies_while_it_is_asked_for_a_sign_of_life(tone_bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "log", tone_bundle, "--threads", 1) as server:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)
        time.sleep(1.5)  # the supervisor asks every half second
        begun = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: len(server.workers()) == 1 and worker not in server.workers())
        assert time.monotonic() - begun < _HUNG_SECONDS / 2
        assert httpx.get(f"{server.url}/healthz", timeout=60).status_code == 200


@pytest.fixture
def link(tone_bundle: Path, tmp_path: Path) -> Path:
    """A link to a bundle, as it is deployed."""
    (tmp_path / "current").symlink_to(tone_bundle)
    return tmp_path / "current"


def replace(link: Path) -> None:
    """Let the link lead to a bundle with other names for the classes."""
    other = shutil.copytree(link.resolve(), link.with_name("other"))
    values = json.loads((other / "config.json").read_text())
    values["id2label"] = {"0": "up", "1": "down"}
    (other / "config.json").write_text(json.dumps(values))
    seal(other)
    link.with_name("next").symlink_to(other)
    link.with_name("next").replace(link)


@pytest.mark.parametrize("how", ["SIGHUP", "call"])
def test_a_new_bundle_takes_over_without_a_lost_request(
    link: Path, tmp_path: Path, asked: dict[str, Any], how: str
) -> None:
    with serving(tmp_path / "log", f"tones={link}", "--threads", 1, MTAB_TOKEN="key") as server:
        headers = {"authorization": "Bearer key"}
        with load(server.url, asked, headers=headers) as found:
            eventually(lambda: found.answered() > 20)
            replace(link)
            if how == "SIGHUP":
                server.process.send_signal(signal.SIGHUP)
            else:
                answer = httpx.post(f"{server.url}/v1/reload", headers=headers)
                assert answer.status_code == 202, answer.text
                assert set(answer.json()["contents"]) == {"tones"}
            eventually(lambda: found.answers[-1]["label"] in ("up", "down"))
            before = found.answered()
            eventually(lambda: found.answered() > before + 20)
        assert set(found.outcomes) == {"200"}, found.outcomes
        labels = [answer["label"] for answer in found.answers]
        assert {"high", "low"} & set(labels)


def test_a_bundle_that_is_broken_takes_nothing_over(
    link: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    with serving(tmp_path / "log", f"tones={link}", "--threads", 1, MTAB_TOKEN="key") as server:
        headers = {"authorization": "Bearer key"}
        replace(link)
        (link / "model.onnx").write_bytes(b"nothing")
        answer = httpx.post(f"{server.url}/v1/reload", headers=headers)
        assert (answer.status_code, answer.json()["kind"]) == (409, "bundle")
        assert "model.onnx" in answer.json()["detail"]
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "keeping worker" in server.log.read_text())
        answer = httpx.post(f"{server.url}/v1/predict", json=asked, headers=headers)
        assert answer.json()["label"] in ("high", "low")
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


def test_two_thousand_connections_that_say_nothing(
    tone_bundle: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    with serving(tmp_path / "log", tone_bundle, "--threads", 1) as server:
        address = urlsplit(server.url)
        idle = [
            socket.create_connection((str(address.hostname), address.port or 0), timeout=60)
            for _ in range(2_000)
        ]
        try:
            assert httpx.post(f"{server.url}/v1/predict", json=asked, timeout=60).status_code == 200
            # Each is closed once it has said nothing for long enough.
            idle[0].sendall(b"POST /v1/predict HTTP/1.1\r\nHost: 127")
            for each in (idle[0], idle[-1]):
                assert each.recv(100) == b""
        finally:
            for each in idle:
                each.close()
        assert httpx.post(f"{server.url}/v1/predict", json=asked, timeout=60).status_code == 200


def test_what_it_says(tone_bundle: Path, tmp_path: Path, asked: dict[str, Any]) -> None:
    with serving(tmp_path / "log", tone_bundle, "--threads", 1, MTAB_TOKEN="a-secret") as server:
        headers = {"authorization": "Bearer a-secret"}
        answer = httpx.post(f"{server.url}/v1/predict", json=asked, headers=headers)
        assert server.stop() == 0
        said = server.log.read_text()
    (line,) = [json.loads(each) for each in said.splitlines() if '"/v1/predict"' in each]
    assert line["request"] == answer.headers["x-request-id"]
    assert (line["method"], line["status"], line["utterances"]) == ("POST", 200, 1)
    for secret in ("a-secret", asked["audio"][:50], f'"{asked["text"]}"'):
        assert secret not in said
