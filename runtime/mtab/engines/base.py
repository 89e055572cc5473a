"""What every engine is, and what they share: devices, threads, signatures, errors in one line."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.engines.forking import watch
from mtab.engines.grid import Grid
from mtab.errors import EngineError
from mtab.graphs import GraphSpec
from mtab.memory import MemoryNeed, MemoryRoom
from mtab.types import Precision

_DEVICE = re.compile(r"([a-z]+)(?::([0-9]+))?")


class Tensor(NamedTuple):
    """An input or output as an engine knows it: a numpy dtype; for each axis its size, its name, or None.

    None stands for an axis of any size that the engine keeps no name of.
    """

    name: str
    dtype: str
    axes: tuple[int | str | None, ...]


class Engine(ABC):
    """One graph on one device, in one precision. Safe to `run` from many threads at once.

    ``name`` is one of `mtab.engines.ENGINES`, and ``title`` what people call it; ``path`` is the file that it
    was made from. ``device`` is the one that was asked for, and ``precision`` what the engine computes in.
    ``inputs`` and ``outputs`` are the names of the graph's; ``memory`` is what it needs on a CPU, where
    that is known. Its threads are meant to be shared by as many calls of `run` at once as it has ``streams``.
    """

    title: ClassVar[str]
    pays_for_new_lengths: ClassVar[bool] = False
    """Whether an input of a new shape takes longer than one seen before."""

    def __init__(
        self,
        name: str,
        path: Path,
        device: str,
        precision: Precision,
        inputs: Iterable[Tensor],
        outputs: Iterable[Tensor],
    ) -> None:
        self.name = name
        self.path = path
        self.device = device
        self.precision: Precision = precision
        self.memory: MemoryNeed | None = None
        self.streams = 1
        self._room = MemoryRoom()
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._grid: Grid | None = None
        self.inputs = tuple(tensor.name for tensor in self._inputs)
        self.outputs = tuple(tensor.name for tensor in self._outputs)
        self._process = os.getpid()
        watch(self)

    def require(self, spec: GraphSpec) -> None:
        """Raise `EngineError` unless the graph has the inputs and outputs of ``spec``, in its order.

        From then on its axes have the names that ``spec`` gives them, also where the engine knew none.
        """
        for side, tensors, found in (
            ("takes", spec.inputs, self._inputs),
            ("answers", spec.outputs, self._outputs),
        ):
            expected = [Tensor(each.name, each.dtype, each.axes) for each in tensors]
            if len(found) != len(expected) or not all(map(_fits, found, expected)):
                raise EngineError(f"{self.path}: {side} {_listed(found)}, expected {_listed(expected)}")
        self._inputs = tuple(Tensor(each.name, each.dtype, each.axes) for each in spec.inputs)

    def use_grid(self, grid: Grid) -> None:
        """From now on round lengths up to the sizes of ``grid``, if this engine pays for new ones.

        For a graph whose outputs have none of the axes that are rounded.
        """
        if self.pays_for_new_lengths:
            self._grid = grid

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The graph's outputs by name; ``inputs`` may hold more than it takes.

        Raises `EngineError` for an input of another dtype or shape, in a process that was forked since, and
        if the device fails, as it does out of memory, or does not answer every row; `MemoryLimitError`,
        before it computes, where ``memory`` is more than there is. One that would fit but for other calls
        waits for these.
        """
        if self._process != os.getpid():
            raise EngineError(f"{self.path}: opened before this process was forked, expected after that")
        feed = {name: inputs[name] for name in self.inputs}
        self._check(feed)
        try:
            with self._room_for(feed):
                answers = self._compute(self._on_grid(feed))
        except EngineError:
            raise
        except Exception as error:  # the engines' exceptions have no common base
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
            raise EngineError(
                f"{self.path}: {self.title} fails on {self.device} with {shapes} ({one_line(error)})"
            ) from None
        rows = len(next(iter(feed.values())))
        if found := [len(answer) for answer in answers if len(answer) != rows]:
            # So does OpenVINO where ONEDNN_MAX_CPU_ISA leaves it less than AVX.
            raise EngineError(
                f"{self.path}: {self.title} on {self.device} answers {found[0]} of {rows} utterances, "
                "expected all"
            )
        return dict(zip(self.outputs, answers, strict=True))

    def _check(self, feed: Mapping[str, np.ndarray]) -> None:
        """Refuse what the graph does not take; some engines answer it with whatever is in memory."""
        sizes: dict[int | str | None, int] = {}
        for name, dtype, axes in self._inputs:
            found = Tensor(name, feed[name].dtype.name, feed[name].shape)
            # An axis has the size that an input before gave to its name.
            expected = Tensor(name, dtype, tuple(sizes.get(a, a) if isinstance(a, str) else a for a in axes))
            fits = (found.dtype, len(found.axes)) == (dtype, len(axes)) and all(
                size == axis or (size != 0 and not isinstance(axis, int))
                for size, axis in zip(feed[name].shape, expected.axes, strict=True)
            )
            if not fits:
                raise EngineError(f"{self.path}: {_listed([found])}, expected {_listed([expected])}")
            sizes |= dict(zip(axes, feed[name].shape, strict=True))

    def _room_for(self, feed: Mapping[str, np.ndarray]) -> AbstractContextManager[None]:
        """What the batch takes of memory, for as long as it is computed."""
        if self.memory is None or self.device != "cpu" or "input_values" not in feed:
            return nullcontext()
        utterances, samples = feed["input_values"].shape
        return self._room.taken(self.memory, utterances, samples / SAMPLE_RATE)

    def _on_grid(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self._grid is None:
            return feed
        return {each.name: self._grid.pad(feed[each.name], each.axes) for each in self._inputs}

    @abstractmethod
    def _compute(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """The outputs in their order, as arrays that nothing else writes to."""


def parse_device(device: str, kinds: Sequence[str], engine: str) -> tuple[str, int]:
    """The kind of a device and its number: ``cuda:1`` is ("cuda", 1); without a number it is 0.

    ``kinds`` are those of an ``engine``. Raises `EngineError` for all else; there is one ``cpu`` alone.
    """
    match = _DEVICE.fullmatch(device)
    kind, number = match.groups() if match else ("", None)
    if kind not in kinds or (kind == "cpu" and number is not None):
        expected = [form for kind in kinds for form in ([kind] if kind == "cpu" else [kind, f"{kind}:N"])]
        *most, last = expected
        raise EngineError(f"device {device!r}, expected {', '.join(most)} or {last} with engine {engine}")
    return kind, int(number or 0)


def check_threads(threads: int | None) -> None:
    """Raise `EngineError` for a number of threads below 1; None leaves the number to the engine."""
    if threads is not None and threads < 1:
        raise EngineError(f"{threads} threads, expected 1 or more")


def one_line(error: Exception) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split())


def _fits(found: Tensor, expected: Tensor) -> bool:
    """Whether an engine's tensor is the one expected; an axis that has no name may stand for any."""
    if (found.name, found.dtype, len(found.axes)) != (expected.name, expected.dtype, len(expected.axes)):
        return False
    pairs = zip(found.axes, expected.axes, strict=True)
    return all(a == b or (a is None and isinstance(b, str)) for a, b in pairs)


def _listed(tensors: Sequence[Tensor]) -> str:
    def axes(tensor: Tensor) -> str:
        return ", ".join("?" if axis is None else str(axis) for axis in tensor.axes)

    return ", ".join(f"{each.name} {each.dtype} [{axes(each)}]" for each in tensors) or "nothing"
