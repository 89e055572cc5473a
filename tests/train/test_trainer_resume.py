"""Training that goes on where it stopped: the same bits, with cached encodings and without."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mtab.config import to_dict
from mtab.data import Corpus, read_corpus, validate
from mtab.errors import ConfigError, DataError
from mtab_train import trainer as trainer_module
from mtab_train.checkpoint import save_state
from mtab_train.config import AcousticConfig
from mtab_train.run import METRICS, RESULTS, open_run, run_corpus
from mtab_train.start import Start
from mtab_train.trainer import Trainer, drop_modalities

from .training import begin, fit


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(first: Path, second: Path) -> bool:
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Stop(Exception):
    pass


@pytest.mark.parametrize("moment", ["in an epoch", "before the state", "after the state"])
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    tmp_path: Path, start: Start, tones: Corpus, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    start = dataclasses.replace(start, model=dataclasses.replace(start.model, modality_dropout=0.3))
    changes = {"lr_scheduler_type": "linear", "warmup_ratio": 0.2, "max_grad_norm": 1.0, "epochs": 3}
    changes |= {"ctc_weight": 0.1, "supcon_weight": 0.1}
    whole = fit(tmp_path / "whole", start, tones, **changes)

    run = begin(tmp_path / "stopped", start, tones, **changes)
    calls = 0

    def stop_at(when: int, real):
        def wrapped(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == when:
                if moment == "after the state":
                    real(*args, **kwargs)
                raise Stop
            return real(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        if moment == "in an epoch":
            patch.setattr(trainer_module, "drop_modalities", stop_at(6, drop_modalities))
        else:
            patch.setattr(trainer_module, "save_state", stop_at(2, save_state))
        with pytest.raises(Stop):
            Trainer(run, tones, "cpu").fit()
    assert not (run.folder / RESULTS).exists()

    torch.manual_seed(123)
    resumed = Trainer(open_run(run.folder), run_corpus(run), "cpu").fit()
    assert same(tmp_path / "whole" / "model.safetensors", run.folder / "model.safetensors")
    assert to_dict(resumed.test) == whole["test"]
    strip = [
        [
            {key: value for key, value in json.loads(line).items() if key not in ("seconds", "train")}
            for line in (folder / METRICS).read_text().splitlines()
        ]
        for folder in (tmp_path / "whole", run.folder)
    ]
    assert strip[0] == strip[1]


def test_the_light_encoder_with_all_that_helps_it_resumes_to_the_same_bits(
    tmp_path: Path, start: Start, tones: Corpus
) -> None:
    """Variants, mixup, the average of the weights, no choice of an epoch; with cached frames and without."""
    audio = to_dict(AcousticConfig(hidden_size=8, statistics_size=6))
    start = dataclasses.replace(start, model=dataclasses.replace(start.model, audio_config=audio))
    changes = {"augment_copies": 2, "mixup_alpha": 0.3, "ema_decay": 0.9, "label_smoothing_factor": 0.1}
    changes |= {"protocol": "fixed", "epochs": 4}
    whole = fit(tmp_path / "whole", start, tones, **changes)
    assert (whole["selection"], whole["selected_epoch"]) == (None, 4)

    run = begin(tmp_path / "stopped", start, tones, **changes)
    epochs = Trainer(run, tones, "cpu").epochs()
    for _ in range(2):
        next(epochs)
    del epochs
    resumed = Trainer(open_run(run.folder), run_corpus(run), "cpu").fit()
    assert same(tmp_path / "whole" / "model.safetensors", run.folder / "model.safetensors")
    assert to_dict(resumed.test) == whole["test"]
    apart = fit(tmp_path / "apart", start, tones, cache=False, **changes)
    assert apart["test"]["war"] == whole["test"]["war"]
    plain = fit(tmp_path / "plain", start, tones, **changes | {"ema_decay": None})
    assert not same(tmp_path / "whole" / "model.safetensors", tmp_path / "plain" / "model.safetensors")
    assert plain["parameters"] == whole["parameters"]


COMMAND = "import sys; from mtab_train.cli import main; sys.exit(main())"


def test_a_killed_process_resumes_and_ends_with_the_same_bits(
    tmp_path: Path, start: Start, tones: Corpus
) -> None:
    """SIGKILL at whatever moment it comes, once the first epoch is kept."""
    fit(tmp_path / "whole", start, tones, epochs=6)
    run = begin(tmp_path / "killed", start, tones, epochs=6)
    command = [sys.executable, "-c", COMMAND, "fit", "--resume", str(run.folder), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (run.folder / "checkpoints" / "epoch-0001").is_dir() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert same(tmp_path / "whole" / "model.safetensors", run.folder / "model.safetensors")
    assert not list(run.folder.rglob("*.partial*"))


def test_cached_encodings_change_nothing_but_the_time(
    tmp_path: Path, start: Start, tones: Corpus, cache: Path
) -> None:
    frozen = dataclasses.replace(
        start, model=dataclasses.replace(start.model, audio_training="conv-frozen", text_training="frozen")
    )
    plain = fit(tmp_path / "plain", frozen, tones, cache=False)
    assert not cache.exists()
    cached = fit(tmp_path / "cached", frozen, tones)
    files = list(cache.rglob("*.npy"))
    assert len(files) > 36  # a clip each, and some texts are the same
    again = fit(tmp_path / "again", frozen, tones)
    assert sorted(cache.rglob("*.npy")) == sorted(files)
    assert same(tmp_path / "cached" / "model.safetensors", tmp_path / "again" / "model.safetensors")
    assert again["test"] == cached["test"]
    assert cached["test"]["loss"] == pytest.approx(plain["test"]["loss"], abs=1e-3)

    all_frozen = dataclasses.replace(frozen, model=dataclasses.replace(frozen.model, audio_training="frozen"))
    fit(tmp_path / "all", all_frozen, tones)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("cached", "all")]
    name = "audio_encoder.backbone.feature_extractor.conv_layers.0.conv.weight"
    assert torch.equal(weights[0][name], weights[1][name])


def test_what_is_learned_is_not_cached(tmp_path: Path, start: Start, tones: Corpus, cache: Path) -> None:
    """A frozen encoder's sum of layers changes all the same: what is kept is from below them."""
    changes = {"audio_training": "frozen", "text_training": "frozen", "use_weighted_layer_sum": True}
    chosen = dataclasses.replace(start, model=dataclasses.replace(start.model, **changes))
    plain = fit(tmp_path / "plain", chosen, tones, cache=False, learning_rate=0.03)
    cached = fit(tmp_path / "cached", chosen, tones, learning_rate=0.03)
    files = list(cache.rglob("*.npy"))
    assert len(files) == 36  # the convolutions' output of each clip, and no text
    assert {np.load(file).shape[1] for file in files} == {16}
    assert cached["test"]["loss"] == pytest.approx(plain["test"]["loss"], abs=2e-2)
    weights = load_file(tmp_path / "cached" / "model.safetensors")
    assert sum(name.endswith("layer_weights") and bool(weights[name].any()) for name in weights) == 2


def test_a_damaged_cached_encoding_is_named(tmp_path: Path, start: Start, tones: Corpus, cache: Path) -> None:
    frozen = dataclasses.replace(start, model=dataclasses.replace(start.model, text_training="frozen"))
    trainer = Trainer(begin(tmp_path / "run", frozen, tones), tones, "cpu")
    for file in cache.rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"\.npy: is no whole cached encoding"):
        trainer.fit()


def test_a_corpus_that_changed_cannot_be_resumed(
    tmp_path: Path, start: Start, make_tones: Callable[[Path], Path]
) -> None:
    root = make_tones(tmp_path)
    corpus = validate(read_corpus("manifest", root))
    run = begin(tmp_path / "run", start, corpus)
    manifest = root / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("a tone", "one tone"))
    with pytest.raises(DataError, match="has changed since"):
        run_corpus(run)
