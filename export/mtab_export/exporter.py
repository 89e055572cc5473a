"""From a run to a bundle of graphs, each written only if it answers as PyTorch does on real utterances."""

import dataclasses
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import mtab
from mtab.bundle import (
    CONFIG,
    FORMAT_VERSION,
    MANIFEST,
    BundleConfig,
    Checkpoint,
    GraphEntry,
    Manifest,
    file_entries,
    open_bundle,
)
from mtab.certificate import Certificate
from mtab.config import from_dict, to_dict
from mtab.data import Corpus, Utterance, read_corpus, validate
from mtab.errors import BundleError, ConfigError, DataError
from mtab.files import atomic_folder, read_json, refuse_existing, sha256, write_json
from mtab.graphs import BUDGETS, FUSED, Budget, GraphSpec, graph_file, split_of
from mtab.machine import describe_machine, instruction_sets, saturates_int8
from mtab.parity import Answer, answers_alone, answers_in_batches, compare
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE, Features, Preprocessor
from mtab.provenance import Scores, Training
from mtab.reference import REFERENCE, make_reference
from mtab.types import Precision
from mtab_export.bisect import Culprit, Trial, bisect, cure
from mtab_export.chain import Chain
from mtab_export.gate import Engine, Sample, Verdict, arithmetic, judge, open_graph, read_sample
from mtab_export.int8 import quantize, quantize_static
from mtab_export.onnx_graph import export_graph, graph_sizes
from mtab_export.precision import lower
from mtab_export.publish import publish
from mtab_train.calibration import read_calibration
from mtab_train.checkpoint import load_model
from mtab_train.run import RESULTS, Run, run_corpus, run_parts

DEFAULT_OPSET = 18
BF16_OPSET = 22
"""The first in which ONNX allows a convolution of bfloat16."""

CALIBRATION_UTTERANCES = 64


@dataclass(frozen=True, slots=True)
class Options:
    """What to export, and what it is judged by.

    ``opset`` None: 18, or what a precision needs. ``budgets`` replace those of `mtab.graphs.BUDGETS`;
    ``fp32_nodes`` are patterns of node names that lower precisions leave in float32, and ``auto_islands``
    finds more of them for a graph that is over budget. ``reduce_range`` None: as this processor needs it.
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

    def budget(self, precision: Precision) -> Budget:
        """What a graph of ``precision`` may cost."""
        return self.budgets.get(precision, BUDGETS[precision])

    def opset_of(self, precision: Precision) -> int:
        """The opset of a graph of ``precision``. Raises `ConfigError` if that chosen does not do."""
        if precision == "bf16" and self.opset not in (None, BF16_OPSET):
            raise ConfigError(f"opset {self.opset}: has no convolution of bf16, expected {BF16_OPSET}")
        return self.opset or (BF16_OPSET if precision == "bf16" else DEFAULT_OPSET)


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


@dataclass(frozen=True, slots=True)
class Export:
    """What an export did: the bundle's manifest, and everything that was judged, written or not."""

    manifest: Manifest
    outcomes: tuple[Outcome, ...]


def export_bundle(
    run: Run,
    folder: Path,
    corpus: Corpus,
    utterances: Sequence[Utterance],
    options: Options = Options(),
    calibration: Sequence[Utterance] = (),
    overwrite: bool = False,
) -> Export:
    """Write the graphs of a run to the bundle ``folder``, each judged on ``utterances`` of ``corpus``.

    A bundle of the same checkpoint that is there gets the graphs beside those that it has. ``calibration``
    are the utterances that fixed int8 ranges are taken from.

    A graph whose answers are over budget is left out, and its `Outcome` says why. Raises `GateError`, and
    writes nothing, if none is within budget; `BundleError` if ``folder`` holds a damaged bundle or another
    checkpoint's and ``overwrite`` was not given; `ConfigError` for weights that are not numbers; `DataError`
    if no utterance can be used.
    """
    for precision in options.precisions:
        options.opset_of(precision)
    model = load_model(run)
    if broken := [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]:
        raise ConfigError(f"{run.weights}: {broken[0]!r} holds NaN or infinity, expected numbers")
    checkpoint = read_checkpoint(run)
    existing = None if overwrite else existing_bundle(folder, checkpoint)
    with atomic_folder(folder, overwrite or existing is not None) as partial:
        if existing is None:
            _describe(run, graph_sizes(model), partial)
        else:
            for name in existing.files:
                # Not linked: ONNX takes weights with a second hard link for an attack.
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(folder / name, partial / name)
        preprocess = Preprocessor.from_folder(partial)
        supported = run.model.supported_modalities
        sample = read_sample(corpus, utterances, preprocess, supported, options.utterances)
        ranges: Sequence[Features] = ()
        if "int8-static" in options.precisions:
            ranges = read_sample(corpus, calibration, preprocess, supported, CALIBRATION_UTTERANCES).features
        metadata = {
            "mtab_version": mtab.__version__,
            "checkpoint_sha256": checkpoint.sha256,
            "labels": json.dumps(run.model.labels),
        }
        graphs = {} if existing is None else {(g.part, g.precision): g for g in existing.graphs}
        with tempfile.TemporaryDirectory(dir=partial) as scratch:
            exporter = _Exporter(
                Chain(model, preprocess), sample, ranges, options, metadata, graphs, partial, Path(scratch)
            )
            outcomes, sequences = exporter.export()
        if not any(outcome.passed for outcome in outcomes):
            raise GateError(outcomes)
        reference = make_reference(corpus, sample.utterances, **exporter.reference)
        write_json(partial / REFERENCE, to_dict(reference))
        machine = describe_machine()
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            checkpoint=checkpoint,
            files=file_entries(partial),
            graphs=tuple(graphs.values()),
            training=_training(run),
            versions=machine.pop("versions"),
            machine=machine,
            engines=() if existing is None else existing.engines,
            sequences=({} if existing is None else existing.sequences) | sequences,
        )
        manifest = publish(partial, manifest)
    return Export(manifest, outcomes)


class GateError(BundleError):
    """Nothing was written, because no graph is within its budget; ``outcomes`` are what was judged."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        found = "; ".join(
            f"{o.part} {o.precision}: {failure}" for o in outcomes for failure in o.verdict.failures
        )
        super().__init__(f"no graph answers as PyTorch does ({found}); nothing written")
        self.outcomes = tuple(outcomes)


def read_checkpoint(run: Run) -> Checkpoint:
    """What identifies the model of a run, as it is now."""
    calibration = read_calibration(run.folder)
    return Checkpoint(sha256(run.weights), 1.0 if calibration is None else calibration.temperature)


def existing_bundle(folder: Path, checkpoint: Checkpoint) -> Manifest | None:
    """The manifest of the bundle in ``folder``, to which graphs of ``checkpoint`` may be added.

    None if the folder is empty or not there. Raises `BundleError` if it holds a bundle of another checkpoint
    or a damaged one, `MtabError` if it holds something else.
    """
    if not (folder / MANIFEST).is_file():
        refuse_existing(folder)
        return None
    manifest = open_bundle(folder).manifest
    if (there := manifest.checkpoint) != checkpoint:
        found, expected = (
            f"{c.sha256[:12]}… at temperature {c.temperature:.4g}" for c in (there, checkpoint)
        )
        raise BundleError(
            f"{folder}: holds the graphs of checkpoint {found}, expected {expected}; "
            "choose another folder or give --overwrite"
        )
    return manifest


class _Exporter:
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
        self.reference = answers_alone(chain.answer({}), sample.features)

    def export(self) -> tuple[tuple[Outcome, ...], dict[Precision, Certificate]]:
        """Every graph that was asked for, and the certificates of the parts in sequence, by precision."""
        outcomes: list[Outcome] = []
        sequences: dict[Precision, Certificate] = {}
        model = self.chain.model
        for precision in self.options.precisions:
            if self.options.parts != "split":
                fused = FUSED.of(model.config.modalities, graph_sizes(model))
                outcomes.append(self._graph(fused, precision)[0])
            if self.options.parts != "fused":
                split = [self._graph(spec, precision) for spec in self.chain.parts]
                outcomes += [outcome for outcome, _ in split]
                if all(outcome.passed for outcome, _ in split):
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
            lower(source, target, precision, nodes)

    def _trial(self, spec: GraphSpec, precision: Precision, source: Path, verdict: Verdict) -> Trial:
        """A graph over budget, to be taken apart on the utterances that it answered worst."""
        certificate, names = verdict.certificate, self.sample.names
        worst = [certificate.worst, certificate.worst_batched, certificate.worst_invariance]
        chosen = [names.index(name) for name in dict.fromkeys([*worst, *certificate.changed[:1]])]
        features = [self.sample.features[i] for i in chosen]
        expected = {name: rows[chosen] for name, rows in self.reference.items()}

        def measure(path: Path) -> float:
            kind = "fp32" if path == source else precision
            answer = self._answer({spec.name: self._engine(spec, kind, path)})
            found = compare(
                expected, answers_alone(answer, features), answers_in_batches(answer, features), len(features)
            )
            return max(found.max_probability_difference, found.max_batched_difference)

        return Trial(
            source,
            lambda path, nodes: self._make(precision, source, path, nodes),
            measure,
            [self.chain.values([each], {}) for each in features],
            self.options.budget(precision).max_difference,
            self.scratch,
        )

    def _engine(self, spec: GraphSpec, precision: Precision, path: Path) -> Engine:
        return open_graph(path, spec, precision, self.options.device, self.scratch)

    def _judge(self, precision: Precision, engines: Mapping[str, Engine]) -> Verdict:
        return judge(
            self._answer(engines),
            self.reference,
            self.sample,
            self.chain.model.config.labels,
            self.options.budget(precision),
            self.options.batch_size,
            arithmetic(precision, self.options.device),
        )

    def _answer(self, engines: Mapping[str, Engine]) -> Answer:
        if FUSED.name in engines:
            return self.sample.answer(engines[FUSED.name])
        return self.chain.answer(engines)


def utterances_to_compare(
    run: Run,
    dataset: str | None = None,
    data_dir: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> tuple[Corpus, Sequence[Utterance]]:
    """The test part that the run was scored on, or all of another corpus.

    Raises `DataError` if the corpus is not there, or is not the one that the run was begun on.
    """
    if dataset is not None:
        corpus = validate(read_corpus(dataset, data_dir, columns))
        return corpus, corpus.utterances
    if run.config.dataset is None:
        raise DataError(f"{run.folder}: was never trained, expected --dataset to compare on")
    corpus = run_corpus(run, data_dir, columns)
    return corpus, run_parts(run, corpus).test


def utterances_to_calibrate(
    run: Run,
    calibration_data: Path | None = None,
    data_dir: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> Sequence[Utterance]:
    """What fixed int8 ranges are taken from: the run's training part, never what a graph is judged on.

    Or all of the corpus in ``calibration_data``, which has the layout of the run's. Raises `DataError` if it
    is not there, or the run was never trained and names none.
    """
    if run.config.dataset is None:
        raise DataError(f"{run.folder}: was never trained, so that nothing gives ranges to int8 for TensorRT")
    if calibration_data is not None:
        own = run.config.columns if columns is None else columns
        return validate(read_corpus(run.config.dataset, calibration_data, own)).utterances
    return run_parts(run, run_corpus(run, data_dir, columns)).training


def without_existing(run: Run, folder: Path, options: Options, overwrite: bool) -> Options | None:
    """The options without the precisions that ``folder`` has of this checkpoint; None if none is left.

    Raises `BundleError` as `existing_bundle`.
    """
    existing = None if overwrite else existing_bundle(folder, read_checkpoint(run))
    if existing is None:
        return options
    whole = () if options.parts == "split" else (FUSED,)
    parts = () if options.parts == "fused" else split_of(run.model.modalities)
    left = tuple(
        precision
        for precision in options.precisions
        if not all(existing.graph(spec.name, precision) for spec in (*whole, *parts))
    )
    return dataclasses.replace(options, precisions=left) if left else None


def _describe(run: Run, sizes: Mapping[str, int], folder: Path) -> None:
    """Write what a bundle holds beside its graphs."""
    for name in (CONFIG_FILE, TOKENIZER_FILE):
        if (run.folder / name).is_file():
            shutil.copy(run.folder / name, folder / name)
    config = BundleConfig(
        id2label={str(i): label for i, label in enumerate(run.model.labels)},
        modalities=run.model.modalities,
        supported_modalities=run.model.supported_modalities,
        embedding_size=run.model.fused_size,
        hidden_sizes={modality: sizes[f"{modality}_hidden"] for modality in run.model.modalities},
    )
    write_json(folder / CONFIG, to_dict(config))


def _files(graph: Path) -> tuple[Path, Path]:
    """A graph's file and that of its weights."""
    return graph, graph.with_name(f"{graph.name}.data")


def _training(run: Run) -> Training:
    """What a report must say beside any figure of this model."""
    path = run.folder / RESULTS
    results = read_json(path) if path.is_file() else {}
    return Training(
        title=run.config.title,
        synthetic=run.config.synthetic,
        preset=run.config.preset,
        protocol=run.train.protocol,
        seed=run.train.seed,
        dataset=run.config.dataset,
        columns=run.config.columns,
        folds=run.config.folds,
        fold=run.config.fold,
        selected_epoch=results.get("selected_epoch"),
        test=from_dict(Scores, results["test"], path) if "test" in results else None,
        calibration=read_calibration(run.folder),
    )
