"""Batches in parts, on a device that has no memory for them whole."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from mtab.audio import SAMPLE_RATE
from mtab.errors import MtabError
from mtab.progress import say
from mtab_train.batches import Batch
from mtab_train.examples import Example

T = TypeVar("T")


class MicroBatches:
    """Batches whole until the device runs out of memory, from then on in parts of half as many utterances.

    They are halved again as often as it takes, down to one utterance, and each time a line says so. ``run``
    is the folder that an error names. In ``training`` the parts' losses count by `loss_share`, so that their
    gradients add up to the whole batch's; what looks at a batch as a whole (batch norm, mixup, CCC, the
    contrastive loss) looks at a part. Of several ``processes`` that train together none can do so alone.
    """

    def __init__(self, run: Path, device: torch.device, training: bool = False, processes: int = 1) -> None:
        self.run, self.device, self.training, self.processes = run, device, training, processes
        self.size: int | None = None

    def parts(self, batch: Batch) -> list[Batch]:
        """The batch in parts, in their order; it itself as long as there was memory for all."""
        rows = [tensor.split(self.size or len(tensor)) for tensor in batch.values()]
        return [dict(zip(batch, part, strict=True)) for part in zip(*rows, strict=True)]

    def fit(self, work: Callable[[], T], batches: Sequence[Sequence[Example]]) -> T:
        """What ``work`` makes of the `parts` of ``batches``; where memory runs out it begins anew.

        Raises `MtabError` if there is none for one utterance, or others train along.
        """
        while True:
            try:
                return work()
            except torch.OutOfMemoryError:
                pass
            # Not before the handler is left: its traceback holds on to what had been computed.
            self._halve(batches)

    def _halve(self, batches: Sequence[Sequence[Example]]) -> None:
        whole = max(map(len, batches))
        taken = min(self.size or whole, whole)
        if taken == 1:
            # As long as its batch was padded to.
            longest = max(chain.from_iterable(batches), key=lambda each: (each.samples, each.tokens))
            raise no_memory(longest, self.device, self.training, f"{self.run}: ")
        half = -(-taken // 2)
        if self.processes > 1:
            raise MtabError(
                f"{self.run}: {self.device} ran out of memory on {taken} utterances at once, and of "
                f"{self.processes} processes none can halve its batches alone, expected --batch-size {half} "
                "or less, with more --gradient-accumulation-steps"
            )
        self.size = half
        torch.cuda.empty_cache()
        how = "whose gradients add up" if self.training else "in answering"
        say(
            f"{self.device} ran out of memory on {taken} utterances at once: from here on a batch of "
            f"{whole} is {-(-whole // half)} x {half}, {how}"
        )


def loss_share(part: Batch, batch: Batch, weights: Tensor | None) -> Tensor | float:
    """What a part's mean loss counts in its batch's: its share of the utterances, by their class's weight.

    ``weights`` are (classes,), None for 1 each.
    """
    if weights is None:
        return len(part["labels"]) / len(batch["labels"])
    return weights[part["labels"]].sum() / weights[batch["labels"]].sum()


def no_memory(example: Example, device: torch.device, training: bool, where: str = "") -> MtabError:
    """The error that an utterance alone is too long for the device."""
    length = f"{example.samples / SAMPLE_RATE:.1f} s" if example.samples else f"{example.tokens} tokens"
    hint = "--max-seconds, --gradient-checkpointing or --mixed-precision" if training else "--device"
    return MtabError(
        f"{where}{device} ran out of memory on utterance {example.utterance.id} alone ({length}), expected a "
        f"shorter one; see {hint}"
    )
