"""Answering examples, and writing down what was answered."""

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from mtab.files import atomic_file
from mtab_train.batches import Batch, ExampleDataset
from mtab_train.calibration import negative_log_likelihood
from mtab_train.examples import Example, ratings
from mtab_train.metrics import concordances, scores
from mtab_train.micro_batches import MicroBatches


class Answers(NamedTuple):
    """Logits (examples, classes) and dimensions (examples, dimensions), float32; of one example its rows."""

    logits: np.ndarray
    dimensions: np.ndarray


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch, on ``device``."""
    return {name: tensor.to(device) for name, tensor in batch.items()}


def answer(
    model: nn.Module,
    dataset: ExampleDataset,
    batches: Sequence[list[int]],
    micro_batches: MicroBatches,
    workers: int = 0,
    answered: Callable[[], None] = lambda: None,
) -> list[tuple[int, Answers]]:
    """Indices of ``dataset`` with their answers by a `BatchModel`, on the device of ``micro_batches``.

    ``answered`` is called after each batch. Raises `MtabError` if there is no memory for one utterance.
    """
    model.eval()
    answers: list[tuple[int, Answers]] = []
    with torch.inference_mode():
        for indices, batch in zip(batches, dataset.batches(batches, workers), strict=True):
            rows = partial(_answer, model, batch, micro_batches)
            found = micro_batches.fit(rows, [[dataset.examples[index] for index in indices]])
            answers += zip(indices, found, strict=True)
            answered()
    return answers


def _answer(model: nn.Module, batch: Batch, micro_batches: MicroBatches) -> list[Answers]:
    answers: list[Answers] = []
    for part in micro_batches.parts(batch):
        output = model(to_device(part, micro_batches.device)).output
        logits = output.logits.cpu().numpy()
        dimensions = np.empty((len(logits), 0), np.float32)
        if output.dimensions is not None:
            dimensions = output.dimensions.cpu().numpy()
        answers += map(Answers, logits, dimensions)
    return answers


def in_order(answers: Sequence[tuple[int, Answers]]) -> Answers:
    """What `answer` found, in the order of the examples."""
    rows = [each for _, each in sorted(answers, key=lambda pair: pair[0])]
    return Answers(*map(np.stack, zip(*rows, strict=True)))


def classes(examples: Sequence[Example]) -> np.ndarray:
    """Their class indices, (examples,) int64."""
    return np.array([example.label for example in examples])


def answer_scores(
    answers: Answers, examples: Sequence[Example], labels: Sequence[str], dimensions: Sequence[str]
) -> dict[str, Any]:
    """`scores` of the answers, with ``loss``, in nats, and ``ccc`` by dimension where there are some."""
    true = classes(examples)
    found = scores(true.tolist(), answers.logits.argmax(axis=1).tolist(), labels)
    found["loss"] = negative_log_likelihood(answers.logits, true)
    if dimensions:
        rated = ratings([example.utterance for example in examples], dimensions)
        found["ccc"] = concordances(answers.dimensions, rated, dimensions)
    return found


def write_predictions(
    path: Path,
    examples: Sequence[Example],
    probabilities: np.ndarray,
    labels: Sequence[str],
    predicted: np.ndarray,
    dimensions: Sequence[str] = (),
) -> None:
    """``predictions.csv``: each utterance, its label, the predicted one, and every class's probability.

    Then, for each of ``dimensions``, its rating and what is ``predicted`` (examples, dimensions).
    """
    rated = ratings([example.utterance for example in examples], dimensions)
    header = [column for name in dimensions for column in (name, f"predicted {name}")]
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("utterance", "label", "predicted", *labels, *header))
        for example, row, *pair in zip(examples, probabilities, rated, predicted, strict=True):
            values = np.stack(pair, axis=1).ravel().tolist()
            writer.writerow(
                (
                    *(example.utterance.id, labels[example.label], labels[row.argmax()], *row.tolist()),
                    *("" if np.isnan(value) else value for value in values),
                )
            )
