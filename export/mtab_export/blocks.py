"""Graphs in blocks of time, whose memory grows with an utterance's length and not with its square.

Only a file has blocks: what reads one with `load_model` gets each loop's body as plain nodes, once, over the
whole of the time; and `save_model` puts such regions into loops again. So no transformation of a graph knows
of subgraphs.

Attention is computed for some queries at a time, over all keys, and the convolutions of the feature extractor
for some frames at a time, over the samples that these read: the same sums, and so the same answers.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnx_ir.tape import Tape

ATTENTION_SCORES = 2**22
"""Scores of one head, of all utterances of a batch, that are in memory at once: 40 s of speech, in 16 MB."""

CONVOLVED_FRAMES = 1024
"""Frames, 20 ms each, of all utterances of a batch that the feature extractor convolves at once."""

WHOLE = ("text_encoder.*", "self_attention.text.*", "audio_encoder.frames/*")
"""Attention over text alone, whose length is bounded, and what is over pitches; by pattern of node names."""

LOCAL = frozenset(
    {
        *("Add", "Cast", "Clip", "Div", "Erf", "Gelu", "Identity", "Max", "Min", "Mul", "Neg", "Pow", "Relu"),
        *("Sigmoid", "Sqrt", "Sub", "Tanh", "Where"),
        *("Conv", "LayerNormalization", "MatMul", "Softmax", "Transpose"),
    }
)
"""Operators that, where they are in a region, compute each block of time by itself."""

WINDOWING = LOCAL | {"Abs", "Concat", "MatMulInteger", "QuantizeLinear", "ReduceMax", "Slice"}
"""Also what a convolution in int8 is made of, over windows of time."""

WINDOW = "mtab.window"
"""Metadata of the node that makes a convolution's windows: how long each is, and when the next begins."""

TIME = 2
"""The axis of time, of what a region reads and makes."""

_CONVOLUTIONS = "*feature_extractor.conv_layers.*"
_WHOLE, _BLOCK, _JOINED = "mtab.whole", "mtab.block", "mtab.joined"


@dataclass(frozen=True, slots=True)
class _Region:
    """Nodes that answer for each block of time by itself: ``first`` reads ``whole``, the last makes ``out``.

    Position i of ``out`` reads the ``field`` positions of ``whole`` from i * ``hop`` on.
    """

    first: ir.Node
    nodes: tuple[ir.Node, ...]
    whole: ir.Value
    out: ir.Value
    hop: int = 1
    field: int = 1


def has_blocks(path: Path) -> bool:
    """Whether the graph in ``path`` is in blocks; false for what is no graph."""
    return path.is_file() and _WHOLE.encode() in path.read_bytes()


def load_model(path: Path) -> ir.Model:
    """The graph in ``path`` without loops: each region of time whole, the names of nodes as they were."""
    model = ir.load(path)
    _follow_links(model.graph)
    for loop in [node for node in model.graph if _WHOLE in node.metadata_props]:
        _inline(model.graph, loop)
    RemoveUnusedNodesPass()(model)
    return model


def _follow_links(graph: ir.Graph) -> None:
    """Read weights where a link leads, as in a hub's cache; onnx_ir refuses one that leaves its folder."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and Path(tensor.path).is_symlink():
            real = Path(tensor.path).resolve()
            value.const_value = ir.ExternalTensor(
                real.name,
                tensor.offset,
                tensor.length,
                tensor.dtype,
                shape=tensor.shape,
                name=value.name or "",
                base_dir=real.parent,
            )


def save_model(model: ir.Model, path: Path) -> None:
    """Write a graph in blocks, without what it has no use for any more, its weights beside it."""
    _put_in_blocks(model)
    save_whole(model, path)


def save_beside(model: ir.Model, path: Path) -> None:
    """`save_model` beside the graph that ``model`` was made from, whose weights it goes on reading."""
    _put_in_blocks(model)
    ir.save(model, path)


def save_whole(model: ir.Model, path: Path) -> None:
    """Write a graph as it is, its weights beside it."""
    ir.save(model, path, external_data=f"{path.name}.data")


def _put_in_blocks(model: ir.Model) -> None:
    RemoveUnusedNodesPass()(model)
    for region in _regions(model.graph):
        _loop(model.graph, region)


def is_attention(node: ir.Node) -> bool:
    """Whether it is the softmax of attention to or from speech, whose length only the utterance bounds."""
    if node.op_type != "Softmax" or len(node.inputs[0].shape or () if node.inputs[0] else ()) < 3:
        return False
    return not any(fnmatchcase(node.name or "", pattern) for pattern in WHOLE)


def is_convolution(node: ir.Node) -> bool:
    """Whether it is a convolution of the feature extractor, or makes the windows of one."""
    return (node.op_type == "Conv" or WINDOW in node.metadata_props) and fnmatchcase(
        node.name or "", _CONVOLUTIONS
    )


def _regions(graph: ir.Graph) -> list[_Region]:
    found = [_convolutions(graph)]
    for node in graph:
        if is_attention(node):
            found.append(_attention(graph, node))
    return [region for region in found if region is not None]


def _attention(graph: ir.Graph, softmax: ir.Node) -> _Region | None:
    """From the product of queries and keys to the product with values, None if that is not what it is.

    What else is read, as a mask, has to be the same for every query: (batch, heads or 1, 1, keys).
    """
    first = _nearest_product(softmax, _producers)
    last = _nearest_product(softmax, _consumers)
    if first is None or last is None:
        return None
    whole, out = first.inputs[0], last.outputs[0]
    nodes = _between(graph, first, last)
    assert whole is not None
    if not _is_closed(nodes, out) or not _has_sizes(out, 4) or len(whole.shape or ()) != 4:
        return None
    inside = {value for node in nodes for value in node.outputs} | {whole, first.inputs[1], last.inputs[1]}
    for node in nodes:
        for value in node.inputs:
            if (
                value is None
                or value in inside
                or (value.const_value is not None and value.const_value.size == 1)
            ):
                continue
            if value.shape is None or len(value.shape) < 2 or value.shape[-2] != 1:
                return None
    return _Region(first, nodes, whole, out)


def _convolutions(graph: ir.Graph) -> _Region | None:
    """The feature extractor: from (batch, 1, samples) to (batch, channels, frames)."""
    named = [node for node in graph if fnmatchcase(node.name or "", _CONVOLUTIONS)]
    convolutions = [node for node in named if is_convolution(node)]
    if not convolutions:
        return None
    first, last = convolutions[0], named[-1]
    whole, out = first.inputs[0], last.outputs[0]
    nodes = _between(graph, first, last)
    assert whole is not None
    if not _is_closed(nodes, out, WINDOWING) or not _has_sizes(out, 3):
        return None
    hop = field = 1
    for length, stride in map(_window, reversed(convolutions)):
        hop, field = hop * stride, (field - 1) * stride + length
    return _Region(first, nodes, whole, out, hop, field)


def _window(node: ir.Node) -> tuple[int, int]:
    """How much of what it reads a convolution looks at for an answer, and how much later for the next."""
    if node.op_type == "Conv":
        (kernel,), (stride,) = (node.attributes[name].as_ints() for name in ("kernel_shape", "strides"))
        return kernel, stride
    length, stride = map(int, node.metadata_props[WINDOW].split())
    return length, stride


def _nearest_product(
    softmax: ir.Node, neighbours: Callable[[ir.Node], Iterable[ir.Node | None]]
) -> ir.Node | None:
    """The MatMul that is fewest nodes away from ``softmax``, None if there are several or none."""
    near = {softmax}
    while near:
        near = {each for node in near for each in neighbours(node) if each is not None and _is_float(each)}
        if products := [node for node in near if node.op_type == "MatMul"]:
            return products[0] if len(products) == 1 else None
    return None


def _producers(node: ir.Node) -> list[ir.Node | None]:
    return [value.producer() for value in node.inputs if value is not None]


def _consumers(node: ir.Node) -> list[ir.Node]:
    return [user for value in node.outputs for user in value.consumers()]


def _is_float(node: ir.Node) -> bool:
    return any(value.dtype is not None and value.dtype.is_floating_point() for value in node.outputs)


def _between(graph: ir.Graph, first: ir.Node, last: ir.Node) -> tuple[ir.Node, ...]:
    """The nodes on every way from ``first`` to ``last``, both included, in the graph's order."""
    after, before = {first}, {last}
    order = list(graph)
    for node in order:
        if any(value is not None and value.producer() in after for value in node.inputs):
            after.add(node)
    for node in reversed(order):
        if any(user in before for value in node.outputs for user in value.consumers()):
            before.add(node)
    return tuple(node for node in order if node in after and node in before)


def _has_sizes(out: ir.Value, rank: int) -> bool:
    """Whether ``out`` has ``rank`` axes, of which all but batch and time have a fixed size."""
    sizes = tuple(out.shape or ())
    return len(sizes) == rank and all(isinstance(size, int) for size in (sizes[1], *sizes[3:]))


def _is_closed(nodes: Sequence[ir.Node], out: ir.Value, local: frozenset[str] = LOCAL) -> bool:
    """Whether ``nodes`` are ``local``, read no size of the whole, and are read for ``out`` alone."""
    inside = set(nodes)
    sizes = [
        value
        for node in nodes
        for value in node.inputs
        if value is not None and value.dtype == ir.DataType.INT64 and value.const_value is None
    ]
    return (
        bool(nodes)
        and all(node.op_type in local for node in nodes)
        and not out.is_graph_output()
        and all(value.producer() in inside for value in sizes)
        and all(
            value is out or inside.issuperset(value.consumers()) for node in nodes for value in node.outputs
        )
    )


class _Maker:
    """Makes the nodes around a loop, named after the module of the region's first node and its number."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._graph = graph
        self._module, _, name = (node.name or "").rpartition("/")
        self._number = name.rpartition("_")[2]
        self._numbers = itertools.count()
        self.nodes: list[ir.Node] = []

    def __call__(self, op_type: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        node = ir.node(op_type, inputs, attributes, name=self.name(op_type))  # pyright: ignore[reportArgumentType]
        node.outputs[0].name = f"{node.name}:blocks"
        self.nodes.append(node)
        return node.outputs[0]

    def name(self, kind: str) -> str:
        return f"{self._module}/{kind}_{self._number}_{next(self._numbers)}"

    def whole_number(self, *values: int) -> ir.Value:
        return self._constant("x".join(map(str, values)), np.array(values, np.int64))

    def true(self) -> ir.Value:
        return self._constant("true", np.array(True))

    def _constant(self, name: str, array: np.ndarray) -> ir.Value:
        """One for all that need it."""
        name = f"{name}:blocks"
        if name in self._graph.initializers:
            return self._graph.initializers[name]
        return Tape(self._graph).initializer(ir.tensor(array, name=name))

    def rounded_up(self, value: ir.Value, divisor: ir.Value) -> ir.Value:
        added = self("Sub", self("Add", value, divisor), self.whole_number(1))
        return self("Div", added, divisor)


def _loop(graph: ir.Graph, region: _Region) -> None:
    """Replace a region by a loop over blocks of equal length, one where the whole is short."""
    make = _Maker(graph, region.first)
    number = make.whole_number
    one = number(1)
    whole, out = region.whole, region.out
    batch = make("Shape", whole, start=0, end=1)
    size = make("Shape", whole, start=TIME, end=TIME + 1)
    if region.field > 1:
        time = make("Add", make("Div", make("Sub", size, number(region.field)), number(region.hop)), one)
        cost, most = make("Mul", batch, time), number(CONVOLVED_FRAMES)
    else:
        time = size
        keys = make("Shape", region.first.inputs[1], start=-1)
        cost, most = make("Mul", make("Mul", batch, time), keys), number(ATTENTION_SCORES)
    length = make.rounded_up(time, make.rounded_up(cost, most))
    count = make.rounded_up(time, length)
    step = make("Mul", length, number(region.hop)) if region.hop > 1 else length
    read = make("Add", step, number(region.field - region.hop)) if region.field > 1 else length
    # The last block is as long as the others.
    needed = make("Add", make("Mul", make("Sub", count, one), step), read)
    padding = make("Max", make("Sub", needed, size), number(0))
    rank = len(region.whole.shape or ())
    pads = [number(*[0] * (rank + TIME)), padding]
    if after := rank - TIME - 1:
        pads.append(number(*[0] * after))
    padded = make("Pad", whole, make("Concat", *pads, axis=0))
    before = make.nodes

    make.nodes = []
    iteration = ir.Value(
        name=f"{make.name('iteration')}:blocks", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([])
    )
    condition = ir.Value(
        name=f"{make.name('condition')}:blocks", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([])
    )
    start = make("Mul", iteration, step)
    block = make("Slice", padded, start, make("Add", start, read), number(TIME))
    block.type, block.shape = whole.type, ir.Shape([None] * rank)
    going_on = make("Identity", condition)
    going_on.type, going_on.shape = condition.type, condition.shape
    inside = make.nodes

    make.nodes = []
    # TensorRT's parser takes no loop without a condition.
    stacked = make("Loop", make("Squeeze", count, number(0)), make.true())
    loop = make.nodes[-1]
    # (blocks, batch, ..., time, ...) -> (batch, ..., blocks, time, ...) -> (batch, ..., blocks * time, ...)
    sizes = list(out.shape or ())
    before_time, rest = (
        [number(size) for size in part if isinstance(size, int)]
        for part in (sizes[1:TIME], sizes[TIME + 1 :])
    )
    # ONNX's own reference implementation joins the blocks along the batch: the same numbers in one row.
    shape = make("Concat", count, batch, *before_time, length, *rest, axis=0)
    order = [*range(1, TIME + 1), 0, *range(TIME + 1, len(sizes) + 1)]
    moved = make("Transpose", make("Reshape", stacked, shape), perm=order)
    shape = make("Concat", batch, *before_time, make("Mul", count, length), *rest, axis=0)
    joined = make("Slice", make("Reshape", moved, shape), number(0), time, number(TIME))
    joined.type, joined.shape = out.type, out.shape
    after_nodes = make.nodes

    for user, i in list(out.uses()):
        user.replace_input_with(i, joined)
    graph.insert_after(region.nodes[-1], [*before, *after_nodes])
    region.first.replace_input_with(0, block)
    graph.remove(region.nodes)
    for value in (value for node in region.nodes for value in node.outputs):
        if value.shape is not None:
            value.shape = ir.Shape([size if isinstance(size, int) else None for size in value.shape])
    body = ir.Graph([iteration, condition], [going_on, out], nodes=[*inside, *region.nodes], name=loop.name)
    loop.attributes["body"] = ir.AttrGraph("body", body)
    assert whole.name is not None
    assert block.name is not None
    assert joined.name is not None
    loop.metadata_props.update({_WHOLE: whole.name, _BLOCK: block.name, _JOINED: joined.name})


def _inline(graph: ir.Graph, loop: ir.Node) -> None:
    """Put what a loop does for a block in its place, for the whole."""
    body = loop.attributes["body"].as_graph()
    outside, inside = (ir.convenience.create_value_mapping(each) for each in (graph, body))
    whole, block, joined = (loop.metadata_props[key] for key in (_WHOLE, _BLOCK, _JOINED))
    out = body.outputs[1]
    out.shape = outside[joined].shape
    ir.convenience.replace_all_uses_with(inside[block], outside[whole])
    body.outputs.clear()
    made: dict[ir.Node, None] = {}
    for node in reversed(list(body)):
        if out in node.outputs or made.keys() & {
            user for value in node.outputs for user in value.consumers()
        }:
            made[node] = None
    nodes = list(reversed(made))
    body.remove(nodes)
    # What slices the block still reads from outside.
    body.remove(list(body), safe=True)
    graph.insert_before(loop, nodes)
    ir.convenience.replace_all_uses_with(outside[joined], out)
