"""What to export, and what it is judged by."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mtab.errors import ConfigError
from mtab.graphs import BUDGETS, Budget
from mtab.types import Precision

DEFAULT_OPSET = 18
BF16_OPSET = 22
"""The first in which ONNX allows a convolution of bfloat16."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to export, and what it is judged by.

    ``opset`` None: 18, or what a precision needs. ``budgets`` replace those of `mtab.graphs.BUDGETS`;
    ``fp32_nodes`` are patterns of node names that lower precisions leave in float32, and ``auto_islands``
    finds more of them for a graph that is over budget. ``reduce_range`` None: as this processor needs it.
    ``unfinished`` takes a run whose training has not ended, as it is.
    """

    parts: str = "fused"
    precisions: tuple[Precision, ...] = ("fp32",)
    opset: int | None = None
    budgets: Mapping[Precision, Budget] = field(default_factory=dict)
    utterances: int = 200
    batch_size: int = 8
    device: str = "cpu"
    fp32_nodes: tuple[str, ...] = ()
    auto_islands: bool = False
    reduce_range: bool | None = None
    unfinished: bool = False

    def budget(self, precision: Precision) -> Budget:
        """What a graph of ``precision`` may cost."""
        return self.budgets.get(precision, BUDGETS[precision])

    def opset_of(self, precision: Precision) -> int:
        """The opset of a graph of ``precision``. Raises `ConfigError` if that chosen does not do."""
        if precision == "bf16" and self.opset not in (None, BF16_OPSET):
            raise ConfigError(f"opset {self.opset}: has no convolution of bf16, expected {BF16_OPSET}")
        return self.opset or (BF16_OPSET if precision == "bf16" else DEFAULT_OPSET)
