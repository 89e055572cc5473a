"""A server under load: what is counted, and that a wrong, lost or missing answer is seen."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mtab import Model, load
from mtab.bundle import open_bundle
from mtab_bench.cli import main
from mtab_bench.sections.serving import _long_run, measure_serving
from mtab_bench.serving import ServerProcess, served, utterances

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


@needs_wrk
def test_levels(model: Model) -> None:
    found = measure_serving(model, 1, threads=1, levels=(1, 8))
    first, second = found.levels
    assert (first.failed, second.failed) == (0, 0)
    assert first.batch == 1.0
    assert second.batch > 1.0
    for level in found.levels:
        assert 0 < level.p50 <= level.p99
        assert level.gain("without batches") == level.requests_per_second / level.beside["without batches"]


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
