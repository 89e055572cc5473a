"""The service of docs/http-service.md, as it stands there, over a real connection."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtab
from mtab.data import Corpus

PAGE = Path(__file__).parents[2] / "docs" / "http-service.md"


@pytest.fixture(scope="module")
def address(tone_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    file = tmp_path_factory.mktemp("service") / "service.py"
    file.write_text(code[1], encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = subprocess.Popen([sys.executable, file, tone_bundle, str(port)])
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and service.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        service.kill()
        service.wait()


def post(address: str, body: bytes, **query: str) -> tuple[int, dict]:
    request = urllib.request.Request(f"{address}?{urllib.parse.urlencode(query)}", data=body)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_answers_as_predict_does(address: str, tone_bundle: Path, tones: Corpus) -> None:
    utterance = tones.utterances[0]
    assert utterance.audio is not None
    status, found = post(address, utterance.audio.read_bytes(), text=utterance.text or "")
    expected = mtab.load(tone_bundle, "cpu", threads=1).predict(utterance.audio, utterance.text)
    assert status == 200
    assert found["label"] == expected.label
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)


def test_what_is_no_clip_is_one_line(address: str) -> None:
    status, found = post(address, b"no clip", text="it is high")
    assert status == 422
    assert "\n" not in found["error"]
