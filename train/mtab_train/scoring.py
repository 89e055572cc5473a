"""Answering examples, and writing down what was answered."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mtab.files import atomic_file
from mtab_train.batches import Batch, ExampleDataset
from mtab_train.examples import Example


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch, on ``device``."""
    return {name: tensor.to(device) for name, tensor in batch.items()}


def answer(
    model: nn.Module,
    dataset: ExampleDataset,
    batches: Sequence[list[int]],
    device: torch.device,
    workers: int = 0,
    answered: Callable[[], None] = lambda: None,
) -> list[tuple[int, np.ndarray]]:
    """Indices of ``dataset`` with their logits, (classes,) float32, by a `BatchModel`.

    ``answered`` is called after each batch.
    """
    model.eval()
    answers: list[tuple[int, np.ndarray]] = []
    with torch.inference_mode():
        for indices, batch in zip(batches, dataset.batches(batches, workers), strict=True):
            output, _ = model(to_device(batch, device))
            answers += zip(indices, output.logits.cpu().numpy(), strict=True)
            answered()
    return answers


def in_order(answers: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """What `answer` found, (examples, classes), in the order of the examples."""
    return np.stack([row for _, row in sorted(answers, key=lambda pair: pair[0])])


def classes(examples: Sequence[Example]) -> np.ndarray:
    """Their class indices, (examples,) int64."""
    return np.array([example.label for example in examples])


def write_predictions(
    path: Path, examples: Sequence[Example], probabilities: np.ndarray, labels: Sequence[str]
) -> None:
    """``predictions.csv``: each utterance, its label, the predicted one, and every class's probability."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("utterance", "label", "predicted", *labels))
        for example, row in zip(examples, probabilities, strict=True):
            writer.writerow(
                (example.utterance.id, labels[example.label], labels[row.argmax()], *row.tolist())
            )
