"""Whether answers depend on the batch: ways to batch, controls that move, the command on a real bundle."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.bundle import open_bundle
from mtab.config import from_dict
from mtab.data import Corpus
from mtab.graphs import BUDGETS, Budget
from mtab.preprocess import Features, Preprocessor
from mtab_bench.commands.invariance import invariance_command
from mtab_bench.sections.invariance import (
    ORDERS,
    PADDING,
    RANDOM,
    Invariance,
    batches_of,
    beyond_budget,
    longest_companion,
    movement,
    synthetic,
)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(2, 9), st.integers(0, 99))
def test_every_utterance_is_in_one_batch_of_each_way(count: int, size: int, seed: int) -> None:
    ways = batches_of(count, size, seed)
    for batches in ways.values():
        assert sorted(i for batch in batches for i in batch) == list(range(count))
    assert [sorted(batch) for batch in ways[ORDERS]] == [sorted(batch) for batch in ways[RANDOM]]
    assert max(map(len, ways[RANDOM])) <= size
    assert max(map(len, ways[PADDING])) <= size - 1
    assert ways == batches_of(count, size, seed)


def test_the_companion_is_longer_than_all() -> None:
    short = Features(np.ones(100, np.float32), np.arange(30), 0.1, False)
    long = Features(np.ones(300, np.float32), np.arange(5), 0.3, False)
    found = longest_companion([short, long], 50)
    assert found.input_values is not None
    assert found.input_ids is not None
    assert (len(found.input_values), len(found.input_ids)) == (600, 50)
    text = Features(None, np.arange(5), None, False)
    assert longest_companion([text], 50).modalities == ("text",)


def sounds(count: int) -> list[Features]:
    random = np.random.default_rng(1)
    waves = [random.normal(size=random.integers(400, 4000)).astype(np.float32) for _ in range(count)]
    return [Features(wave, None, len(wave) / 16_000, False) for wave in waves]


@pytest.mark.parametrize(
    ("moves", "depends"),
    [
        ((), lambda batch, i: 0.0),
        ((PADDING, RANDOM, ORDERS), lambda batch, i: 1e-5 * max(len(f.input_values) for f in batch)),
        ((ORDERS, RANDOM, PADDING), lambda batch, i: 0.01 * i),
    ],
)
def test_what_depends_on_the_batch_is_found(
    moves: Sequence[str], depends: Callable[[Sequence[Features], int], float], tone_bundle: Path
) -> None:
    def answer(batch: Sequence[Features]) -> np.ndarray:
        rows = [(0.6 + depends(batch, i), 0.4 - depends(batch, i)) for i in range(len(batch))]
        return np.array(rows)

    found = movement(answer, sounds(11), 4, 0, Preprocessor.from_folder(tone_bundle), "")
    assert {company for company, moved in found.differences.items() if moved > 1e-9} == set(moves)
    assert found.max_difference == max(found.differences.values())


def test_a_label_that_flips_is_counted_once(tone_bundle: Path) -> None:
    features = sounds(10)
    flips = features[3].input_values

    def answer(batch: Sequence[Features]) -> np.ndarray:
        flipped = [len(batch) > 1 and each.input_values is flips for each in batch]
        return np.array([(0.2, 0.8) if each else (0.8, 0.2) for each in flipped])

    found = movement(answer, features, 4, 0, Preprocessor.from_folder(tone_bundle), "")
    assert found.labels_changed == 1
    assert found.differences == pytest.approx(dict.fromkeys((RANDOM, ORDERS, PADDING), 0.6))


def test_synthetic_inputs_are_the_seeds(tone_bundle: Path) -> None:
    preprocess = Preprocessor.from_folder(tone_bundle)
    supported = open_bundle(tone_bundle).config.supported_modalities
    one, same, other = (synthetic(preprocess, supported, 5, seed) for seed in (1, 1, 2))
    for a, b, c in zip(one, same, other, strict=True):
        assert np.array_equal(a.input_values, b.input_values)
        assert np.array_equal(a.input_ids, b.input_ids)
        assert not np.array_equal(a.input_values, c.input_values)


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(invariance_command, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def section(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())["invariance"]


def test_command_on_a_corpus(tone_bundle: Path, tones: Corpus, tmp_path: Path) -> None:
    code, output = run(
        "--bundle", tone_bundle, "--dataset", "manifest", "--data-dir", tones.root, "--out", tmp_path,
        "--batch-size", 3, "--threads", 1,
    )  # fmt: skip
    assert code == 0, output
    found = section(tmp_path)
    for key in ("pytorch", "onnxruntime-fp32", "openvino-fp32"):
        backend = found["backends"][key]
        assert 0 < backend["movement"]["max_difference"] < backend["budget"] == BUDGETS["fp32"].max_difference
        assert backend["movement"]["labels_changed"] == 0
    # The control: the same measure finds what is known of the published forward pass.
    assert found["published"]["movement"]["max_difference"] > (
        100 * found["backends"]["pytorch"]["movement"]["max_difference"]
    )
    assert all(change > 1e-3 for change in found["published"]["hidden_states"].values())
    assert (found["protocol"]["utterances"], found["protocol"]["fold"]) == (6, "speaker-0")


def test_command_on_synthetic_inputs(
    tone_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--bundle", tone_bundle, "--utterances", 4, "--threads", 1)
    code, output = run(*options, "--out", tmp_path / "within")
    assert code == 0, output
    assert "synthetic inputs" in output
    assert section(tmp_path / "within")["protocol"]["dataset"] is None
    # A budget that no float32 arithmetic can keep: the report is written, and the exit code tells.
    monkeypatch.setitem(BUDGETS, "fp32", Budget(1e-12, 1.0))
    monkeypatch.setattr("mtab_bench.sections.invariance.budget_of", lambda *_: Budget(1e-12, 1.0))
    code, output = run(*options, "--out", tmp_path / "beyond")
    assert code == 1
    assert "expected at most 1e-12" in output
    found = from_dict(Invariance, section(tmp_path / "beyond"), "x")
    # Which backends there are depends on the processor, and an engine may keep answers to the last bit.
    moved = {each.title: each.movement.max_difference for each in found.backends.values() if each.movement}
    assert {"PyTorch", "ONNX Runtime fp32", "OpenVINO fp32"} <= moved.keys()
    beyond = [title for title, largest in moved.items() if largest > 1e-12]
    assert beyond
    assert [line.partition(" moves")[0] for line in beyond_budget(found)] == beyond
