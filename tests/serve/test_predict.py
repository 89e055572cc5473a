"""`POST /v1/predict` answers what `mtab predict` does, and the other routes describe it."""

import base64
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from mtab import Model

from .servers import MTAB

Clips = list[tuple[Path, str]]
TIMINGS = {"read", "wait", "compute", "batch"}


def form(*clips: tuple[Path, str]) -> list[tuple[str, Any]]:
    files: list[tuple[str, Any]] = [("audio", (path.name, path.read_bytes())) for path, _ in clips]
    return [*files, *(("text", (None, text)) for _, text in clips)]


def described(path: Path, text: str | None) -> dict[str, str | None]:
    return {"audio": base64.b64encode(path.read_bytes()).decode(), "text": text, "utterance": path.name}


def same(answer: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(answer["timings"]) == TIMINGS
    probabilities = pytest.approx(expected["probabilities"], abs=1e-5)
    assert answer == {**expected, "probabilities": probabilities, "timings": answer["timings"]}


def predicted(bundle: Path, path: Path, text: str, *options: str) -> dict[str, Any]:
    """What the command prints."""
    command = [MTAB, "predict", bundle, path, "--text", text, "--format", "json", "--threads", "1", *options]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    (answer,) = json.loads(done.stdout)
    return {**answer, "utterance": path.name}


@pytest.mark.parametrize("options", [(), ("--top-k", "1"), ("--abstain", "1")])
def test_a_form_and_json_get_what_the_command_prints(
    client: httpx.Client, tone_bundle: Path, clips: Clips, options: tuple[str, ...]
) -> None:
    path, text = clips[0]
    expected = predicted(tone_bundle, path, text, *options)
    query = {
        name[2:].replace("-", "_"): value for name, value in zip(options[::2], options[1::2], strict=True)
    }
    for body in ({"files": form((path, text))}, {"json": described(path, text)}):
        answer = client.post("/v1/predict", params=query, **body)
        assert answer.status_code == 200, answer.text
        same(answer.json(), expected)


def test_many_at_once_are_batched_and_answered_as_alone(
    client: httpx.Client, model: Model, clips: Clips
) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda clip: client.post("/v1/predict", files=form(clip)).json(), clips * 4))
    for (path, text), answer in zip(clips * 4, answers, strict=True):
        expected = model.predict(path, text)
        assert answer["label"] == expected.label
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert max(answer["timings"]["batch"] for answer in answers) > 1


@pytest.mark.parametrize("kind", ["form", "json"])
def test_a_list_has_an_outcome_each(
    client: httpx.Client, model: Model, clips: Clips, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    listed = [clips[0], (tmp_path / "bad.wav", "a"), clips[1]]
    body = {"files": form(*listed)} if kind == "form" else {"json": [described(*each) for each in listed]}
    first, bad, second = client.post("/v1/predict", **body).json()
    assert set(bad) == {"utterance", "error"}
    assert bad["utterance"] == "bad.wav"
    assert "unreadable" in bad["error"]
    for (path, text), answer in ((clips[0], first), (clips[1], second)):
        assert answer["utterance"] == path.name
        expected = model.predict(path, text).probabilities
        assert answer["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_a_list_of_one_is_a_list(client: httpx.Client, clips: Clips) -> None:
    (answer,) = client.post("/v1/predict", json=[described(*clips[0])]).json()
    assert answer["label"] in ("high", "low")


def test_an_embedding_on_request(client: httpx.Client, model: Model, clips: Clips) -> None:
    path, text = clips[0]
    answer = client.post("/v1/predict?embedding=true", files=form(clips[0])).json()
    expected = model.predict(path, text, return_embedding=True).embedding
    assert expected is not None
    assert answer["embedding"] == pytest.approx(expected.tolist(), abs=1e-4)


def test_what_the_model_cannot_do_without_is_asked_for(client: httpx.Client, clips: Clips) -> None:
    path, _ = clips[0]
    for body in ({"files": [("text", (None, "it is high"))]}, {"json": {"text": "it is high"}}):
        answer = client.post("/v1/predict", **body)
        assert (answer.status_code, answer.json()["kind"]) == (422, "audio")
    for body in ({"files": {"audio": path.read_bytes()}}, {"json": described(path, None)}):
        answer = client.post("/v1/predict", **body)
        assert (answer.status_code, answer.json()["kind"]) == (422, "text")


def test_bundles_by_name(client: httpx.Client, model: Model, clips: Clips) -> None:
    models = client.get("/v1/models").json()["models"]
    assert [each["name"] for each in models] == ["tones", "again"]
    assert models[0]["content"] == model.bundle.content
    assert models[0]["labels"] == list(model.labels)
    assert (models[0]["engine"], models[0]["precision"]) == ("onnxruntime", "fp32")
    assert (models[0]["streams"], models[0]["batch_size"]) == (1, 8)
    for name in ("tones", "again"):
        answer = client.post("/v1/predict", params={"model": name}, files=form(clips[0]))
        assert (answer.status_code, answer.headers["x-model"]) == (200, name)


def test_health(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_metrics(client: httpx.Client, clips: Clips) -> None:
    def figure(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    engine = 'engine="onnxruntime cpu fp32",model="tones"'
    names = (f"mtab_outcomes_total{{{engine},outcome=", f"mtab_audio_seconds_total{{{engine}}}")
    before = [figure(name) for name in names]
    answers = [client.post("/v1/predict", files=form(clip)).json() for clip in clips[:3]]
    answered, seconds = [figure(name) - was for name, was in zip(names, before, strict=True)]
    assert answered == 3
    assert seconds == pytest.approx(sum(answer["duration"] for answer in answers))
    assert figure("mtab_batch_size_count") == figure('mtab_latency_seconds_count{engine="') / 3
    assert figure("mtab_queue_length") == 0
    assert figure("mtab_model_info") == 2


def test_the_page_describes_every_route(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    page = client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in document["paths"]:
        assert f" {path}</h2>" in page.text
    assert "src=" not in page.text


def test_nothing_is_kept_and_a_line_is_logged(client: httpx.Client, clips: Clips) -> None:
    answer = client.post("/v1/predict", files=form(clips[0]))
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers
