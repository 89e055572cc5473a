"""`mtab-bench training`: the same training each way, and figures that are what they say."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mtab.data import Corpus
from mtab_bench.cli import main
from mtab_bench.sections.training import measure_training, recipes
from mtab_train.config import PRESETS, Preset
from mtab_train.start import Start


@pytest.fixture(autouse=True)
def nano_preset(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(PRESETS, "tiny", Preset(start.model, start.train))
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))


def test_four_recipes_of_the_same_epochs(tones: Corpus, tmp_path: Path) -> None:
    section = measure_training(tones, "tiny", batch_size=8, epochs=2)
    measured = section.recipes[:4]
    two, plain, bucketed, cached = measured
    assert section.protocol.utterances > 0
    for each in measured:
        assert len(each.seconds) == len(each.losses) == len(each.validation_losses) == 2
        assert (each.speedup is None) == (each is two)
        if each.speedup is not None:
            ratios = [one / other for one, other in zip(two.seconds, each.seconds, strict=True)]
            assert (each.speedup.low, each.speedup.high) == (min(ratios), max(ratios))
    assert all(min(each.seconds) > 0 for each in measured)
    assert all(each.waiting is not None and 0 <= each.waiting < 1 for each in measured)
    assert 1 <= bucketed.padding < plain.padding
    assert two.padding < plain.padding
    # Batches are the same with the cache, and so is the training.
    assert cached.losses == pytest.approx(bucketed.losses, abs=1e-3)
    assert cached.validation_losses == pytest.approx(bucketed.validation_losses, abs=1e-3)
    assert list((tmp_path / "cache").rglob("*.npy"))


def test_bf16_comes_last_where_there_is_bf16() -> None:
    assert [each.mixed_precision for each in recipes(16, bf16=True)] == ["no"] * 4 + ["bf16"]
    assert recipes(16, bf16=False) == recipes(16, bf16=True)[:-1]


def test_the_command(tones: Corpus) -> None:
    arguments = ["training", "--dataset", "manifest", "--data-dir", str(tones.root), "--epochs", "1"]
    done = CliRunner().invoke(main, [*arguments, "--json", "--utterances", "30"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert report["recipes"][0]["name"] == "batches of 2, as they come"
    assert {"cpu", "instruction_sets"} <= report["machine"].keys()
    table = CliRunner().invoke(main, arguments)
    assert "bucketed, frozen layers cached" in table.output
    assert "1.00" in table.output
