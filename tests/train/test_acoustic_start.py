"""The light encoder's model begun from another run: its statistics are standardised by the new corpus."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
from safetensors.torch import load_file
from torch import Tensor

from mtab.data import Corpus, read_corpus, validate
from mtab_train.config import PRESETS
from mtab_train.start import Start

from .training import fit

CHANGES: dict[str, Any] = {"epochs": 1, "augment_copies": 0, "ema_decay": None}


@pytest.fixture
def quiet(make_tones: Callable[[Path], Path], tmp_path: Path) -> Corpus:
    """The tones, at a tenth of their level."""
    root = tmp_path / "quiet"
    root.mkdir()
    make_tones(root)
    for clip in root.rglob("*.wav"):
        samples, rate = soundfile.read(clip, dtype="float32")
        soundfile.write(clip, samples / 10, rate)
    return validate(read_corpus("manifest", root))


def standardised(folder: Path) -> dict[str, Tensor]:
    weights = load_file(folder / "model.safetensors")
    return {name: weight for name, weight in weights.items() if ".standardise." in name}


def test_statistics_are_those_of_the_corpus_that_is_trained_on(
    tones: Corpus, quiet: Corpus, tmp_path: Path
) -> None:
    preset = PRESETS["compact"]
    model = dataclasses.replace(preset.model, text_config=None, text_model=None, labels=tones.labels)
    start = Start(model, preset.train, "compact")
    fit(tmp_path / "loud", start, tones, **CHANGES)
    fit(tmp_path / "scratch", start, quiet, **CHANGES)
    fit(tmp_path / "on", dataclasses.replace(start, init_from=tmp_path / "loud"), quiet, **CHANGES)
    loud, scratch, on = (standardised(tmp_path / name) for name in ("loud", "scratch", "on"))
    assert not loud["head.statistics.standardise.running_mean"].allclose(
        scratch["head.statistics.standardise.running_mean"]
    )
    for name, expected in scratch.items():
        assert on[name].allclose(expected), name
