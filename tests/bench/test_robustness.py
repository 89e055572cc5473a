"""The command on a model of tones: clean first, worse with noise, the same for the same seed."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mtab.data import Corpus
from mtab.loading import load
from mtab_bench.cli import main
from mtab_bench.sections.robustness import Robustness, measure_robustness
from mtab_bench.test_set import LoadedTestSet, read_test_set


@pytest.fixture(scope="module")
def test_set(tone_bundle, tones: Corpus) -> LoadedTestSet:
    model = load(tone_bundle, "cpu")
    return read_test_set(model.bundle, model.preprocess, "manifest", tones.root, split="all")


@pytest.fixture(scope="module")
def found(tone_bundle, test_set: LoadedTestSet) -> Robustness:
    return measure_robustness(load(tone_bundle, "cpu"), test_set, seed=3)


def test_clean_is_first_and_is_what_the_model_says(
    found: Robustness, test_set: LoadedTestSet, tone_bundle
) -> None:
    model = load(tone_bundle, "cpu")
    answered = [model.answer([features])[0].label for features in test_set.features]
    right = [label == each.label for label, each in zip(answered, test_set.utterances, strict=True)]
    clean = found.conditions[0]
    assert (clean.condition, clean.war) == ("clean", np.mean(right))
    assert (clean.war_difference.value, clean.war_difference.low, clean.war_difference.high) == (0, 0, 0)
    assert found.utterances == 36
    assert found.overlap == 24


def test_a_difference_is_paired_and_lies_in_its_interval(found: Robustness) -> None:
    clean = found.conditions[0]
    assert len(found.conditions) == 23
    for each in found.conditions:
        moved = each.war_difference
        assert moved.value == pytest.approx(each.war - clean.war)
        assert moved.low <= moved.value <= moved.high
    # Where the noise is as loud as a tone of 150 Hz, it is the noise that is heard.
    worst = min(found.conditions, key=lambda each: each.war)
    assert worst.war < clean.war
    assert worst.war_difference.low < worst.war_difference.value < worst.war_difference.high


def test_the_seed_makes_it(found: Robustness, test_set: LoadedTestSet, tone_bundle) -> None:
    assert measure_robustness(load(tone_bundle, "cpu"), test_set, seed=3) == found


def test_as_it_is_typed(tone_bundle, tones: Corpus) -> None:
    arguments = ["robustness", tone_bundle, "--dataset", "manifest", "--data-dir", tones.root]
    done = CliRunner().invoke(main, list(map(str, [*arguments, "--device", "cpu"])))
    assert done.exit_code == 0, done.output
    assert "babble, 0 dB" in done.output
    assert "the training's test part: 6 utterances; onnxruntime fp32; seed 0" in done.output
    refused = CliRunner().invoke(main, list(map(str, [*arguments, "--split", "all", "--fold", "speaker-1"])))
    assert refused.exit_code == 2
    assert "--split and --fold: each names a part" in refused.output
    listed = CliRunner().invoke(main, list(map(str, [*arguments, "--json"])))
    assert json.loads(listed.stdout)["conditions"][0]["condition"] == "clean"
