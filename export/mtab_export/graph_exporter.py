"""A model's graphs: each written, judged, and kept only if it answers as PyTorch does."""

import dataclasses
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtab.bundle import GraphEntry
from mtab.certificate import Certificate
from mtab.graphs import FUSED, GraphSpec, graph_file
from mtab.machine import instruction_sets, saturates_int8
from mtab.parity import Forward, answer_unbatched, forward, measure_parity
from mtab.preprocess import Features
from mtab.progress import progress
from mtab.sample import Sample
from mtab.types import Precision
from mtab_export.bisect import Culprit, Trial, bisect, cure
from mtab_export.chain import Chain
from mtab_export.gate import Engine, Verdict, arithmetic, certify, open_graph
from mtab_export.int8 import quantize, quantize_static
from mtab_export.memory import memory_need
from mtab_export.onnx_graph import export_graph, graph_sizes
from mtab_export.options import Options
from mtab_export.precision import convert


@dataclass(frozen=True, slots=True)
class Outcome:
    """A graph that was judged, or, as part ``split``, the parts of a precision one after another.

    ``size`` is in bytes, ``seconds`` what writing it took; ``culprits`` are where the error of a graph that
    was over budget came from, ``fp32_nodes`` the patterns that were left in float32.
    """

    part: str
    precision: Precision
    size: int
    seconds: float
    verdict: Verdict
    fp32_nodes: tuple[str, ...] = ()
    culprits: tuple[Culprit, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it is within budget, and so in the bundle."""
        return not self.verdict.failures


class GraphExporter:
    """Writes the graphs of one model to ``scratch``, judges them, and moves to ``folder`` what passes.

    ``graphs`` are those that the bundle has, by part and precision.
    """

    def __init__(
        self,
        chain: Chain,
        sample: Sample,
        ranges: Sequence[Features],
        options: Options,
        metadata: dict[str, str],
        graphs: dict[tuple[str, str], GraphEntry],
        folder: Path,
        scratch: Path,
    ) -> None:
        self.chain = chain
        self.sample = sample
        self.ranges = ranges
        self.options = options
        self.metadata = metadata
        self.graphs = graphs
        self.folder = folder
        self.scratch = scratch
        saturates = saturates_int8(platform.machine(), instruction_sets())
        self.reduce_range = saturates if options.reduce_range is None else options.reduce_range
        self.reference = answer_unbatched(chain.forward({}), sample.features)

    def export(self) -> tuple[tuple[Outcome, ...], dict[Precision, Certificate]]:
        """Every graph that was asked for, and the certificates of the parts in sequence, by precision."""
        outcomes: list[Outcome] = []
        sequences: dict[Precision, Certificate] = {}
        model = self.chain.model
        fused = (
            [] if self.options.parts == "split" else [FUSED.of(model.config.modalities, graph_sizes(model))]
        )
        parts = [] if self.options.parts == "fused" else self.chain.parts
        graphs = len(self.options.precisions) * (len(fused) + len(parts))
        with progress("exporting", graphs, "graphs") as shown:

            def export(spec: GraphSpec, precision: Precision) -> tuple[Outcome, Engine]:
                shown.describe(f"exporting {spec.name} {precision}")
                exported = self._graph(spec, precision)
                shown.update()
                return exported

            for precision in self.options.precisions:
                outcomes += [export(spec, precision)[0] for spec in fused]
                split = [export(spec, precision) for spec in parts]
                outcomes += [outcome for outcome, _ in split]
                if split and all(outcome.passed for outcome, _ in split):
                    sequence = self._sequence(precision, split)
                    outcomes.append(sequence)
                    if sequence.passed:
                        sequences[precision] = sequence.verdict.certificate
        return tuple(outcomes), sequences

    def _graph(self, spec: GraphSpec, precision: Precision) -> tuple[Outcome, Engine]:
        """Write, judge and keep one graph; the engine is the one that it was judged by."""
        begun = time.perf_counter()
        source = self._source(spec, self.options.opset_of(precision))
        path, nodes = source, ()
        if precision != "fp32":
            path, nodes = self.scratch / graph_file(spec.name, precision), self.options.fp32_nodes
            self._make(precision, source, path, nodes)
        seconds = time.perf_counter() - begun
        engine = self._engine(spec, precision, path)
        verdict = self._judge(precision, {spec.name: engine})
        culprits: tuple[Culprit, ...] = ()
        if verdict.failures and precision != "fp32":
            trial = self._trial(spec, precision, source, verdict)
            culprits = tuple(bisect(trial, nodes))
            if self.options.auto_islands:
                nodes = cure(trial, nodes, culprits)
                self._make(precision, source, path, nodes)
                engine = self._engine(spec, precision, path)
                verdict = self._judge(precision, {spec.name: engine})
        size = sum(file.stat().st_size for file in _files(path))
        verdict = dataclasses.replace(
            verdict, certificate=dataclasses.replace(verdict.certificate, export_seconds=seconds)
        )
        outcome = Outcome(spec.name, precision, size, seconds, verdict, nodes, culprits)
        if outcome.passed:
            for file in _files(path):
                file.replace(self.folder / file.name)
            self.graphs[spec.name, precision] = GraphEntry(
                part=spec.name,
                precision=precision,
                file=path.name,
                opset=self.options.opset_of(precision),
                certificate=verdict.certificate,
                fp32_nodes=nodes,
                reduce_range=self.reduce_range if precision == "int8" else None,
                memory=memory_need(self.chain.model.config, self.folder / path.name),
            )
        return outcome, engine

    def _sequence(self, precision: Precision, split: Sequence[tuple[Outcome, Engine]]) -> Outcome:
        """Judge the parts of a precision one after another; over budget they leave the bundle again."""
        verdict = self._judge(precision, {outcome.part: engine for outcome, engine in split})
        size, seconds = sum(o.size for o, _ in split), sum(o.seconds for o, _ in split)
        if verdict.failures:
            for outcome, _ in split:
                for file in _files(self.folder / self.graphs.pop((outcome.part, precision)).file):
                    file.unlink()
        return Outcome("split", precision, size, seconds, verdict)

    def _source(self, spec: GraphSpec, opset: int) -> Path:
        """The float32 graph of a part: the bundle's own, or one that goes no further than ``scratch``."""
        entry = self.graphs.get((spec.name, "fp32"))
        if entry is not None and entry.opset == opset:
            return self.folder / entry.file
        path = self.scratch / f"opset{opset}" / graph_file(spec.name, "fp32")
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            metadata = self.metadata | {"part": spec.name, "precision": "fp32"}
            export_graph(self.chain.model, path, opset, metadata, spec)
        return path

    def _make(self, precision: Precision, source: Path, target: Path, nodes: Sequence[str]) -> None:
        """Write the float32 graph ``source`` in a lower precision, but for ``nodes``."""
        if precision == "int8":
            quantize(source, target, self.reduce_range, nodes)
        elif precision == "int8-static":
            batches = (self.chain.values([features], {}) for features in self.ranges)
            quantize_static(source, target, batches, nodes)
        elif precision != "fp32":
            convert(source, target, precision, nodes)

    def _trial(self, spec: GraphSpec, precision: Precision, source: Path, verdict: Verdict) -> Trial:
        """A graph over budget, to be taken apart on the utterances that it answered worst."""
        certificate, names = verdict.certificate, self.sample.names
        worst = [certificate.worst, certificate.worst_batched, certificate.worst_invariance]
        if (moved := certificate.dimensions) is not None:
            worst += [moved.worst, moved.worst_batched, moved.worst_invariance]
        chosen = [names.index(name) for name in dict.fromkeys([*worst, *certificate.changed[:1]])]
        features = [self.sample.features[i] for i in chosen]
        budget = self.options.budget(precision)
        expected = {name: rows[chosen] for name, rows in self.reference.items()}

        def measure(path: Path) -> float:
            kind = "fp32" if path == source else precision
            answer = self._forward({spec.name: self._engine(spec, kind, path)})
            found = measure_parity(
                expected, answer, features, budget, len(features), deviations=self.chain.model.deviations
            )
            errors = [found.max_probability_difference, found.max_batched_difference]
            if (moved := found.dimensions) is not None:
                # As much of the probabilities' budget, which the trial is held to, as it takes of its own.
                scale = budget.max_difference / budget.max_dimension_difference
                errors += [moved.max_difference * scale, moved.max_batched_difference * scale]
            return float(np.max(errors))

        return Trial(
            source,
            lambda path, nodes: self._make(precision, source, path, nodes),
            measure,
            [self.chain.values([each], {}) for each in features],
            budget.max_difference,
            self.scratch,
        )

    def _engine(self, spec: GraphSpec, precision: Precision, path: Path) -> Engine:
        return open_graph(path, spec, precision, self.options.device, self.scratch)

    def _judge(self, precision: Precision, engines: Mapping[str, Engine]) -> Verdict:
        return certify(
            self._forward(engines),
            self.reference,
            self.sample,
            self.chain.model.config.labels,
            self.options.budget(precision),
            self.options.batch_size,
            arithmetic(precision, self.options.device),
            self.chain.model.deviations,
        )

    def _forward(self, engines: Mapping[str, Engine]) -> Forward:
        if FUSED.name in engines:
            return forward(engines[FUSED.name].run, self.chain.preprocess)
        return self.chain.forward(engines)


def _files(graph: Path) -> tuple[Path, Path]:
    """A graph's file and that of its weights."""
    return graph, graph.with_name(f"{graph.name}.data")
