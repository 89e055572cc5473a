"""A device that runs out of memory: smaller parts, the same step; what is too long for it is said.

There is no GPU here. A hook on the real model raises what torch raises, above a number of utterances.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from mtab.data import Corpus
from mtab.errors import MtabError
from mtab_train.checkpoint import load_model
from mtab_train.evaluation import evaluate_run
from mtab_train.micro_batches import MicroBatches, loss_share
from mtab_train.model import MulTAB
from mtab_train.run import Run, open_run
from mtab_train.start import Start
from mtab_train.trainer import Trainer

from .small_models import CONFIG, TEXT
from .training import begin, fit


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def plain(start: Start) -> Start:
    """Nothing drawn and nothing that looks at a batch as a whole: no dropout, no TAB with its batch norm."""
    model = dataclasses.replace(
        CONFIG, labels=start.model.labels, num_tab_layers=0, text_config=TEXT | {"vocab_size": 300}
    )
    return dataclasses.replace(start, model=model)


class Memory:
    """Room for so many utterances in training and in answering; ``asked`` is what was tried."""

    def __init__(self, training: int = 99, answering: int = 99) -> None:
        self.room = {True: training, False: answering}
        self.asked: list[int] = []

    def __call__(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.asked.append(len(inputs[0]))
        if len(inputs[0]) > self.room[model.training]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Leaking(torch.autograd.Function):
    """Runs out of memory on the way back, when later layers have their gradients already."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, room: int) -> torch.Tensor:
        ctx.room = room
        return states.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        if len(gradients[0]) > ctx.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return gradients[0], None


def first_step(folder: Path, start: Start, corpus: Corpus, hook: Any = None, **changes: Any) -> dict:
    """Every parameter's gradient in the first step of an epoch."""
    trainer = Trainer(begin(folder, start, corpus, epochs=1, **changes), corpus, "cpu")
    if hook is not None:
        hook(trainer)
    found: dict[str, torch.Tensor] = {}

    def keep(*_: Any) -> None:
        for name, parameter in trainer.model.named_parameters():
            if name not in found and parameter.grad is not None:
                found[name] = parameter.grad.clone()

    trainer.optimizer.register_step_pre_hook(keep)
    next(trainer.epochs())
    return found


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 1e-2
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4, msg=lambda m, n=name: n + m)


def unbalanced(corpus: Corpus) -> Corpus:
    """Fewer of one class than of the other."""
    kept = [each for i, each in enumerate(corpus.utterances) if each.label == "high" or i % 3 == 0]
    return dataclasses.replace(corpus, utterances=tuple(kept))


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 7},
        {"batch_size": 7, "class_weights": "balanced", "label_smoothing_factor": 0.1},
        {"batch_size": 4, "gradient_accumulation_steps": 2, "class_weights": "balanced"},
    ],
    ids=["mean", "weighted mean", "accumulated already"],
)
@pytest.mark.parametrize("room", [1, 2, 3])
def test_the_gradients_of_the_parts_are_those_of_the_whole(
    tmp_path: Path, plain: Start, tones: Corpus, changes: dict[str, Any], room: int
) -> None:
    corpus, memory = unbalanced(tones), Memory(room)
    expected = first_step(tmp_path / "whole", plain, corpus, **changes)
    found = first_step(
        tmp_path / "parts",
        plain,
        corpus,
        lambda trainer: trainer.model.head.register_forward_pre_hook(memory),
        **changes,
    )
    same(found, expected)
    assert memory.asked[0] == changes["batch_size"]


def test_what_an_attempt_left_on_its_way_back_is_dropped(tmp_path: Path, plain: Start, tones: Corpus) -> None:
    def leak(trainer: Trainer) -> None:
        assert trainer.model.text_encoder is not None
        trainer.model.text_encoder.register_forward_hook(lambda _, __, states: Leaking.apply(states, 3))

    changes: dict[str, Any] = {"batch_size": 4, "gradient_accumulation_steps": 2}
    same(
        first_step(tmp_path / "parts", plain, tones, leak, **changes),
        first_step(tmp_path / "whole", plain, tones, **changes),
    )


def test_parts_of_a_weighted_mean_are_those_of_scikit_learn() -> None:
    random = torch.Generator().manual_seed(0)
    logits, weights = torch.randn(7, 3, generator=random).double(), torch.tensor([0.5, 1.0, 3.0]).double()
    batch = {"labels": torch.tensor([0, 2, 1, 0, 0, 2, 1]), "logits": logits}
    micro_batches = MicroBatches(Path("run"), torch.device("cpu"))
    micro_batches.size = 3
    parts = micro_batches.parts(batch)
    assert [part["labels"].tolist() for part in parts] == [[0, 2, 1], [0, 0, 2], [1]]
    mean = nn.CrossEntropyLoss(weights)
    found = sum(loss_share(part, batch, weights) * mean(part["logits"], part["labels"]) for part in parts)
    labels = batch["labels"].numpy()
    expected = log_loss(labels, logits.softmax(dim=1).numpy(), sample_weight=weights.numpy()[labels])
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert [loss_share(part, batch, None) for part in parts] == [3 / 7, 3 / 7, 1 / 7]


def test_it_is_said_once_and_kept_for_the_rest_of_the_run(
    tmp_path: Path, start: Start, tones: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(begin(tmp_path / "run", start, tones, epochs=8), tones, "cpu")
    memory = Memory(training=2, answering=5)
    trainer.model.head.register_forward_pre_hook(memory)
    results = trainer.fit()
    assert results.test.war > 0.8
    said = [line for line in capsys.readouterr().out.splitlines() if "memory" in line]
    assert said == [
        "cpu ran out of memory on 8 utterances at once: from here on a batch of 8 is 2 x 4, whose gradients "
        "add up",
        "cpu ran out of memory on 4 utterances at once: from here on a batch of 8 is 4 x 2, whose gradients "
        "add up",
        "cpu ran out of memory on 6 utterances at once: from here on a batch of 6 is 2 x 3, in answering",
    ]
    assert memory.asked.count(8) == memory.asked.count(4) == memory.asked.count(6) == 1


def test_an_utterance_alone_that_does_not_fit(tmp_path: Path, start: Start, tones: Corpus) -> None:
    trainer = Trainer(begin(tmp_path / "run", start, tones), tones, "cpu")
    trainer.model.head.register_forward_pre_hook(Memory(0))
    longest = max(trainer.train, key=lambda example: example.samples)
    with pytest.raises(MtabError) as raised:
        trainer.fit()
    found = re.fullmatch(
        rf"{tmp_path}/run: cpu ran out of memory on utterance (.+) alone \((.+) s\), expected a shorter one; "
        "see --max-seconds, --gradient-checkpointing or --mixed-precision",
        str(raised.value),
    )
    assert found is not None
    assert found[1] in {example.utterance.id for example in trainer.train}
    assert float(found[2]) <= round(longest.samples / 16_000, 1)


def test_several_processes_are_not_halved_apart(tmp_path: Path, start: Start, tones: Corpus) -> None:
    trainer = Trainer(begin(tmp_path / "run", start, tones), tones, "cpu")
    trainer.model.head.register_forward_pre_hook(Memory(5))
    trainer.training.processes = 2
    with pytest.raises(
        MtabError, match=r"run: cpu .* on 8 utterances .* of 2 processes .* --batch-size 4 or"
    ):
        trainer.fit()


def test_other_data_is_answered_in_parts_too(
    tmp_path: Path, start: Start, tones: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path / "run", start, tones, epochs=1)
    run = open_run(tmp_path / "run")
    whole = evaluate_run(run, device="cpu")
    memory, load = Memory(answering=2), load_model

    def smaller(opened: Run) -> MulTAB:
        model = load(opened)
        model.head.register_forward_pre_hook(memory)
        return model

    monkeypatch.setattr("mtab_train.evaluation.load_model", smaller)
    parts = evaluate_run(run, device="cpu")
    assert memory.asked == [6, 3, 2, 2, 2]
    np.testing.assert_allclose(parts.probabilities, whole.probabilities, atol=1e-5)
    memory.room[False] = 0
    with pytest.raises(MtabError, match=r"run: cpu ran out of memory on utterance .* alone .* see --device$"):
        evaluate_run(run, device="cpu")
