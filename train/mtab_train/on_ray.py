"""The folds of a cross-validation as tasks of a Ray cluster."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from mtab.progress import Progress, say
from mtab.ray import cause_of, connected
from mtab_train.run import Run, open_run, run_corpus


def train_folds(
    address: str, run: Run, folds: Sequence[str], machine: Mapping[str, Any], shown: Progress
) -> None:
    """Train on each of the ``folds`` as a task of its own, as many at once as there is room for.

    Each that is done is counted in ``shown``.
    A task has as many CPUs as torch has threads here, and a GPU where ``machine`` asks for one. A fold goes
    on from what its folder has. Raises `MtabError` for a cluster that is not there, and for the first fold
    that fails.
    """
    if not folds:
        return
    with connected(address):
        task = ray.remote(_train).options(
            num_cpus=torch.get_num_threads(), num_gpus=1 if machine["device"] == "cuda" else 0
        )
        threads = torch.get_num_threads()
        names = {task.remote(run.folder.absolute(), name, threads, machine): name for name in folds}
        left = list(names)
        while left:
            done, left = ray.wait(left)
            for each in done:
                try:
                    ray.get(each)
                except RayError as error:
                    raise cause_of(error) from None
                say(f"{run.config.title}, fold {names[each]}: done")
                shown.update()


def _train(folder: Path, fold: str, threads: int, machine: Mapping[str, Any]) -> None:
    from mtab_train.cross_validation import train_fold

    torch.set_num_threads(threads)
    run = open_run(folder)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        train_fold(run, run_corpus(run), fold, **machine)
