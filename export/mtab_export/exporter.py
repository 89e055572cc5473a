"""From a run to a bundle of graphs, each written only if it answers as PyTorch does on real utterances."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mtab
from mtab.bundle import (
    CONFIG,
    FORMAT_VERSION,
    MANIFEST,
    BundleConfig,
    Checkpoint,
    DimensionEntry,
    Manifest,
    file_entries,
    open_bundle,
)
from mtab.config import from_dict, to_dict
from mtab.data import Corpus, Utterance
from mtab.data.clips import CLIPS
from mtab.errors import BundleError, ConfigError
from mtab.files import atomic_folder, read_json, refuse_existing, sha256, write_json
from mtab.graphs import FUSED, split_of
from mtab.machine import describe_machine
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE, Features, Preprocessor
from mtab.provenance import Scores, Training
from mtab.reference import REFERENCE, make_reference
from mtab.sample import read_sample
from mtab_export.chain import Chain
from mtab_export.graph_exporter import GraphExporter, Outcome
from mtab_export.onnx_graph import graph_sizes
from mtab_export.options import Options
from mtab_export.publish import publish
from mtab_export.reasons import ReasonsOutcome, export_reasons
from mtab_train.calibration import read_calibration
from mtab_train.checkpoint import load_model
from mtab_train.model import MulTAB
from mtab_train.run import RESULTS, Run

CALIBRATION_UTTERANCES = 64
DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class Export:
    """What an export did: the bundle's manifest, and everything that was judged, written or not.

    ``reasons`` is None where no whole float32 graph was written, or the model has no attention to show.
    """

    manifest: Manifest
    outcomes: tuple[Outcome, ...]
    reasons: ReasonsOutcome | None = None


def export_bundle(
    run: Run,
    folder: Path,
    corpus: Corpus,
    utterances: Sequence[Utterance],
    options: Options = DEFAULTS,
    calibration: Sequence[Utterance] = (),
    overwrite: bool = False,
) -> Export:
    """Write the graphs of a run to the bundle ``folder``, each judged on ``utterances`` of ``corpus``.

    A bundle of the same checkpoint that is there gets the graphs beside those that it has. ``calibration``
    are the utterances that fixed int8 ranges are taken from.

    A graph whose answers are over budget is left out, and its `Outcome` says why. Beside the whole float32
    graph goes the one of reasons, judged in the same way: `mtab_export.reasons`. Raises `GateError`, and
    writes nothing, if none is within budget; `BundleError` if ``folder`` holds a damaged bundle or another
    checkpoint's and ``overwrite`` was not given; `ConfigError` for weights that are not numbers, and for a
    run whose training has not ended unless the options take one that is ``unfinished``, or with a head for
    each of several corpora; `DataError` if no utterance can be used.
    """
    for precision in options.precisions:
        options.opset_of(precision)
    if run.config.dataset is not None and not (run.folder / RESULTS).is_file() and not options.unfinished:
        raise ConfigError(
            f"{run.folder}: its training has not ended (no {RESULTS}), expected a finished run; go on with "
            f"mtab-train fit --resume {run.folder}, or give --unfinished for its best epoch so far"
        )
    if run.model.classifier_heads == "corpus":
        raise ConfigError(
            f"{run.folder}: has a head for each of several corpora, expected one; mtab-train fit --init-from "
            f"{run.folder} trains it on the corpus that counts"
        )
    model = load_model(run)
    if broken := [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]:
        raise ConfigError(f"{run.weights}: {broken[0]!r} holds NaN or infinity, expected numbers")
    checkpoint = read_checkpoint(run)
    existing = None if overwrite else existing_bundle(folder, checkpoint)
    with atomic_folder(folder, overwrite or existing is not None) as partial:
        if existing is None:
            _describe(run, model, partial)
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
            exporter = GraphExporter(
                Chain(model, preprocess), sample, ranges, options, metadata, graphs, partial, Path(scratch)
            )
            outcomes, sequences = exporter.export()
        if not any(outcome.passed for outcome in outcomes):
            raise GateError(outcomes)
        entry, reasons = None if existing is None else existing.reasons, None
        if any((each.part, each.precision, each.passed) == (FUSED.name, "fp32", True) for each in outcomes):
            reasons = export_reasons(model, preprocess, sample, options.batch_size, partial)
            entry = None if reasons is None or reasons.failures else reasons.entry
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
            reasons=entry,
        )
        manifest = publish(partial, manifest)
    return Export(manifest, outcomes, reasons)


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


def with_base(run: Run, folder: Path, options: Options, overwrite: bool) -> Options:
    """The options with fp32 before all else, unless ``folder`` has it: the graph that others expect to find.

    Raises `BundleError` as `existing_bundle`.
    """
    if "fp32" in options.precisions:
        return options
    whole = dataclasses.replace(options, precisions=("fp32",))
    if without_existing(run, folder, whole, overwrite) is None:
        return options
    return dataclasses.replace(options, precisions=("fp32", *options.precisions))


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


def _describe(run: Run, model: MulTAB, folder: Path) -> None:
    """Write what a bundle holds beside its graphs."""
    sizes = graph_sizes(model)
    for name in (CONFIG_FILE, TOKENIZER_FILE, CLIPS):
        if (run.folder / name).is_file():
            shutil.copy(run.folder / name, folder / name)
    config = BundleConfig(
        id2label={str(i): label for i, label in enumerate(run.model.labels)},
        modalities=run.model.modalities,
        supported_modalities=run.model.supported_modalities,
        embedding_size=run.model.embedding_size,
        hidden_sizes={modality: sizes[f"{modality}_hidden"] for modality in run.model.modalities},
        dimensions=tuple(DimensionEntry(name, std) for name, std in model.deviations.items()),
        statistics_size=sizes.get("statistics", 0),
        statistics_embedding_size=run.model.embedding_size - run.model.fused_size,
    )
    write_json(folder / CONFIG, to_dict(config))


def _training(run: Run) -> Training:
    """What a report must say beside any figure of this model."""
    path = run.folder / RESULTS
    results = read_json(path) if path.is_file() else {}
    return Training(
        title=run.config.title,
        synthetic=run.config.synthetic,
        preset=run.config.preset,
        protocol=run.train.protocol,
        finished=run.config.dataset is None or path.is_file(),
        seed=run.train.seed,
        dataset=run.config.dataset,
        columns=run.config.columns,
        folds=run.config.folds,
        fold=run.config.fold,
        selected_epoch=results.get("selected_epoch"),
        test=from_dict(Scores, results["test"], path) if "test" in results else None,
        calibration=read_calibration(run.folder),
    )
