"""The graph of reasons: a model's attention, cut from its float32 graph and held against PyTorch's."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.tape import Tape
from torch import Tensor, nn

from mtab.bundle import ReasonsEntry
from mtab.certificate import AttentionCertificate
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.graphs import FUSED, REASONS_FILE, GraphSpec, graph_file, reasons_of
from mtab.memory import MemoryNeed
from mtab.preprocess import Features, Preprocessor
from mtab.sample import Sample
from mtab_export.blocks import load_model, save_beside
from mtab_export.memory import memory_need
from mtab_export.onnx_graph import check_graph, graph_sizes
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB

UTTERANCES = 16
"""How many are compared with PyTorch."""

_ATTENTION = {
    "tab_attention": "tab/Sigmoid_*",
    "speech_to_text_attention": "cross_modal.speech_to_text.*/Softmax_*",
    "text_to_speech_attention": "cross_modal.text_to_speech.*/Softmax_*",
}
"""The node that computes it, (batch, heads or features, ...), by output and pattern of names."""


@dataclass(frozen=True, slots=True)
class ReasonsOutcome:
    """The graph of reasons as it was judged; ``size`` is in bytes, ``seconds`` what writing it took.

    ``failures`` are a line for each output that is outside its tolerance; then the bundle has no such graph.
    """

    entry: ReasonsEntry
    size: int
    seconds: float
    failures: tuple[str, ...]


def outputs_of(config: ModelConfig) -> tuple[str, ...]:
    """Which of `mtab.graphs.REASONS` a model has: none over time where it has averaged that before."""
    both = len(config.modalities) == 2
    found = (
        ["tab_attention"] if config.num_tab_layers and not (both and config.fusion_align == "pool") else []
    )
    return (*found, *(["speech_to_text_attention", "text_to_speech_attention"] if both else []))


def export_reasons(
    model: MulTAB, preprocess: Preprocessor, sample: Sample, batch_size: int, folder: Path
) -> ReasonsOutcome | None:
    """Write the graph of reasons beside the fused float32 one in ``folder``; keep it if it is as PyTorch.

    None for a model that has no attention to show.
    """
    outputs = outputs_of(model.config)
    if not outputs:
        return None
    begun = time.perf_counter()
    path = folder / REASONS_FILE
    spec = reasons_of(FUSED.of(model.config.modalities, graph_sizes(model)), outputs)
    fused = folder / graph_file(FUSED.name, "fp32")
    cut(fused, path, spec)
    seconds = time.perf_counter() - begun
    # On the CPU, as `mtab.Model.explain` runs it.
    engine = OnnxRuntimeEngine(path)
    engine.require(spec)
    features, names = _compared(sample, model.config)
    expected = [pytorch_attention(model, preprocess.collate([each])) for each in features]
    unbatched = [_rows(engine.run(preprocess.collate([each])), 1) for each in features]
    batched = [
        _rows(engine.run(preprocess.collate(batch)), len(batch)) for batch in _batches(features, batch_size)
    ]
    found = [[row for rows in each for row in rows] for each in (unbatched, batched)]
    differences, failures = zip(*(_compare(spec, each, expected, names) for each in found), strict=True)
    certificate = AttentionCertificate(
        utterances=min(UTTERANCES, len(sample.features)),
        batch_size=batch_size,
        differences=differences[0],
        batched_differences=differences[1],
        corpus=sample.corpus.title,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    hop = model.config.samples_per_frame or None
    entry = ReasonsEntry(path.name, outputs, hop, _memory_need(model, fused), certificate)
    outcome = ReasonsOutcome(
        entry, path.stat().st_size, seconds, tuple(dict.fromkeys([*failures[0], *failures[1]]))
    )
    if outcome.failures:
        path.unlink()
    return outcome


def cut(source: Path, target: Path, spec: GraphSpec) -> None:
    """Write to ``target`` what of the fused graph ``source`` its attention takes, with that for outputs.

    Both lie in one folder: ``target`` reads the weights of ``source``. Raises `BundleError` if what it makes
    is not what ``spec`` says.
    """
    model = load_model(source)
    graph = model.graph
    tape = Tape(graph)
    # The axis of heads or of features.
    axis = tape.initializer(ir.tensor(np.array([1], np.int64), name="reasons.axis"))
    outputs = []
    for tensor in spec.outputs:
        (node,) = (each for each in graph if fnmatchcase(each.name or "", _ATTENTION[tensor.name]))
        mean = tape.op(
            "ReduceMean", [node.outputs[0], axis], {"keepdims": 0}, name=f"{tensor.name}/ReduceMean"
        )
        mean.name, mean.type, mean.shape = (
            tensor.name,
            ir.TensorType(ir.DataType.FLOAT),
            ir.Shape(tensor.axes),
        )
        outputs.append(mean)
    graph.outputs[:] = outputs
    model.metadata_props["part"] = "reasons"
    save_beside(model, target)
    check_graph(target, spec)


def pytorch_attention(model: MulTAB, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The attention of one utterance in PyTorch: every output of `mtab.graphs.REASONS` without its batch.

    ``inputs`` are those of one utterance, unbatched; what stands for a modality that it lacks is included,
    padding is not.
    """
    found: dict[str, np.ndarray] = {}

    def read_tab(norm: nn.Module, arguments: tuple[Tensor, ...], normalised: Tensor) -> None:
        (mask,) = arguments[1]
        found["tab_attention"] = torch.sigmoid(torch.relu(normalised[0])).mean(dim=0)[mask].numpy()

    def read_cross_modal(encoder: Any, arguments: tuple[Tensor, ...]) -> None:
        speech, speech_mask, text, text_mask = arguments
        for name, query, query_mask, key, key_mask in (
            ("speech_to_text", speech, speech_mask, text, text_mask),
            ("text_to_speech", text, text_mask, speech, speech_mask),
        ):
            attention = getattr(encoder, name).attention
            _, weights = attention(query, key, key, key_padding_mask=~key_mask, need_weights=True)
            found[f"{name}_attention"] = weights[0][query_mask[0]][:, key_mask[0]].numpy()

    hooks = []
    if model.tab is not None:
        hooks.append(model.tab.norms[-1].register_forward_hook(read_tab))
    if len(model.config.modalities) == 2:
        hooks.append(model.cross_modal.register_forward_pre_hook(read_cross_modal))
    try:
        model.run(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _compared(sample: Sample, config: ModelConfig) -> tuple[list[Features], list[str]]:
    """Utterances of the sample with their names, each in every combination that the model answers from."""
    features, names = [], []
    for each, name in zip(sample.features[:UTTERANCES], sample.names, strict=False):
        for combination in config.supported_modalities:
            if set(combination) <= set(each.modalities):
                features.append(
                    dataclasses.replace(
                        each,
                        input_values=each.input_values if "audio" in combination else None,
                        input_ids=each.input_ids if "text" in combination else None,
                    )
                )
                names.append(name)
    return features, names


def _batches(features: Sequence[Features], size: int) -> Iterator[Sequence[Features]]:
    return (features[start : start + size] for start in range(0, len(features), size))


def _rows(outputs: Mapping[str, np.ndarray], count: int) -> list[dict[str, np.ndarray]]:
    return [{name: rows[i] for name, rows in outputs.items()} for i in range(count)]


def _compare(
    spec: GraphSpec,
    found: Sequence[Mapping[str, np.ndarray]],
    expected: Sequence[Mapping[str, np.ndarray]],
    names: Sequence[str],
) -> tuple[dict[str, float], list[str]]:
    """The largest difference of each output, and a line for each that is outside its tolerance."""
    differences: dict[str, float] = {}
    failures = []
    for tensor in spec.outputs:
        assert tensor.tolerance is not None
        differences[tensor.name] = 0.0
        for row, right, name in zip(found, expected, names, strict=True):
            wanted = right[tensor.name]
            got = row[tensor.name][tuple(slice(size) for size in wanted.shape)]
            difference = float(np.abs(got - wanted).max())
            differences[tensor.name] = max(differences[tensor.name], difference)
            if not tensor.tolerance.used(got, wanted).max() <= 1:
                failures.append(
                    f"{tensor.name} differs from PyTorch's by {difference:.1e} for {name}, expected at most "
                    f"{tensor.tolerance.atol:g} + {tensor.tolerance.rtol:g} of it"
                )
                break
    return differences, failures


def _memory_need(model: MulTAB, fused: Path) -> MemoryNeed:
    """That of the ``fused`` graph, and the pairs of a frame and a token in the cross-modal encoder."""
    need = memory_need(model.config, fused)
    if model.text_encoder is None or model.audio_encoder is None:
        return need
    pairs = model.config.num_attention_heads * model.text_encoder.max_tokens
    # The scores, what a softmax makes of them, and a copy on the way.
    return dataclasses.replace(need, per_frame=need.per_frame + 3 * pairs)
