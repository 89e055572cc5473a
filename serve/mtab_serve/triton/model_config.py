"""``config.pbtxt``, Triton's description of a model, for each model of the repository."""

from collections.abc import Iterable, Sequence

from mtab.bundle import BundleConfig, EngineEntry
from mtab.graphs import GraphSpec, TensorSpec
from mtab.limits import BATCH_SIZE

MODEL, GRAPH_MODEL = "mtab", "mtab_graph"
"""The model that takes audio and text, and the one that it asks: the bundle's graph."""

_TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}
# Requests that wait together are sorted by length: of more of them, less of a batch is padding.
_GATHERED = 4
# How long the first of them waits for more.
_DELAY_MICROSECONDS = 5_000


def graph_config(spec: GraphSpec, file: str) -> str:
    """The whole model's ONNX graph ``file`` on the onnxruntime backend."""
    return _graph(spec, BATCH_SIZE, ['backend: "onnxruntime"', f'default_model_filename: "{file}"'])


def engine_config(spec: GraphSpec, batch_size: int, engines: Sequence[EngineEntry]) -> str:
    """TensorRT engines of the whole model, one a compute capability, on the tensorrt backend."""
    names = [
        f'cc_model_filenames {{ key: "{_dotted(each.compute_capability)}" value: "{each.file}" }}'
        for each in engines
    ]
    return _graph(spec, batch_size, ['platform: "tensorrt_plan"', *names])


def mtab_config(config: BundleConfig, batch_size: int) -> str:
    """The model ``mtab`` on the Python backend, which takes audio and text and asks the graph.

    Each input may be missing: what this model cannot do without is its own error.
    """
    outputs = [
        _tensor("label", "TYPE_STRING", [1]),
        _tensor("probabilities", "TYPE_FP32", [len(config.labels)]),
        *([_tensor("dimensions", "TYPE_FP32", [len(config.deviations)])] if config.deviations else []),
        _tensor("embedding", "TYPE_FP32", [config.embedding_size]),
        _tensor("json", "TYPE_STRING", [1]),
    ]
    inputs = [_tensor(name, "TYPE_STRING", [1], "optional: true") for name in config.modalities]
    return _lines(
        f'name: "{MODEL}"',
        'backend: "python"',
        f"max_batch_size: {_GATHERED * batch_size}",
        *_listed("input", inputs),
        *_listed("output", outputs),
        f"dynamic_batching {{ max_queue_delay_microseconds: {_DELAY_MICROSECONDS} }}",
        "instance_group [ { count: 2 kind: KIND_CPU } ]",
        f'parameters {{ key: "batch_size" value {{ string_value: "{batch_size}" }} }}',
    )


def _graph(spec: GraphSpec, batch_size: int, backend: Iterable[str]) -> str:
    # Requests of equal shape alone share a batch: mtab sends whole ones, of which none has to wait.
    return _lines(
        f'name: "{GRAPH_MODEL}"',
        *backend,
        f"max_batch_size: {batch_size}",
        *_listed("input", [_of(tensor) for tensor in spec.inputs]),
        *_listed("output", [_of(tensor) for tensor in spec.outputs]),
        "dynamic_batching { }",
    )


def _of(tensor: TensorSpec) -> str:
    """A tensor without its first axis, the batch; one of that axis alone is (batch, 1) to a client."""
    axes = [axis if isinstance(axis, int) else -1 for axis in tensor.axes[1:]]
    if axes:
        return _tensor(tensor.name, _TYPES[tensor.dtype], axes)
    return _tensor(tensor.name, _TYPES[tensor.dtype], [1], "reshape { shape: [ ] }")


def _tensor(name: str, kind: str, axes: Sequence[int], *rest: str) -> str:
    dims = ", ".join(map(str, axes))
    return " ".join(["{", f'name: "{name}"', f"data_type: {kind}", f"dims: [ {dims} ]", *rest, "}"])


def _listed(side: str, tensors: Sequence[str]) -> list[str]:
    return [f"{side} [", *(f"  {tensor}," for tensor in tensors[:-1]), f"  {tensors[-1]}", "]"]


def _dotted(capability: str) -> str:
    return capability if "." in capability else f"{capability[:-1]}.{capability[-1]}"


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
