"""From a run to a bundle, written only if its graph answers as PyTorch does on real utterances."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

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
)
from mtab.config import to_dict
from mtab.data import Corpus, Utterance, corpus_hash, read_corpus, validate
from mtab.data.reading import read_utterances
from mtab.engine import OnnxRuntimeEngine
from mtab.errors import BundleError, ConfigError, DataError
from mtab.files import atomic_folder, read_json, sha256, write_json
from mtab.graphs import FUSED, PROBABILITIES
from mtab.machine import describe_machine
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE, Features, Preprocessor
from mtab_export.onnx_graph import export_graph
from mtab_export.parity import measure_parity
from mtab_train.checkpoint import load_model
from mtab_train.model import MulTAB
from mtab_train.run import RESULTS, Run, run_corpus, run_parts

GRAPH_FILE = "model.onnx"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a graph may differ from PyTorch by, and how many utterances it is judged on."""

    max_difference: float = PROBABILITIES.atol
    min_agreement: float = 1.0
    utterances: int = 200


def export_bundle(
    run: Run,
    folder: Path,
    corpus: Corpus,
    utterances: Sequence[Utterance],
    opset: int = 18,
    budget: Budget = Budget(),
    overwrite: bool = False,
) -> Manifest:
    """Write the bundle of a run to ``folder``, judged on ``utterances`` of ``corpus``.

    Raises `BundleError`, and writes nothing, if the graph's answers differ by more than ``budget``;
    `ConfigError` for weights that are not numbers; `DataError` if no utterance can be used.
    """
    model = load_model(run)
    if broken := [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]:
        raise ConfigError(f"{run.weights}: {broken[0]!r} holds NaN or infinity, expected numbers")
    checkpoint = sha256(run.weights)
    with atomic_folder(folder, overwrite) as partial:
        for name in (CONFIG_FILE, TOKENIZER_FILE):
            if (run.folder / name).is_file():
                shutil.copy(run.folder / name, partial / name)
        config = BundleConfig(
            id2label={str(i): label for i, label in enumerate(run.model.labels)},
            modalities=run.model.modalities,
            supported_modalities=run.model.supported_modalities,
            embedding_size=run.model.fused_size,
        )
        write_json(partial / CONFIG, to_dict(config))
        metadata = {
            "mtab_version": mtab.__version__,
            "checkpoint_sha256": checkpoint,
            "labels": json.dumps(run.model.labels),
        }
        preprocess = Preprocessor.from_folder(partial)
        judged = _read(utterances, preprocess, run, budget.utterances)
        export_graph(model, partial / GRAPH_FILE, opset, metadata)
        parity = _judge(model, OnnxRuntimeEngine(partial / GRAPH_FILE), preprocess, judged, budget)
        machine = describe_machine()
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            checkpoint=Checkpoint(checkpoint),
            files=file_entries(partial),
            graphs={
                FUSED.name: GraphEntry(
                    GRAPH_FILE, "fp32", opset, parity | _provenance(corpus, [u for u, _ in judged])
                )
            },
            training=_training(run),
            versions=machine.pop("versions"),
            machine=machine,
        )
        write_json(partial / MANIFEST, to_dict(manifest))
    return manifest


def utterances_to_compare(
    run: Run, dataset: str | None = None, data_dir: Path | None = None
) -> tuple[Corpus, Sequence[Utterance]]:
    """The test part that the run was scored on, or all of another corpus.

    Raises `DataError` if the corpus is not there, or is not the one that the run was begun on.
    """
    if dataset is not None:
        corpus = validate(read_corpus(dataset, data_dir))
        return corpus, corpus.utterances
    if run.config.dataset is None:
        raise DataError(f"{run.folder}: was never trained, expected --dataset to compare on")
    corpus = run_corpus(run, data_dir)
    return corpus, run_parts(run, corpus)["test"]


def _read(
    utterances: Sequence[Utterance], preprocess: Preprocessor, run: Run, most: int
) -> list[tuple[Utterance, Features]]:
    """Those that the model can answer among ``most`` drawn evenly from all."""
    indices = np.linspace(0, len(utterances) - 1, min(len(utterances), most)).round().astype(int)
    drawn = tqdm([utterances[i] for i in indices], desc="reading", unit="utt", disable=None, leave=False)
    read = [
        (utterance, features)
        for utterance, features in read_utterances(drawn, preprocess, run.model.supported_modalities)
        if isinstance(features, Features)
    ]
    if not read:
        raise DataError(
            f"{run.folder}: none of {len(utterances)} utterances can be read, expected some to compare on"
        )
    return read


def _judge(
    model: MulTAB,
    engine: OnnxRuntimeEngine,
    preprocess: Preprocessor,
    judged: list[tuple[Utterance, Features]],
    budget: Budget,
) -> dict[str, Any]:
    parity = measure_parity(
        lambda features: model.run(preprocess.collate(features)),
        lambda features: engine.run(preprocess.collate(features)),
        [features for _, features in judged],
    )
    names = [utterance.id for utterance, _ in judged]
    failures = parity.failures(budget.max_difference, budget.min_agreement, names)
    if failures:
        found = "; ".join(failures)
        raise BundleError(f"{GRAPH_FILE} does not answer as PyTorch does: {found}; nothing written")
    described = to_dict(parity)
    for key in ("worst", "worst_batched", "worst_invariance"):
        described[key] = names[described[key]]
    for key in ("changed", "near_ties"):
        described[key] = [names[i] for i in described[key]]
    return described


def _provenance(corpus: Corpus, utterances: Sequence[Utterance]) -> dict[str, Any]:
    return {"corpus": corpus.title, "corpus_sha256": corpus_hash(tuple(utterances))}


def _training(run: Run) -> dict[str, Any]:
    """What a report must say beside any figure of this model."""
    config = run.config
    results = read_json(run.folder / RESULTS) if (run.folder / RESULTS).is_file() else {}
    return {
        "dataset": config.dataset,
        "title": config.title,
        "synthetic": config.synthetic,
        "preset": config.preset,
        "folds": config.folds,
        "fold": config.fold,
        "protocol": run.train.protocol,
        "seed": run.train.seed,
        "selected_epoch": results.get("selected_epoch"),
        "test": results.get("test"),
    }
