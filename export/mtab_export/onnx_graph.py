"""The model, whole or in parts, as ONNX graphs; padding masks included."""

import ast
import copy
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from torch import Tensor
from torch.export import Dim
from torch.nn.utils import parametrize

from mtab.errors import BundleError
from mtab.graphs import AUDIO_ENCODER, CME, FUSED, TAB_HEAD, TEXT_ENCODER, GraphSpec
from mtab_export.blocks import save_model
from mtab_train.acoustic import AcousticEncoder
from mtab_train.model import MulTAB


class _AudioEncoder(MulTAB):
    def forward(self, input_values: Tensor, audio_lengths: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.listen(input_values, audio_lengths)


class _TextEncoder(MulTAB):
    def forward(self, input_ids: Tensor, text_lengths: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert self.text_encoder is not None
        return self.text_encoder(input_ids, text_lengths)


class _CrossModalEncoder(MulTAB):
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        audio_hidden_states: Tensor | None = None,
        audio_frames: Tensor | None = None,
        text_hidden_states: Tensor | None = None,
        text_lengths: Tensor | None = None,
    ) -> Any:
        return self.fuse(audio_hidden_states, audio_frames, text_hidden_states, text_lengths)


class _TabHead(MulTAB):
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, fused_states: Tensor, fused_lengths: Tensor, audio_statistics: Tensor | None = None
    ) -> Any:
        return self.classify(fused_states, fused_lengths, audio_statistics)


PARTS: dict[str, type[MulTAB]] = {
    FUSED.name: MulTAB,
    AUDIO_ENCODER.name: _AudioEncoder,
    TEXT_ENCODER.name: _TextEncoder,
    CME.name: _CrossModalEncoder,
    TAB_HEAD.name: _TabHead,
}
"""The model with the forward pass of one part, by the name of its `GraphSpec`."""


def run_part(model: MulTAB, spec: GraphSpec, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One part in PyTorch on numpy arrays, at inference; ``spec`` is of the model's modalities."""
    with torch.inference_mode():
        tensors = {tensor.name: torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs}
        output = PARTS[spec.name].forward(model, **tensors)
    outputs = [value for value in (output if isinstance(output, tuple) else (output,)) if value is not None]
    return {tensor.name: value.numpy() for tensor, value in zip(spec.outputs, outputs, strict=True)}


def graph_sizes(model: MulTAB) -> dict[str, int]:
    """The axes of the model's graphs that are the same for every utterance."""
    config = model.config
    sizes = {
        "classes": len(config.labels),
        "fused": config.fused_size,
        "embedding": config.embedding_size,
        "dimensions": len(config.dimensions),
    }
    for modality, encoder in (("audio", model.audio_encoder), ("text", model.text_encoder)):
        if encoder is not None:
            sizes[f"{modality}_hidden"] = encoder.hidden_size
    if isinstance(model.audio_encoder, AcousticEncoder):
        sizes["statistics"] = model.audio_encoder.statistics.size
    return sizes


def export_graph(
    model: MulTAB,
    path: Path,
    opset: int = 18,
    metadata: dict[str, str] | None = None,
    spec: GraphSpec = FUSED,
) -> None:
    """Write a part of ``model`` at inference to ``path``, its weights beside it in ``<path>.data``.

    Inputs and outputs are those of ``spec``, for the model's modalities: any batch, tokens from 1, samples
    from one frame's, lengths from 0 where the model was trained without a modality. A node is called
    ``module.path/Operator_n`` after the module that it comes from. ``metadata`` becomes the file's metadata
    properties. ``model`` is left as it is. Weights are in a file of their own at every size: a runtime can
    map that into memory, and a small model takes the way of one past protobuf's 2 GB.

    An ``opset`` of 18 to 22: from 23 on torch writes attention as one operator, with a mask that ONNX Runtime
    1.32 refuses on a CPU. Raises `BundleError` if the file is not valid ONNX of standard operators, or is
    not what ``spec`` says.
    """
    spec = spec.of(model.config.modalities, graph_sizes(model))
    plain = _plain_copy(model).eval()
    plain.__class__ = PARTS[spec.name]
    smallest = _smallest_sizes(model)
    # Tracing looks at shapes alone; different ones keep the axes apart.
    device = model.head.classifier.weight.device
    sizes = {axis: 3 * size + i for i, (axis, size) in enumerate(smallest.items())}
    dims = {axis: Dim(axis, min=size) for axis, size in smallest.items()}
    inputs = {
        tensor.name: torch.zeros(
            [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.axes],
            dtype=getattr(torch, tensor.dtype),
            device=device,
        )
        for tensor in spec.inputs
    }
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            plain,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_shapes={
                tensor.name: {i: dims[axis] for i, axis in enumerate(tensor.axes) if isinstance(axis, str)}
                for tensor in spec.inputs
            },
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        _drop_guards(program.model.graph)
        _order_gelus(program.model.graph)
        program.model.metadata_props.update(metadata or {})
        for number, node in enumerate(program.model.graph.all_nodes()):
            node.name = f"{_module_path(node.metadata_props)}/{node.op_type}_{number}"
            # The exporter notes the source lines of this machine on every node.
            node.metadata_props.clear()
        for value, tensor in zip(program.model.graph.outputs, spec.outputs, strict=True):
            # An axis that the graph computes, such as that of the frames, is a formula there.
            value.shape = onnx_ir.Shape(tensor.axes)
        save_model(program.model, path)
    check_graph(path, spec)


def _drop_guards(graph: onnx_ir.Graph) -> None:
    """Take out what the exporter puts after a softmax for a row without a single key: NaN becomes 0.

    Every row has a key here, for lengths are 1 at least where they mask. TensorRT fuses attention without it.
    """
    for node in list(graph):
        if node.op_type != "Where" or node.inputs[0] is None:
            continue
        test, value = node.inputs[0].producer(), node.inputs[2]
        if test is None or value is None or test.op_type != "IsNaN" or test.inputs[0] is not value:
            continue
        for user, i in list(node.outputs[0].uses()):
            user.replace_input_with(i, value)
        graph.remove(node, safe=True)
        if not test.outputs[0].uses():
            graph.remove(test, safe=True)


def _order_gelus(graph: onnx_ir.Graph) -> None:
    """Write x * (0.5 * (1 + erf)) as 0.5 * (x * (1 + erf)): the same bits, but for numbers next to 0.

    In that order ONNX Runtime knows a GELU, and makes one pass over memory of five, with the bias before it.
    """
    for node in graph:
        if node.op_type != "Erf":
            continue
        plus_one = _only_user(node)
        halved = _only_user(plus_one)
        last = _only_user(halved)
        if [each and each.op_type for each in (plus_one, halved, last)] != ["Add", "Mul", "Mul"]:
            continue
        assert plus_one is not None
        assert halved is not None
        assert last is not None
        ((x,), (half,)) = (
            [value for value in user.inputs if value is not made.outputs[0]]
            for user, made in ((last, halved), (halved, plus_one))
        )
        for user, inputs in ((halved, (x, plus_one.outputs[0])), (last, (halved.outputs[0], half))):
            for i, value in enumerate(inputs):
                user.replace_input_with(i, value)


def _only_user(node: onnx_ir.Node | None) -> onnx_ir.Node | None:
    """The one node that reads what a node makes, None if it is not one."""
    users = [] if node is None else list(node.outputs[0].uses())
    return users[0][0] if len(users) == 1 else None


def _module_path(metadata: Mapping[str, str]) -> str:
    """The dotted path of the module that a node comes from; empty for the model itself."""
    scopes = ast.literal_eval(metadata.get("pkg.torch.onnx.name_scopes", "[]"))
    modules = [scope for scope in scopes[:-1] if not scope.startswith("_empty_nn_module_stack")]
    return modules[-1] if modules else ""


def _smallest_sizes(model: MulTAB) -> dict[str, int]:
    """The least that torch is told of each dynamic axis.

    It takes a size of 1 for a special case, so it is shown two of everything, frames included. What it writes
    holds for one as well, because ONNX operators broadcast when they run.
    """
    sizes = {"batch": 2, "tokens": 2, "frames": 2, "steps": 2}
    if model.audio_encoder is not None:
        sizes["samples"] = model.audio_encoder.min_samples + math.prod(model.audio_encoder.strides)
    return sizes


def _plain_copy(model: MulTAB) -> MulTAB:
    """The model over the same tensors, with parametrised weights (weight norm) computed once and for all."""
    plain = copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})
    for module in plain.modules():
        if not parametrize.is_parametrized(module):
            continue
        parametrizations: Any = module.parametrizations
        weights = {name: getattr(module, name).detach() for name in parametrizations}
        # Not `remove_parametrizations`: it takes the weight out of the class that the two models share.
        module.__class__ = parametrize.type_before_parametrizations(module)
        del module.parametrizations
        for name, weight in weights.items():
            setattr(module, name, torch.nn.Parameter(weight))
    return plain


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter tells its own developers, at the level of warnings, from the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def check_graph(path: Path, spec: GraphSpec) -> None:
    """Raise `BundleError` unless the file is valid ONNX, of standard operators, and is what ``spec`` says."""
    try:
        # By path, so that the weights stay on disk; a full check infers all shapes strictly.
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"{path}: is no valid ONNX ({str(error).splitlines()[0]})") from error
    proto = onnx.load(path, load_external_data=False)
    if foreign := {node.domain for node in proto.graph.node} - {"", "ai.onnx"}:
        raise BundleError(f"{path}: has operators of {', '.join(foreign)}, expected standard ones alone")
    for found, expected in ((proto.graph.input, spec.inputs), (proto.graph.output, spec.outputs)):
        written = [_describe(value) for value in found]
        wanted = [(tensor.name, tensor.dtype, tensor.axes) for tensor in expected]
        if written != wanted:
            raise BundleError(f"{path}: has {written}, expected {wanted}")


def _describe(value: onnx.ValueInfoProto) -> tuple[str, str, tuple[str | int, ...]]:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return value.name, dtype, tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
