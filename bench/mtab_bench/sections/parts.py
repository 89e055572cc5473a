"""The parts of a model, each alone: in PyTorch, in the bundle's graphs, and as optimum exports encoders."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mtab.bundle import Bundle
from mtab.engines.base import Engine
from mtab.engines.openvino import OpenVinoEngine
from mtab.graphs import GraphSpec, split_of
from mtab_bench.backends import OPENVINO_PRECISIONS, OPTIMUM, REFERENCE
from mtab_bench.cases import Case
from mtab_bench.flops import count_flops
from mtab_bench.interleaving import first_answers, time_interleaved, with_speedups
from mtab_bench.optimum import PublishedEncoder
from mtab_bench.sections.samples import latency, throughput

if TYPE_CHECKING:
    from mtab_train.model import MulTAB


def time_parts(
    bundle: Bundle,
    model: "MulTAB",
    case: Case,
    keys: Collection[str],
    published: Mapping[str, PublishedEncoder],
    threads: int,
    min_seconds: float,
) -> list[dict[str, Any]]:
    """The report's entry of each part; a part's input is what PyTorch makes of ``case`` up to there.

    ``keys`` are the engines whose whole model was timed: of these, those on the CPU that the bundle has the
    part's graph for. ``published`` are the encoders as optimum exports them, by part.
    """
    import torch

    from mtab_export.onnx_graph import PARTS, graph_sizes, run_part

    values: dict[str, np.ndarray] = dict(case.inputs)
    parts = []
    for each in split_of(model.config.modalities):
        spec = each.of(model.config.modalities, graph_sizes(model))
        inputs = {tensor.name: values[tensor.name] for tensor in spec.inputs}
        output = spec.outputs[0].name
        calls: dict[str, Callable[[], np.ndarray]] = {
            REFERENCE: lambda spec=spec, inputs=inputs, output=output: run_part(model, spec, inputs)[output]
        }
        for key, engine in _engines(bundle, spec, keys, threads).items():
            calls[key] = lambda engine=engine, inputs=inputs, output=output: engine.run(inputs)[output]
        if (encoder := published.get(spec.name)) is not None:
            calls[OPTIMUM] = partial(encoder.run, inputs)
        answers, failures = first_answers(calls)
        taken = time_interleaved({key: calls[key] for key in answers}, min_seconds)
        forward, tensors = PARTS[spec.name].forward, {n: torch.from_numpy(a) for n, a in inputs.items()}
        parts.append(
            {
                "part": spec.name,
                "batch_size": case.batch_size,
                "seconds": case.seconds,
                "gflop": 1e-9 * count_flops(lambda f=forward, t=tensors: f(model, **t)),
                "failures": failures,
                "engines": with_speedups(
                    {
                        key: {
                            "latency": latency(seconds),
                            "throughput": throughput(seconds, case.batch_size),
                            "max_difference": None
                            if key == REFERENCE
                            else float(np.abs(answers[key] - answers[REFERENCE]).max()),
                        }
                        for key, seconds in taken.items()
                    }
                ),
            }
        )
        values |= run_part(model, spec, inputs)
    return parts


def _engines(bundle: Bundle, spec: GraphSpec, keys: Collection[str], threads: int) -> dict[str, Engine]:
    from mtab.engines.onnxruntime import OnnxRuntimeEngine

    engines: dict[str, Engine] = {}
    for graph in bundle.manifest.graphs:
        if graph.part == spec.name and (key := f"onnxruntime-{graph.precision}") in keys:
            engines[key] = OnnxRuntimeEngine(bundle.path(graph.file), "cpu", threads, graph.precision)
    if (graph := bundle.manifest.graph(spec.name, "fp32")) is not None:
        for precision in OPENVINO_PRECISIONS:
            if (key := f"openvino-{precision}") in keys:
                engines[key] = OpenVinoEngine(bundle.path(graph.file), "cpu", threads, precision)
    return engines
