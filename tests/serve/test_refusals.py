"""What a server refuses: a problem object with what was found and what was expected, and it goes on."""

import base64
import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile
from tests.runtime.gate import Engine, eventually

from .servers import LONG, serving, within
from .test_predict import Clips, form


def refused(answer: httpx.Response, status: int, kind: str, detail: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["type"], problem["status"], problem["kind"]) == ("about:blank", status, kind)
    assert problem["title"]
    assert re.search(detail, problem["detail"]), problem["detail"]
    assert "Traceback" not in answer.text


CLIP = base64.b64encode(b"RIFF").decode()
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("request_", "status", "kind", "detail"),
    [
        ({"content": b"", "headers": {}}, 415, "content_type", "no content type, expected multipart"),
        (
            {"content": b"RIFF", "headers": {"content-type": "audio/wav"}},
            415,
            "content_type",
            "audio/wav, expected",
        ),
        (
            {"content": b"x", "headers": {**JSON, "content-encoding": "gzip"}},
            *(415, "encoding", "gzip, expected none"),
        ),
        ({"content": b"{", "headers": JSON}, 400, "json", r"body is no JSON \(.*\), expected"),
        ({"content": b"[" * 100_000, "headers": JSON}, 400, "json", "nested too deeply"),
        ({"json": 3}, 400, "json", "utterance: is a number, expected an object"),
        ({"json": []}, 400, "json", "an empty list, expected an utterance or more"),
        ({"json": {}}, 400, "json", "neither audio nor text, expected"),
        ({"json": {"text": 3}}, 400, "json", "text is a number, expected a string"),
        ({"json": {"sound": CLIP}}, 400, "json", "unknown key 'sound', expected audio, text, utterance"),
        ({"json": [{"text": "a"}, []]}, 400, "json", "utterance 1: is a list, expected an object"),
        ({"json": {"audio": "%%%"}}, 400, "json", "audio is no base64"),
        ({"json": {"audio": CLIP, "text": "a"}}, 422, "audio", "unreadable.*, expected a clip"),
        ({"json": {"text": "\ud800"}}, 422, "text", "expected"),
        ({"json": {"text": "a"}}, 422, "audio", "no audio, expected some"),
        ({"files": {"sound": b"RIFF"}}, 400, "form", "unknown field 'sound', expected audio and text"),
        ({"files": [("audio", (None, "words"))]}, 400, "form", "audio is a text, expected a file"),
        ({"files": [("text", ("a.txt", b"words"))]}, 400, "form", "text is a file, expected a text"),
        (
            {"files": [("audio", ("a", b"")), ("audio", ("b", b"")), ("text", (None, "a"))]},
            *(400, "form", "1 texts for 2 clips, expected one each or none"),
        ),
        (
            {"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data"}},
            *(400, "form", "boundary.*Expected multipart/form-data"),
        ),
        (
            {"content": b"nothing", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            *(400, "form", "Expected multipart/form-data"),
        ),
    ],
)
def test_a_body_that_is_none(
    client: httpx.Client, request_: dict[str, Any], status: int, kind: str, detail: str
) -> None:
    if "json" in request_:  # httpx would refuse what no Unicode encoding has
        request_ = {"content": json.dumps(request_["json"]).encode(), "headers": JSON}
    refused(client.post("/v1/predict", **request_), status, kind, detail)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"topk": "1"}, "unknown parameter 'topk', expected model, top_k, abstain, embedding"),
        ({"top_k": "0"}, "top_k is 0, expected 1 or more"),
        ({"top_k": "x"}, "top_k as a whole number"),
        ({"abstain": "2"}, "abstain is 2.0, expected a probability"),
        ({"abstain": "nan"}, "abstain is nan, expected a probability"),
        ({"embedding": "maybe"}, "embedding is 'maybe', expected true or false"),
    ],
)
def test_a_query_that_is_none(client: httpx.Client, clips: Clips, query: dict[str, str], detail: str) -> None:
    refused(client.post("/v1/predict", params=query, files=form(clips[0])), 400, "query", detail)


@pytest.mark.parametrize("name", ["other", "../tones", "/etc/passwd", "..%2f..", "tones\0", ""])
def test_a_name_is_no_path(client: httpx.Client, clips: Clips, name: str) -> None:
    answer = client.post("/v1/predict", params={"model": name}, files=form(clips[0]))
    refused(answer, 404, "model", "no model .*, expected one of tones, again")


@pytest.mark.parametrize("path", ["/", "/etc/passwd", "/v1/../../etc/passwd", "/docs/", "/v1/models/tones"])
def test_nothing_else_is_there(client: httpx.Client, path: str) -> None:
    refused(client.get(path), 404, "path", "expected what /openapi.json lists")


def test_another_method(client: httpx.Client) -> None:
    answer = client.get("/v1/predict")
    refused(answer, 405, "method", "GET /v1/predict")
    assert answer.headers["allow"] == "POST"


def test_another_host(client: httpx.Client) -> None:
    answer = client.get("/v1/models", headers={"host": "evil.example"})
    refused(answer, 421, "host", "request to evil.example, expected one to localhost")
    assert client.get("/v1/models", headers={"host": "[::1]:80"}).status_code == 200


@pytest.mark.parametrize("given", ["0", "-1", "inf", "nan", "soon"])
def test_a_deadline_that_is_none(client: httpx.Client, clips: Clips, given: str) -> None:
    answer = client.post("/v1/predict", files=form(clips[0]), headers={"x-request-timeout": given})
    refused(answer, 400, "query", "expected seconds above 0")


def test_without_a_token_nobody_replaces_bundles(client: httpx.Client) -> None:
    refused(client.post("/v1/reload"), 403, "token", "this server has no token, expected one")


# Limits

KEY = {"authorization": "Bearer open-sesame"}


@pytest.fixture(scope="module")
def small(tone_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that takes little, and only from who has its token."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "token").write_text("open sesame".replace(" ", "-") + "\n")
    limits = ("--max-body", 300_000, "--max-seconds", 2, "--max-characters", 50, "--max-queue", 3)
    with (
        serving(
            folder / "log", tone_bundle, *limits, "--read-timeout", 1, "--token-file", folder / "token"
        ) as server,
        httpx.Client(
            base_url=server.url, headers={"authorization": "Bearer open-sesame"}, timeout=60
        ) as client,
    ):
        yield client


def silence(seconds: float, **options: str) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 16_000, 1, **options) as target:
        for _ in range(round(seconds)):
            target.write(np.zeros(16_000, np.float32))
    return file.getvalue()


def test_a_clip_and_a_transcript_beyond_the_limits(small: httpx.Client) -> None:
    long = {"audio": ("long.wav", silence(3, format="WAV")), "text": (None, "a")}
    refused(
        small.post("/v1/predict", files=long), 422, "audio", "long.wav.*3.00 s long, expected at most 2 s"
    )
    answer = small.post("/v1/predict", json={"text": "a" * 51})
    refused(answer, 422, "text", "text of 51 characters, expected at most 50")


def test_an_hour_of_silence_in_few_bytes(small: httpx.Client) -> None:
    bomb = silence(3600, format="FLAC")
    assert len(bomb) < 300_000
    begun = time.monotonic()
    answer = small.post("/v1/predict", files={"audio": ("bomb.flac", bomb), "text": (None, "a")})
    refused(answer, 422, "audio", "3600.00 s long, expected at most 2 s")
    assert time.monotonic() - begun < 10


def test_too_large_a_body_is_refused_before_it_is_read(small: httpx.Client) -> None:
    refused(
        small.post("/v1/predict", content=b"[" + bytes(2_000_000), headers=JSON),
        *(413, "body", "body of 2000001 bytes, expected at most 300000"),
    )
    chunks = (bytes(100_000) for _ in range(100))
    refused(
        small.post("/v1/predict", content=chunks, headers=JSON),
        *(413, "body", "body of more than 300000 bytes, expected at most 300000"),
    )


def test_a_body_of_two_gigabytes_is_not_waited_for(small: httpx.Client) -> None:
    answer = raw(small, "Content-Length: 2147483648", b"x" * 100_000)
    assert b"HTTP/1.1 413 " in answer
    assert b"body of 2147483648 bytes, expected at most 300000" in answer


def test_too_many_utterances_in_a_request(small: httpx.Client) -> None:
    answer = small.post("/v1/predict", json=[{"text": "a"}] * 4)
    refused(answer, 413, "utterances", "4 utterances in a request, expected at most 3")


def test_a_slow_body(small: httpx.Client) -> None:
    answer = raw(small, "Content-Length: 1000", b"{")
    assert b"HTTP/1.1 408 " in answer
    assert b"no whole body within 1 s, expected it by then" in answer


def test_a_body_that_ends_early_is_forgotten(small: httpx.Client) -> None:
    address = urlsplit(str(small.base_url))
    with socket.create_connection((str(address.hostname), address.port or 0)) as connection:
        connection.sendall(head("Content-Length: 1000") + b"{")
    assert small.post("/v1/predict", json=ASKED).status_code == 200
    assert "499" in small.get("/metrics").text


def test_no_http(small: httpx.Client) -> None:
    address = urlsplit(str(small.base_url))
    with socket.create_connection((str(address.hostname), address.port or 0)) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert b"400 " in connection.recv(1000)


@pytest.mark.parametrize("given", [None, "Bearer other", "Basic open-sesame", "open-sesame", "Bearer é"])
def test_without_the_token(small: httpx.Client, given: str | None) -> None:
    with httpx.Client(base_url=small.base_url) as stranger:
        headers = {} if given is None else {b"authorization": given.encode()}
        for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/nothing"):
            answer = stranger.get(path, headers=headers)
            refused(answer, 401, "token", "expected Authorization: Bearer")
            assert answer.headers["www-authenticate"] == "Bearer"
        refused(stranger.post("/v1/predict", json={"text": "a"}, headers=headers), 401, "token", "expected")
        assert stranger.get("/healthz").status_code == 200
        assert stranger.get("/readyz").status_code == 200


def head(*lines: str) -> bytes:
    given = ("Host: 127.0.0.1", "Content-Type: application/json", "Authorization: Bearer open-sesame", *lines)
    return "\r\n".join(["POST /v1/predict HTTP/1.1", *given, "", ""]).encode()


def raw(client: httpx.Client, line: str, body: bytes) -> bytes:
    """What the server answers to a request that is never sent whole."""
    address = urlsplit(str(client.base_url))
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=LONG) as connection:
        connection.sendall(head(line) + body)
        answer = connection.recv(10_000)
        while b"}" not in answer:
            answer += connection.recv(10_000)
        return answer


# Places


def gated(service: Any) -> Engine:
    """The engine of a server in this process, behind a gate that is shut."""
    model = service.models[0].model.model
    model.engine = engine = Engine(model.engine)
    engine.open.clear()
    return engine


def ask(url: str, found: list[httpx.Response]) -> threading.Thread:
    def post() -> None:
        found.append(httpx.post(f"{url}/v1/predict", json=ASKED, timeout=LONG))

    thread = threading.Thread(target=post)
    thread.start()
    return thread


ASKED = {"audio": base64.b64encode(silence(1, format="WAV")).decode(), "text": "a"}


def test_all_places_and_the_whole_queue_are_taken(tone_bundle: Path) -> None:
    with within(tone_bundle, max_concurrency=2, max_queue=3) as (url, service):
        engine = gated(service)
        found: list[httpx.Response] = []
        threads = [ask(url, found)]
        assert engine.reached.wait(LONG)
        full = httpx.post(f"{url}/v1/predict", json=[ASKED] * 3)
        refused(full, 503, "queue", "requests are unanswered, expected fewer than 3")
        assert full.headers["retry-after"] == "1"
        threads.append(ask(url, found))
        eventually(lambda: service.models[0].model.unanswered == 2)
        many = httpx.post(f"{url}/v1/predict", json=ASKED)
        refused(many, 429, "busy", "2 requests are in work, expected fewer than 2; try again later")
        assert many.headers["retry-after"] == "1"
        engine.open.set()
        for thread in threads:
            thread.join(LONG)
        assert [each.status_code for each in found] == [200, 200]
        assert service.models[0].model.unanswered == 0


def test_a_deadline_frees_the_place(tone_bundle: Path) -> None:
    with within(tone_bundle, max_concurrency=2) as (url, service):
        engine = gated(service)
        found: list[httpx.Response] = []
        first = ask(url, found)
        assert engine.reached.wait(LONG)
        late = httpx.post(f"{url}/v1/predict", json=ASKED, headers={"x-request-timeout": "0.2"})
        refused(late, 504, "deadline", r"no answer within 0.2 s, expected one by then")
        eventually(lambda: service.models[0].model.unanswered == 1)
        engine.open.set()
        first.join(LONG)
        assert [each.status_code for each in found] == [200]
        assert len(engine.batches) == 1


def test_a_client_that_goes_away_frees_its_place(tone_bundle: Path) -> None:
    with within(tone_bundle, max_concurrency=2) as (url, service):
        engine = gated(service)
        found: list[httpx.Response] = []
        first = ask(url, found)
        assert engine.reached.wait(LONG)
        body = json.dumps(ASKED).encode()
        address = urlsplit(url)
        with socket.create_connection((str(address.hostname), address.port or 0)) as connection:
            connection.sendall(head(f"Content-Length: {len(body)}") + body)
            eventually(lambda: service.models[0].model.unanswered == 2)
        eventually(lambda: service.models[0].model.unanswered == 1)
        engine.open.set()
        first.join(LONG)
        assert len(engine.batches) == 1


def test_a_fault_of_ours_shows_no_trace(tone_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    with within(tone_bundle) as (url, service):
        model = service.models[0].model.model

        def fail(*_: object, **__: object) -> None:
            raise ValueError("a secret")

        model.answer_each = fail
        answer = httpx.post(f"{url}/v1/predict", json=ASKED)
        refused(answer, 500, "internal", "a fault of the server")
        assert "secret" not in answer.text
        eventually(lambda: "a secret" in caplog.text)
