"""Weights and training state on disk: safetensors and JSON, never a pickle."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mtab.config import load_config, to_dict
from mtab.errors import ConfigError
from mtab.files import atomic_file, atomic_folder, write_json
from mtab_train.calibration import read_calibration
from mtab_train.model import MulTAB
from mtab_train.run import Run, open_run

AVERAGE = "average.safetensors"


def save_weights(module: nn.Module, path: Path) -> None:
    """Every parameter and persistent buffer."""
    _save(dict(module.state_dict()), path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote. Raises `ConfigError` if a tensor is missing, unknown or misshapen."""
    apply_weights(module, read_tensors(path), path)


def apply_weights(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Set every parameter and persistent buffer; ``path`` is where they came from, for the error."""
    expected = module.state_dict()
    for name in [*(expected.keys() - tensors.keys()), *(tensors.keys() - expected.keys())]:
        state = "missing" if name in expected else "unknown"
        raise ConfigError(f"{path}: tensor {name!r} is {state}, expected those of its config.json")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            found, wanted = list(tensor.shape), list(expected[name].shape)
            raise ConfigError(f"{path}: tensor {name!r} has shape {found}, expected {wanted}")
    module.load_state_dict(tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file's tensors. Raises `ConfigError` if it is missing or damaged."""
    if not path.is_file():
        raise ConfigError(f"{path}: not found, expected the weights of its run")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path}: is no whole safetensors file ({error})") from None


def load_model(run: Run | Path | str) -> MulTAB:
    """The model of a run folder, on the CPU, as at inference: calibrated, where its training has ended.

    Needs nothing but the folder.
    """
    if not isinstance(run, Run):
        run = open_run(run)
    model = MulTAB.from_config(run.model)
    load_weights(model, run.weights)
    if (calibration := read_calibration(run.folder)) is not None:
        model.temperature.fill_(calibration.temperature)
    return model.eval()


@dataclass(frozen=True, slots=True)
class TrainerState:
    """``trainer_state.json``: what a training has come to at the end of an epoch.

    ``history`` are the rows of ``metrics.jsonl``, ``best`` the row of the chosen epoch; ``scheduler`` and
    ``scaler`` are None before the first step. ``ends`` are the epochs after which it had ended, and was
    continued with a schedule of its own.
    """

    history: tuple[dict[str, Any], ...] = ()
    best: dict[str, Any] | None = None
    seconds: float = 0.0
    scheduler: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None
    ends: tuple[int, ...] = ()

    @property
    def begun_after(self) -> int:
        """The epoch after which the present schedule begins."""
        return self.ends[-1] if self.ends else 0


def save_state(
    folder: Path,
    epoch: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    state: TrainerState,
    average: AveragedModel | None = None,
) -> None:
    """Everything that the epochs after ``epoch`` depend on; older states go once this one is whole.

    Before the first step there is no ``optimizer`` yet; ``average`` are the averaged weights, if they are.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    moments = {
        f"{names[parameter]}/{key}": torch.as_tensor(value)
        for parameter, values in (optimizer.state if optimizer else {}).items()
        for key, value in values.items()
    }
    with atomic_folder(_state_folder(folder, epoch), overwrite=True) as partial:
        save_weights(model, partial / "model.safetensors")
        _save(moments, partial / "optimizer.safetensors")
        if average is not None:
            save_weights(average, partial / AVERAGE)
        write_json(partial / "trainer_state.json", to_dict(state))
    for older in _states(folder)[:-1]:
        shutil.rmtree(older)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainerState:
    """Restore the newest state into ``model`` and ``optimizer``.

    Raises `ConfigError` if there is none, or it is not of such a model.
    """
    states = _states(folder)
    if not states:
        raise ConfigError(f"{folder}: holds no training state, expected checkpoints/epoch-*")
    load_weights(model, states[-1] / "model.safetensors")
    moments = read_tensors(states[-1] / "optimizer.safetensors")
    parameters = dict(model.named_parameters())
    for name, value in moments.items():
        parameter, _, key = name.rpartition("/")
        if parameter not in parameters or (key != "step" and value.shape != parameters[parameter].shape):
            raise ConfigError(
                f"{states[-1] / 'optimizer.safetensors'}: tensor {name!r} {list(value.shape)} "
                "fits no parameter, expected the moments of this run's optimizer"
            )
        optimizer.state[parameters[parameter]][key] = value.to(
            "cpu" if key == "step" else parameters[parameter].device
        )
    return load_config(TrainerState, states[-1] / "trainer_state.json")


def load_average(folder: Path, model: nn.Module, decay: float | None) -> AveragedModel | None:
    """The moving average of ``model``, buffers included, from the newest state if it has one.

    None without a ``decay``. Raises `ConfigError` if what is there is not of such a model.
    """
    if decay is None:
        return None
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    states = _states(folder)
    if states and (path := states[-1] / AVERAGE).is_file():
        load_weights(average, path)
    return average


def _state_folder(folder: Path, epoch: int) -> Path:
    return folder / "checkpoints" / f"epoch-{epoch:04}"


def _states(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("epoch-[0-9]*"))


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    # Written by us: safetensors' own file could be read by its owner alone.
    with atomic_file(path) as partial:
        plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        partial.write_bytes(save(plain))
