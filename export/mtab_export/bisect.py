"""Where a lower precision's error enters a graph, layer by layer, and the block-list entries that cure it."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from mtab.errors import BundleError
from mtab.progress import progress
from mtab_export.blocks import load_model
from mtab_export.magnitudes import largest_magnitudes
from mtab_export.precision import FLOAT32, LOW, cast_array, reads_any

SHARE = 0.25
"""The least part of a graph's error that makes a group of layers worth a look inside."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """A layer that a lower precision does not suit.

    ``layer`` is its module path, or that of a module whose layers add too little each to be named; ``node``
    is the first one. ``error`` is what the layer alone adds to the answer, infinity where a number past the
    range of half precision is in it, the largest of which is ``largest``. ``pattern`` is the entry of a list
    of nodes to leave in float32 that cures it.
    """

    layer: str
    node: str
    error: float
    largest: float | None
    pattern: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A float32 graph, how it is written in a lower precision, and what that may cost.

    ``make`` writes ``source`` to a path, the nodes that match some patterns left in float32, as
    `mtab_export.precision.convert` and `mtab_export.int8.quantize` do. ``measure`` says how far the answers
    of such a graph are off, on utterances of its choice; more than ``budget`` is too far, and so is NaN. No
    engine may outlive it. ``feeds`` are inputs of ``source``, best the worst utterances, each alone: all of
    them are run, one at a time. ``scratch`` takes one graph after another.
    """

    source: Path
    make: Callable[[Path, Sequence[str]], None]
    measure: Callable[[Path], float]
    feeds: Sequence[Mapping[str, np.ndarray]]
    budget: float
    scratch: Path

    def write(self, fp32_nodes: Sequence[str]) -> Path:
        """The graph with these nodes in float32; it lasts until the next is written."""
        path = self.scratch / f"trial_{self.source.name}"
        self.make(path, fp32_nodes)
        return path

    def error(self, fp32_nodes: Sequence[str]) -> float:
        """What the graph with these nodes in float32 is off by."""
        error = self.measure(self.write(fp32_nodes))
        return math.inf if math.isnan(error) else error


def bisect(trial: Trial, fp32_nodes: Sequence[str] = ()) -> list[Culprit]:
    """The layers that a graph which is over budget owes its error to, in the order of data flow.

    First come the layers with a weight or, on the trial's feeds, an activation past the range of half
    precision. If the graph is over budget without them, what is left is taken apart by module: one part alone
    is made in lower precision, all others in float32, and if that costs more than `SHARE` of the whole error,
    so are its parts. ``fp32_nodes`` stay in float32 throughout. Empty if only they are to blame, and if the
    graph is over budget in float32 already.
    """
    if not trial.measure(trial.source) <= trial.budget:
        return []
    nodes = list(load_model(trial.source).graph)
    made = load_model(trial.write(fp32_nodes))
    converted = _converted(nodes, made)
    culprits = _overflows(trial, converted, made)
    kept = (*fp32_nodes, *(culprit.pattern for culprit in culprits))
    overflowing = {culprit.layer for culprit in culprits}
    layers: dict[str, str] = {}
    for node in converted:
        if (layer := _layer(node)) not in overflowing:
            layers.setdefault(layer, node.name or "")
    if layers and (error := trial.error(kept)) > trial.budget:
        with progress("bisecting", unit="trials") as bar:

            def alone(group: Mapping[str, str]) -> float:
                bar.update()
                return trial.error((*kept, *(f"{layer}/*" for layer in layers if layer not in group)))

            culprits += _descend("", layers, error, SHARE * error, alone)
    order = {node.name: i for i, node in enumerate(nodes)}
    return sorted(culprits, key=lambda culprit: order[culprit.node])


def cure(trial: Trial, fp32_nodes: Sequence[str] = (), culprits: Sequence[Culprit] = ()) -> tuple[str, ...]:
    """Patterns of nodes that keep the graph within budget when left in float32, ``fp32_nodes`` first.

    Layers that overflow are added at once, the rest of the ``culprits`` by falling error, twice as many each
    time; when they do not do, the graph is bisected again. Raises `BundleError` if it is over budget with
    nothing in lower precision.
    """
    if not (error := trial.measure(trial.source)) <= trial.budget:
        raise BundleError(
            f"{trial.source}: is {error:.1e} off in float32 already, expected at most {trial.budget:.1e}"
        )
    patterns = tuple(fp32_nodes)
    left = list(culprits)
    count = 1
    while trial.error(patterns) > trial.budget:
        left = sorted(left or bisect(trial, patterns), key=lambda culprit: -culprit.error)
        if not left:
            raise BundleError(
                f"{trial.source}: is over its budget of {trial.budget:.1e} with {len(patterns)} patterns "
                "of nodes in float32, and nothing is left in lower precision"
            )
        count = max(count, sum(math.isinf(culprit.error) for culprit in left))
        patterns += tuple(culprit.pattern for culprit in left[:count])
        left = left[count:]
        count *= 2
    return patterns


def _converted(nodes: Sequence[ir.Node], made: ir.Model) -> list[ir.Node]:
    """Those of ``nodes`` that ``made`` computes in lower precision: in other types, or by other nodes."""
    kinds = {node.name: _kinds(node) for node in made.graph}
    return [node for node in nodes if kinds.get(node.name) != _kinds(node) and not reads_any(node)]


def _kinds(node: ir.Node) -> list[ir.DataType | None]:
    return [value.dtype for value in (*node.inputs, *node.outputs) if value is not None]


def _layer(node: ir.Node) -> str:
    """The module path that a node's name begins with."""
    return (node.name or "").rpartition("/")[0]


def _overflows(trial: Trial, converted: Sequence[ir.Node], made: ir.Model) -> list[Culprit]:
    """The layers whose nodes hold a number past the range of the half precision that ``made`` is typed in."""
    types = {value.dtype for node in made.graph for value in node.outputs}
    dtype = next((dtype for dtype in LOW.values() if dtype in types), None)
    if dtype is None:
        return []
    largest = _largest(trial)
    found: dict[str, Culprit] = {}
    for node in converted:
        floats = {
            value for value in (*node.inputs, *node.outputs) if value is not None and value.dtype == FLOAT32
        }
        numbers = np.array([largest[value.name] for value in floats], np.float32)
        past = numbers[np.isinf(cast_array(numbers, dtype)) & np.isfinite(numbers)]
        if not past.size:
            continue
        layer, most = _layer(node), float(past.max())
        if (known := found.get(layer)) is not None:
            found[layer] = dataclasses.replace(known, largest=max(most, known.largest or 0.0))
        else:
            found[layer] = Culprit(layer, node.name or "", math.inf, most, f"{layer}/*")
    return list(found.values())


def _largest(trial: Trial) -> dict[str | None, float]:
    """The largest magnitude of every float tensor of the source, by name, over the trial's feeds."""
    graph = load_model(trial.source).graph
    found: dict[str | None, float] = {
        name: float(np.abs(value.const_value.numpy()).max(initial=0))
        for name, value in graph.initializers.items()
        if value.const_value is not None and value.dtype == FLOAT32
    }
    values = (*graph.inputs, *(value for node in graph for value in node.outputs))
    names = [value.name or "" for value in values if value.dtype == FLOAT32]
    numbers = np.fmax.reduce(largest_magnitudes(trial.source, names, trial.feeds), axis=0, initial=0)
    return found | dict(zip(names, numbers.tolist(), strict=True))


def _descend(
    path: str,
    layers: Mapping[str, str],
    error: float,
    least: float,
    alone: Callable[[Mapping[str, str]], float],
) -> list[Culprit]:
    """What in the module ``path`` adds most of its ``error``, never looking into what adds ``least`` or less.

    ``layers`` are the module's, each with its first node; ``alone`` measures some of them.
    """
    if len(layers) == 1:
        ((layer, node),) = layers.items()
        return [Culprit(layer, node, error, None, f"{layer}/*")]
    parts: dict[str, dict[str, str]] = {}
    for layer, node in layers.items():
        part = layer if layer == path else f"{path}.{layer.removeprefix(path).lstrip('.').partition('.')[0]}"
        parts.setdefault(part.lstrip("."), {})[layer] = node
    if len(parts) == 1:
        ((part, inside),) = parts.items()
        return _descend(part, inside, error, least, alone)
    found: list[Culprit] = []
    for part, inside in parts.items():
        if (share := alone(inside)) > least:
            found += _descend(part, inside, share, least, alone)
    return found or [Culprit(path, next(iter(layers.values())), error, None, f"{path}[./]*" if path else "*")]
