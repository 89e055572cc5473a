"""A server under load: what is counted, and that a wrong, lost or missing answer is seen."""

import dataclasses
import importlib
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mtab import Model, batching, load
from mtab.batching import Length
from mtab.bundle import open_bundle
from mtab.data import Utterance
from mtab.errors import DataError
from mtab.limits import BatchLimits
from mtab_bench.cli import main
from mtab_bench.sections.serving import _long_run, measure_serving
from mtab_bench.serving import ServerProcess, like_those, served, utterances

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk makes the load")


@pytest.fixture(scope="module")
def model(tone_bundle: Path) -> Model:
    return load(tone_bundle, "cpu", threads=1)


@pytest.fixture(scope="module")
def server(tone_bundle: Path) -> Iterator[ServerProcess]:
    with served(tone_bundle, "--threads", "1", "--max-concurrency", "8") as server:
        yield server


def test_every_answer_is_compared(server: ServerProcess, model: Model) -> None:
    asked = utterances(model.bundle, 8)
    expected = [model.predict(each.audio, each.text).probabilities for each in asked]
    found = _long_run(server, asked, expected, requests=100, clients=4)
    assert (found.requests, found.lost, found.wrong, found.growth) == (100, 0, 0, None)
    wrong = [*expected[:-1], {name: value + 1e-4 for name, value in expected[-1].items()}]
    assert _long_run(server, asked, wrong, requests=80, clients=4).wrong == 10


def test_what_has_no_answer_is_lost(server: ServerProcess, model: Model) -> None:
    (asked,) = utterances(model.bundle, 1)
    bad = dataclasses.replace(asked, body=b"{}")
    found = _long_run(server, [asked, bad], [model.predict(asked.audio, asked.text).probabilities] * 2, 20, 2)
    assert (found.lost, found.wrong) == (10, 0)


def test_a_server_is_known_by_its_figures(server: ServerProcess) -> None:
    assert len(server.workers()) == 1
    assert server.metric("mtab_model_info") == 1


def test_a_server_that_does_not_begin_says_why(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["serve", str(tmp_path / "bundle")])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")


def test_a_padding_server_asks_nobody_how_long_he_is(
    tone_bundle: Path, model: Model, server: ServerProcess
) -> None:
    asked = like_those(model.bundle, [_lasting(seconds) for seconds in (0.5, 12.0)], 2)
    expected = [model.predict(each.audio, each.text).probabilities for each in asked]

    def together(server: ServerProcess) -> float:
        """The size of each request's batch, in all."""
        before = server.metric("mtab_batch_size_sum")
        assert _long_run(server, asked, expected, requests=64, clients=8).wrong == 0
        return server.metric("mtab_batch_size_sum") - before

    with served(tone_bundle, "--threads", "1", program="mtab_bench.padding_server") as padding:
        assert together(padding) > together(server) >= 64


@pytest.fixture(scope="module")
def as_they_arrive() -> Iterator[Callable[..., list[list[int]]]]:
    """That of the padding server, which leaves the batches of this process as they were."""
    before = batching.plan
    yield importlib.import_module("mtab_bench.padding_server").as_they_arrive
    batching.plan = before


@given(count=st.integers(0, 40), size=st.integers(1, 9))
def test_batches_as_they_arrive(
    as_they_arrive: Callable[..., list[list[int]]], count: int, size: int
) -> None:
    batches = as_they_arrive([Length(1.0)] * count, BatchLimits(size))
    assert [i for batch in batches for i in batch] == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])


def test_requests_like_those_of_a_corpus(tone_bundle: Path) -> None:
    corpus = [_lasting(seconds, f"they said {seconds}") for seconds in (0.5, 2.0, 3.5)]
    asked = like_those(open_bundle(tone_bundle), corpus, 2)
    found = {each.text: soundfile.info(io.BytesIO(each.audio or b"")).duration for each in asked}
    assert len(found) == 2
    assert found.items() < {each.text: (each.end or 0) - (each.start or 0) for each in corpus}.items()
    with pytest.raises(DataError, match="a: has no times, expected annotations that tell durations"):
        like_those(open_bundle(tone_bundle), [Utterance("a", None, "x", "sad")], 1)


def _lasting(seconds: float, text: str = "well") -> Utterance:
    return Utterance(text, None, text, "sad", start=1.0, end=1.0 + seconds)


@needs_wrk
def test_levels(model: Model) -> None:
    found = measure_serving(model, 1, threads=1, levels=(1, 8))
    first, second = found.levels
    assert (first.failed, second.failed) == (0, 0)
    assert first.batch == 1.0
    assert second.batch > 1.0
    for level in found.levels:
        assert 0 < level.p50 <= level.p99
        assert level.beside.keys() == {"padding", "without batches"}
        assert level.gain("without batches") == level.requests_per_second / level.beside["without batches"]


def test_a_folder_of_no_corpus(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["serve", str(tmp_path), "--data-dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "--data-dir needs --dataset" in done.output


def test_without_wrk_it_says_what_to_install(tone_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    done = CliRunner().invoke(main, ["serve", str(tone_bundle), "--threads", "1"])
    assert done.exit_code == 1
    assert done.output == ("Error: wrk is not installed, expected it to make the load: apt-get install wrk\n")


def test_the_bundle_says_what_to_ask(tone_bundle: Path) -> None:
    for each in utterances(open_bundle(tone_bundle), 5):
        assert each.audio is not None
        assert each.text
        assert b'"audio"' in each.body
