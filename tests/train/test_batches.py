"""Batches made by a thread: the same and in order, ahead of the step, and an error where it belongs."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from mtab.data import Corpus
from mtab.errors import AudioError
from mtab.preprocess import Preprocessor
from mtab_train.batches import Batch, ExampleDataset
from mtab_train.examples import Example, prepare
from mtab_train.run import open_run

INDICES = [[3, 1], [0], [5, 2, 4], [6], [8, 7]]


@pytest.fixture
def examples(tone_run: Path, tones: Corpus) -> list[Example]:
    preprocess = Preprocessor.from_folder(tone_run)
    return [*prepare(tones, tones.utterances, preprocess, open_run(tone_run).model).examples]


def test_they_are_those_that_were_asked_for_in_order(tone_run: Path, examples: list[Example]) -> None:
    dataset = ExampleDataset(examples, Preprocessor.from_folder(tone_run))
    batches = list(dataset.batches(INDICES))
    assert len(batches) == len(INDICES)
    for batch, indices in zip(batches, INDICES, strict=True):
        expected = dataset.collate([dataset[index] for index in indices])
        assert batch.keys() == expected.keys()
        for name, tensor in expected.items():
            # A tone has no ratings: NaN.
            assert torch.equal(batch[name].nan_to_num(), tensor.nan_to_num()), name


def test_the_next_are_made_while_one_is_used(
    tone_run: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, enough = [], threading.Event()
    collate = ExampleDataset.collate

    def noted(self: ExampleDataset, items: Any) -> Batch:
        made.append(threading.current_thread())
        if len(made) == 3:
            enough.set()
        return collate(self, items)

    monkeypatch.setattr(ExampleDataset, "collate", noted)
    dataset = ExampleDataset(examples, Preprocessor.from_folder(tone_run))
    batches = dataset.batches(INDICES)
    next(batches)
    assert enough.wait(60)
    assert threading.current_thread() not in made
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(made) == 3


def test_what_cannot_be_read_is_said_at_its_place(
    tone_run: Path, examples: list[Example], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    utterance = dataclasses.replace(examples[5].utterance, audio=broken)
    examples[5] = dataclasses.replace(examples[5], utterance=utterance)
    batches = ExampleDataset(examples, Preprocessor.from_folder(tone_run)).batches(INDICES)
    assert [next(batches)["labels"].tolist() for _ in range(2)] == [
        [examples[index].label for index in indices] for indices in INDICES[:2]
    ]
    with pytest.raises(AudioError, match=r"broken\.wav"):
        next(batches)
