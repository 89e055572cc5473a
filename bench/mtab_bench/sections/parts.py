"""The parts of a model, each alone: in PyTorch, in the bundle's graphs, and as optimum exports encoders."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtab.bundle import Bundle
from mtab.engines.base import Engine
from mtab.engines.opening import openvino_graph
from mtab.engines.openvino import OpenVinoEngine
from mtab.graphs import GraphSpec, split_of
from mtab.timing import Timing
from mtab_bench.backends import OPENVINO_PRECISIONS, OPTIMUM, REFERENCE, Inputs
from mtab_bench.cases import Case
from mtab_bench.flops import count_flops
from mtab_bench.interleaving import Phase, first_answers, time_phases
from mtab_bench.optimum import PublishedEncoder
from mtab_bench.sections.samples import Timed

if TYPE_CHECKING:
    from mtab_train.model import MulTAB

MIN_SAMPLES = 6
"""Runs of each part that are timed, however long they take."""


@dataclass(frozen=True, slots=True)
class PartBackend:
    """A part on one backend. ``max_difference`` is that of its first output from PyTorch's."""

    timed: Timed
    max_difference: float | None
    share_of_matrix_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the model, on a batch of ``batch_size`` utterances of ``seconds``.

    ``gflop`` is its arithmetic; ``failures`` say why backends have no times.
    """

    part: str
    batch_size: int
    seconds: float
    gflop: float
    failures: dict[str, str]
    backends: dict[str, PartBackend]


def time_parts(
    bundle: Bundle,
    model: "MulTAB",
    case: Case,
    keys: Collection[str],
    published: Mapping[str, PublishedEncoder],
    threads: int,
    min_seconds: float,
) -> tuple[list[Part], list[Timing], bool]:
    """Each part, its times, and whether Ctrl-C came between; its input is what PyTorch makes of the case.

    ``keys`` are the backends whose whole model was timed: of these, those on the CPU that the bundle has the
    part's graph for. ``published`` are the encoders as optimum exports them, by part.
    """
    import torch

    from mtab_export.onnx_graph import PARTS, graph_sizes, run_part

    specs = [
        each.of(model.config.modalities, graph_sizes(model)) for each in split_of(model.config.modalities)
    ]
    parts: list[Part] = []
    timings: list[Timing] = []
    for number, spec in enumerate(specs):

        def inputs_of(
            whole: Inputs, spec: GraphSpec = spec, before: list[GraphSpec] = specs[:number]
        ) -> Inputs:
            values = dict(whole)
            for each in before:
                values |= run_part(model, each, {tensor.name: values[tensor.name] for tensor in each.inputs})
            return {tensor.name: values[tensor.name] for tensor in spec.inputs}

        inputs, output = inputs_of(case.inputs), spec.outputs[0].name
        calls: dict[str, Callable[[Inputs], np.ndarray]] = {
            REFERENCE: lambda given, spec=spec, output=output: run_part(model, spec, given)[output]
        }
        for key, engine in _engines(bundle, spec, keys, threads).items():
            calls[key] = lambda given, engine=engine, output=output: engine.run(given)[output]
        if (encoder := published.get(spec.name)) is not None:
            calls[OPTIMUM] = encoder.run
        answers, failures = first_answers(
            {key: lambda c=call, given=inputs: c(given) for key, call in calls.items()}
        )
        phases = (
            Phase(lambda item, of=inputs_of: of(case.new_lengths(item)), 1, MIN_SAMPLES, min_seconds),
            Phase(lambda _, inputs=inputs: inputs, 1, MIN_SAMPLES),
        )
        found, interrupted = time_phases({key: calls[key] for key in answers}, phases, f"timing {spec.name}")
        if not found:
            return parts, timings, interrupted
        timings += found[:1]
        forward, tensors = PARTS[spec.name].forward, {n: torch.from_numpy(a) for n, a in inputs.items()}
        parts.append(
            Part(
                part=spec.name,
                batch_size=case.batch_size,
                seconds=case.seconds,
                gflop=1e-9 * count_flops(lambda f=forward, t=tensors: f(model, **t)),
                failures=failures,
                backends={
                    key: PartBackend(
                        timed_of(found, key, case.batch_size),
                        None if key == REFERENCE else float(np.abs(answers[key] - answers[REFERENCE]).max()),
                    )
                    for key in answers
                },
            )
        )
        if interrupted:
            return parts, timings, True
    return parts, timings, False


def timed_of(timings: list[Timing], key: str, batch_size: int, speech: float | None = None) -> Timed:
    """A backend's times in the phases "new lengths" and, unless it was interrupted, "repeated lengths"."""
    new, *rest = timings
    known = key != REFERENCE and REFERENCE in new.seconds
    return Timed.of(
        new.samples(key),
        batch_size,
        speech,
        new.speedup(key, REFERENCE) if known else None,
        rest[0].samples(key) if rest else None,
    )


def _engines(bundle: Bundle, spec: GraphSpec, keys: Collection[str], threads: int) -> dict[str, Engine]:
    from mtab.engines.onnxruntime import OnnxRuntimeEngine

    engines: dict[str, Engine] = {}
    for graph in bundle.manifest.graphs:
        if graph.part == spec.name and (key := f"onnxruntime-{graph.precision}") in keys:
            engines[key] = OnnxRuntimeEngine(bundle.path(graph.file), "cpu", threads, graph.precision)
    for precision in OPENVINO_PRECISIONS:
        graph = openvino_graph(bundle, spec.name, precision)
        if graph is not None and (key := f"openvino-{precision}") in keys:
            engines[key] = OpenVinoEngine(bundle.path(graph.file), "cpu", threads, precision)
    return engines
