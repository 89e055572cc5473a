"""The grid of lengths: its rule, few sizes, and answers that it leaves as they are."""

from math import ceil, floor, log2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtab.bundle import open_bundle
from mtab.engines.base import Engine
from mtab.engines.grid import LEAST, STEPS, Grid, round_up
from mtab.engines.opening import open_engine
from mtab.loading import open_preprocessor
from mtab.synthetic_inputs import speech, transcript
from mtab.traffic import NewLengths

LENGTHS = st.integers(1, 20_000_000)
POWERS = st.sampled_from([1, 8, 1024])


@given(LENGTHS, POWERS)
def test_the_rule(length: int, least: int) -> None:
    unit = max(least, floor(2 ** (floor(log2(length)) - 3)))
    size = round_up(length, least)
    assert size == unit * ceil(length / unit)
    assert length <= size <= length * (1 + 1 / STEPS) + least
    assert round_up(size, least) == size


@given(LENGTHS, LENGTHS, POWERS)
def test_it_keeps_the_order(first: int, second: int, least: int) -> None:
    first, second = sorted((first, second))
    assert round_up(first, least) <= round_up(second, least)


def test_there_are_few_sizes() -> None:
    assert len({round_up(n) for n in range(16_000, 160_000)}) < 30
    assert sorted({round_up(n, LEAST["tokens"]) for n in range(1, 65)}) == [8, 16, 24, 32, 40, 48, 56, 64]


def test_only_lengths_are_rounded_and_no_further_than_there_are_positions() -> None:
    grid = Grid({"tokens": 20})
    assert [grid.size("tokens", n) for n in (1, 9, 17, 20, 21)] == [8, 16, 20, 20, 21]
    assert (grid.size("batch", 9), grid.size(None, 9), grid.size(4, 9)) == (9, 9, 9)
    padded = grid.pad(np.ones((3, 1001), np.float32), ("batch", "samples"))
    assert padded.shape == (3, 1024)
    assert padded.dtype == np.float32
    assert padded.sum() == 3 * 1001


def shapes_seen(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> set[tuple]:
    seen: set[tuple] = set()
    compute = engine._compute

    def watched(feed: dict[str, np.ndarray]):
        seen.add(tuple(feed[name].shape for name in ("input_values", "input_ids")))
        return compute(feed)

    monkeypatch.setattr(engine, "_compute", watched)
    return seen


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_few_shapes_reach_an_engine_that_pays_for_them(
    tone_bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip(name)
    bundle = open_bundle(tone_bundle)
    preprocess = open_preprocessor(bundle)
    _, engine = open_engine(bundle, name, "cpu", threads=1)
    seen = shapes_seen(engine, monkeypatch)
    random = np.random.default_rng(0)
    sample = [preprocess(speech(random, s), transcript(random, 4)) for s in (0.5, 0.7, 0.9)]
    new = NewLengths(preprocess.config.min_samples)
    for i in range(60):
        engine.run(preprocess.collate([new.features(sample[i % 3])]))
    if engine.pays_for_new_lengths:
        assert len(seen) <= 10
    else:
        assert len(seen) == 60


def test_answers_are_the_same_on_the_grid(tone_bundle: Path) -> None:
    pytest.importorskip("openvino")
    bundle = open_bundle(tone_bundle)
    preprocess = open_preprocessor(bundle)
    _, padding = open_engine(bundle, "openvino", "cpu", threads=1)
    _, plain = open_engine(bundle, "openvino", "cpu", threads=1)
    plain._grid = None
    random = np.random.default_rng(0)
    for seconds in (0.31, 1.03, 2.7):
        spoken = preprocess(speech(random, seconds), transcript(random, 5))
        for batch in (
            [spoken],
            [spoken, preprocess(None, "it is high"), preprocess(speech(random, 1), None)],
        ):
            inputs = preprocess.collate(batch)
            found, expected = padding.run(inputs), plain.run(inputs)
            for output, values in expected.items():
                np.testing.assert_allclose(found[output], values, atol=2e-5, rtol=1e-4)


def test_a_long_transcript_stays_within_the_positions(tone_bundle: Path) -> None:
    pytest.importorskip("openvino")
    bundle = open_bundle(tone_bundle)
    preprocess = open_preprocessor(bundle)
    spoken = preprocess(None, "it is high and low " * 2000)
    assert spoken.input_ids is not None
    assert len(spoken.input_ids) == preprocess.config.max_tokens
    _, reference = open_engine(bundle, "onnxruntime", "cpu", threads=1)
    _, engine = open_engine(bundle, "openvino", "cpu", threads=1)
    inputs = preprocess.collate([spoken])
    np.testing.assert_allclose(
        engine.run(inputs)["probabilities"], reference.run(inputs)["probabilities"], atol=1e-4
    )
