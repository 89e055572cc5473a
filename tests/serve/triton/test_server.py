"""A real Triton server: what it answers is what `mtab predict` answers, alone and among others.

The graph runs by ``graph_model.py``; the model before it is the repository's own.
"""

import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from mtab import Model, load
from mtab.bundle import open_bundle
from mtab.data import Corpus
from mtab.errors import MtabError
from mtab.output import record
from mtab_serve.triton.repository import write_repository

from .server import Server, serving

Clip = tuple[bytes | None, bytes | None]
ALL = ("label", "probabilities", "dimensions", "embedding", "json")


@pytest.fixture(scope="module")
def model(rated_bundle: Path) -> Model:
    return load(rated_bundle, threads=1)


@pytest.fixture(scope="module")
def server(rated_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("triton")
    repository = work / "models"
    assert list(write_repository(open_bundle(rated_bundle), repository))
    graph = repository / "mtab_graph"
    shutil.copy(Path(__file__).with_name("graph_model.py"), graph / "1" / "model.py")
    config = (graph / "config.pbtxt").read_text()
    config = config.replace('backend: "onnxruntime"', 'backend: "python"')
    (graph / "config.pbtxt").write_text(re.sub("default_model_filename.*\n", "", config))
    with serving(repository, work) as started:
        yield started


@pytest.fixture(scope="module")
def clips(rated_tones: Corpus) -> list[tuple[bytes, bytes]]:
    return [(Path(str(each.audio)).read_bytes(), str(each.text).encode()) for each in rated_tones.utterances]


def ask(server: Server, *clips: Clip, wanted: tuple[str, ...] = ALL) -> dict[str, np.ndarray]:
    """The answer of one request; an input that no clip has is not sent."""
    inputs = []
    for name, column in zip(("audio", "text"), zip(*clips, strict=True), strict=True):
        if any(value is not None for value in column):
            tensor = grpc.InferInput(name, [len(clips), 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[value or b""] for value in column], np.object_))
            inputs.append(tensor)
    with grpc.InferenceServerClient(server.grpc) as client:
        outputs = [grpc.InferRequestedOutput(name) for name in wanted]
        answer = client.infer("mtab", inputs, outputs=outputs, client_timeout=60)
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


def check(answer: Mapping[str, np.ndarray], row: int, model: Model, clip: tuple[bytes, bytes]) -> None:
    """Compare a row of an answer with what the runtime answers on an engine of its own."""
    expected = model.predict(clip[0], clip[1].decode(), return_embedding=True)
    assert expected.embedding is not None
    assert expected.dimensions is not None
    assert answer["label"][row, 0].decode() == expected.label
    assert answer["probabilities"][row] == pytest.approx(list(expected.probabilities.values()), abs=1e-5)
    assert answer["embedding"][row] == pytest.approx(expected.embedding, abs=1e-4)
    assert answer["dimensions"][row] == pytest.approx(list(expected.dimensions.values()), rel=1e-4, abs=1e-4)
    found, printed = json.loads(answer["json"][row, 0]), record("utterance", expected)
    for name in ("probabilities", "dimensions"):
        assert found.pop(name) == pytest.approx(printed.pop(name), rel=1e-4, abs=1e-5)
    assert found == printed


def refusal(server: Server, *clips: Clip) -> str:
    with pytest.raises(InferenceServerException) as caught:
        ask(server, *clips)
    return str(caught.value.message())


def test_one_after_another(server: Server, model: Model, clips: list[tuple[bytes, bytes]]) -> None:
    for clip in clips[:6]:
        check(ask(server, clip), 0, model, clip)


def test_many_at_once_with_bad_ones_among_them(
    server: Server, model: Model, clips: list[tuple[bytes, bytes]]
) -> None:
    """Each bad clip fails its own request alone, with the line of the runtime; the rest share batches."""
    bad: list[tuple[bytes, bytes]] = [(b"no audio", b"it is high"), (clips[0][0][:60], b"it is low")]
    asked = [*clips, *bad] * 2
    logged = server.log.stat().st_size
    errors = []
    for audio, text in bad:
        with pytest.raises(MtabError) as caught:
            model.predict(audio, text.decode())
        errors.append(str(caught.value))
    with ThreadPoolExecutor(16) as pool:
        for clip, answer in [(clip, pool.submit(ask, server, clip)) for clip in asked]:
            if clip in bad:
                with pytest.raises(InferenceServerException) as refused:
                    answer.result()
                assert refused.value.message() == errors[bad.index(clip)]
            else:
                check(answer.result(), 0, model, clip)
    log = server.log.read_bytes()[logged:].decode()
    sizes = [int(size) for size in re.findall(r"batch \{'input_values': \((\d+),", log)]
    assert sum(sizes) == 2 * len(clips)
    assert 1 < max(sizes) <= 8


def test_a_request_of_several(server: Server, model: Model, clips: list[tuple[bytes, bytes]]) -> None:
    answer = ask(server, *clips[:11])
    assert answer["probabilities"].shape == (11, 2)
    for row, clip in enumerate(clips[:11]):
        check(answer, row, model, clip)


def test_a_bad_one_of_several_is_named(server: Server, clips: list[tuple[bytes, bytes]]) -> None:
    assert refusal(server, clips[0], (b"no audio", b"it is low")).startswith("utterance 1: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "utterance: no transcript, expected one: this model answers from audio and text"),
        (b" ", "utterance: no transcript, expected one: this model answers from audio and text"),
        (b"\xff\xfe", "utterance: "),
    ],
)
def test_a_text_that_is_none(
    server: Server, clips: list[tuple[bytes, bytes]], text: bytes | None, expected: str
) -> None:
    assert refusal(server, (clips[0][0], text)).startswith(expected)


def test_only_what_was_asked_for_is_sent(server: Server, clips: list[tuple[bytes, bytes]]) -> None:
    assert set(ask(server, clips[0], wanted=("label",))) == {"label"}


def test_http_answers_too(server: Server, model: Model, clips: list[tuple[bytes, bytes]]) -> None:
    """The binary form of Triton's protocol, as curl sends it: a JSON header, then the bytes."""
    audio, text = clips[0]
    tensors = {"audio": audio, "text": text}
    parts = {name: len(value).to_bytes(4, "little") + value for name, value in tensors.items()}
    described = [
        {
            "name": name,
            "shape": [1, 1],
            "datatype": "BYTES",
            "parameters": {"binary_data_size": len(parts[name])},
        }
        for name in tensors
    ]
    header = json.dumps({"inputs": described, "outputs": [{"name": "json"}]}).encode()
    request = urllib.request.Request(
        f"{server.http}/v2/models/mtab/infer",
        header + b"".join(parts.values()),
        {"Inference-Header-Content-Length": str(len(header))},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        (output,) = json.load(response)["outputs"]
    expected = model.predict(audio, text.decode())
    assert json.loads(output["data"][0])["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
