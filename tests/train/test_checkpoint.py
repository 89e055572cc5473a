"""Weights on disk: whole, checked, never a pickle."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mtab.config import to_dict
from mtab.errors import ConfigError
from mtab.files import write_json
from mtab.provenance import BeforeAfter, Calibration, CalibrationScores
from mtab_train.checkpoint import (
    TrainerState,
    load_model,
    load_state,
    load_weights,
    save_state,
    save_weights,
)
from mtab_train.run import CALIBRATION, RESULTS
from mtab_train.start import Start, untrained_run


def module(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def trained(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = module(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        model(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def test_weights_come_back(tmp_path: Path) -> None:
    save_weights(module(1), tmp_path / "w.safetensors")
    model = module(2)
    load_weights(model, tmp_path / "w.safetensors")
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), module(1).state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("0.weight"), "tensor '0.weight' is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "tensor 'extra' is unknown"),
        (lambda t: t.update({"0.bias": torch.zeros(5)}), r"tensor '0.bias' has shape \[5\], expected \[4\]"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(module(), path)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(ConfigError, match=message):
        load_weights(module(), path)


def test_a_model_has_the_temperature_of_its_run(tmp_path: Path, start: Start) -> None:
    run = untrained_run(tmp_path / "run", start, ["it is high", "it is low"])
    assert load_model(run).temperature == 1
    scores = CalibrationScores(6, BeforeAfter(0.7, 0.6), BeforeAfter(0.2, 0.1))
    write_json(run.folder / CALIBRATION, to_dict(Calibration(1.625, scores, scores)))
    (run.folder / RESULTS).touch()
    model = load_model(run)
    assert model.temperature == 1.625
    assert "temperature" not in model.state_dict()
    (run.folder / CALIBRATION).write_text("{}")
    with pytest.raises(ConfigError, match=r"calibration\.json: field 'temperature' is missing"):
        load_model(run)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("exploded"),)  # type: ignore[return-value]


@pytest.mark.parametrize("content", [b"", b"\x00" * 20, pickle.dumps(Bomb())])
def test_a_damaged_file_is_named_and_runs_nothing(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=r"w\.safetensors: is no whole safetensors file"):
        load_weights(module(), tmp_path / "w.safetensors")
    assert not Path("exploded").exists()
    with pytest.raises(ConfigError, match="not found"):
        load_weights(module(), tmp_path / "none.safetensors")


def test_an_optimizer_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    model, optimizer = trained()
    state = TrainerState(({"epoch": 1},), {"epoch": 1}, 2.5, {"last_epoch": 3}, None, (2,))
    save_state(tmp_path, 3, model, optimizer, state)
    fresh = module(9)
    again = torch.optim.AdamW(fresh.parameters(), lr=0.1)
    assert load_state(tmp_path, fresh, again) == state
    batch = torch.randn(5, 3)
    for one, stepper in ((model, optimizer), (fresh, again)):
        one(batch).square().mean().backward()
        stepper.step()
    for a, b in zip(model.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("change", [{"elsewhere/exp_avg": (3,)}, {"{}/exp_avg": (7, 7)}])
def test_moments_of_another_model_are_refused(tmp_path: Path, change: dict[str, tuple[int, ...]]) -> None:
    model, optimizer = trained()
    save_state(tmp_path, 1, model, optimizer, TrainerState())
    path = tmp_path / "checkpoints" / "epoch-0001" / "optimizer.safetensors"
    first = next(name for name, _ in model.named_parameters())
    save_file({name.format(first): torch.zeros(shape) for name, shape in change.items()}, path)
    with pytest.raises(ConfigError, match=r"optimizer\.safetensors: tensor '.*/exp_avg'.* fits no parameter"):
        load_state(tmp_path, model, optimizer)


def test_the_newest_state_counts_and_older_ones_go(tmp_path: Path) -> None:
    model, optimizer = trained()
    for epoch in (9, 10):
        save_state(tmp_path, epoch, model, optimizer, TrainerState(seconds=float(epoch)))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch-0010"]
    # What a kill leaves behind does not count.
    (tmp_path / "checkpoints" / ".epoch-0011.partial").mkdir()
    assert load_state(tmp_path, model, optimizer).seconds == 10
    with pytest.raises(ConfigError, match="holds no training state"):
        load_state(tmp_path / "elsewhere", model, optimizer)
