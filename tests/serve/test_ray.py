"""The server on Ray Serve: the contract of `mtab serve`, on replicas."""

import base64
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import ray
from ray import serve
from tests.runtime.gate import eventually

import mtab.ray
from mtab import Model
from mtab.errors import ConfigError

from .load import load
from .test_predict import Clips, form
from .test_refusals import refused

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tone_bundle: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"port": port})
        given = {
            "bundle": f"tones={tone_bundle}",
            "min_replicas": "2",
            "max_replicas": 2,
            "max_body": "300000",
        }
        serve.run(mtab.ray.app(given))
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def test_replicas_answer_as_the_model_does(url: str, model: Model, clips: Clips) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda clip: httpx.post(f"{url}/v1/predict", files=form(clip)), clips))
    for (path, text), answer in zip(clips, answers, strict=True):
        expected = model.predict(path, text)
        assert answer.json()["label"] == expected.label
        assert answer.json()["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)


def test_the_contract_is_the_same(url: str, clips: Clips) -> None:
    assert httpx.get(f"{url}/readyz").json() == {"status": "ready"}
    assert "/v1/predict" in httpx.get(f"{url}/openapi.json").json()["paths"]
    refused(httpx.post(f"{url}/v1/predict", content=b"x"), 415, "content_type", "expected multipart")
    large = httpx.post(f"{url}/v1/predict", json={"text": "a" * 400_000})
    refused(large, 413, "body", "expected at most 300000")
    other = httpx.post(f"{url}/v1/predict", json={"text": "a"}, headers={"host": "evil.example"})
    refused(other, 421, "host", "expected one to localhost")


def test_a_replica_that_is_killed_comes_back(url: str, clips: Clips) -> None:
    body = {"audio": base64.b64encode(clips[0][0].read_bytes()).decode(), "text": clips[0][1]}
    with load(url, body, clients=4) as found:
        eventually(lambda: found.answered() > 20)
        (killed,) = replicas()[:1]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: len(replicas()) == 2 and killed not in replicas())
        before = found.answered()
        eventually(lambda: found.answered() > before + 20)
    # What was in work on it may be lost, and nothing else.
    assert found.asked - found.answered() <= 16, found.outcomes


def replicas() -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::ServeReplica:default:mtab"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "bundle is None, expected a folder"),
        ({"bundle": 3}, "bundle is 3, expected a folder"),
        ({"bundle": "a", "replicas": 3}, "replicas"),
        ({"bundle": "a", "threads": "many"}, "threads"),
        ({"bundle": "x=a,x=b"}, "bundles named 'x', 'x', expected"),
    ],
)
def test_arguments_that_are_none(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mtab.ray.app(arguments)
