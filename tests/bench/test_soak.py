"""The soak itself: it counts wrong answers, and sees memory that grows."""

import dataclasses
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from mtab import Model, load
from mtab_bench.commands.soak import soak_command
from mtab_bench.memory import process_memory
from mtab_bench.sections.soak import SETTLED, soak


@pytest.fixture(scope="module")
def model(tone_bundle: Path) -> Model:
    return load(tone_bundle, "cpu", threads=1)


def test_sixteen_threads_get_the_answers_of_one(model: Model) -> None:
    measured = soak(model, 400, 16)
    assert measured.wrong == 0
    # Every request of those asked before, and some of the new lengths.
    assert 200 < measured.checked <= 400
    assert [each.requests for each in measured.ram] == list(range(4, 401, 4))


def test_an_answer_that_differs_is_counted(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    predict = model.predict

    def sometimes_wrong(*arguments: object, **options: object) -> object:
        nonlocal asked
        asked += 1
        result = predict(*arguments, **options)
        return dataclasses.replace(result, duration=-1.0) if asked in (100, 150) else result

    monkeypatch.setattr(model, "predict", sometimes_wrong)
    assert soak(model, 200, 1).wrong == 2


def test_memory_that_is_kept_is_growth(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []
    predict = model.predict

    def leaking(*arguments: object, **options: object) -> object:
        kept.append(os.urandom(200_000))
        return predict(*arguments, **options)

    monkeypatch.setattr(model, "predict", leaking)
    growth = soak(model, SETTLED + 400, 4).growth
    assert growth == pytest.approx(400 * 200_000 / process_memory()["ram"], rel=0.5)


def test_the_command_says_what_it_found(tone_bundle: Path) -> None:
    done = CliRunner().invoke(soak_command, [str(tone_bundle), "--requests", "50", "--threads", "4"])
    assert done.exit_code == 0, done.output
    assert "50 requests from 4 threads" in done.output
    assert "answers unlike the single thread's: 0 of" in done.output
    assert "not known" in done.output
