"""A bundle's certificates measured again, on this machine."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtab.bundle import Bundle
from mtab.data import read_corpus, validate
from mtab.engines import run_in_sequence
from mtab.errors import EngineError
from mtab.graphs import FUSED, split_of
from mtab.parity import Answers, answers_alone
from mtab.preprocess import Features, Preprocessor
from mtab.reference import load_reference, referenced_utterances
from mtab_export.gate import Sample, Verdict, arithmetic, judge, open_graph, read_sample
from mtab_export.pytorch import pytorch_model
from mtab_train.run import open_run


@dataclass(frozen=True, slots=True)
class Check:
    """The fused graph of a precision, or its parts one after another (``split``), judged again.

    ``verdict`` is None, with the reason in ``skipped``, for what cannot be run here.
    """

    part: str
    precision: str
    verdict: Verdict | None
    skipped: str | None = None


def verify_bundle(
    bundle: Bundle,
    dataset: str | None = None,
    data_dir: Path | None = None,
    checkpoint: Path | None = None,
    device: str = "cpu",
    columns: Mapping[str, str] | None = None,
) -> tuple[str, Iterator[Check]]:
    """Hold every graph of an opened bundle against PyTorch again, on the utterances of its certificates.

    Or on those of another corpus, ``dataset``, for which PyTorch and the checkpoint (the run folder
    ``checkpoint``, None: the one that the bundle lies in) must be here; without them the answers that the
    bundle stores are the reference. Returns what the reference is, and the checks as they are made.

    Raises `DataError` if the corpus is not there or has changed, `EngineError` if nothing can be compared.
    """
    stored = load_reference(bundle)
    model = missing = None
    try:
        folder, model = pytorch_model(bundle, checkpoint)
    except EngineError as error:
        missing = error
    else:
        run = open_run(folder)
        if data_dir is None and run.config.data_dir is not None and dataset in (None, run.config.dataset):
            data_dir = Path(run.config.data_dir)
            columns = run.config.columns if columns is None else columns
    if missing is not None and dataset is not None:
        raise EngineError(f"{missing}; expected both to compare on another corpus")
    if dataset is None and columns is None:
        columns = stored.columns
    corpus = validate(read_corpus(dataset or stored.dataset, data_dir, columns))
    utterances = corpus.utterances if dataset else referenced_utterances(stored, corpus)
    preprocess = Preprocessor.from_folder(bundle.folder)
    supported = bundle.config.supported_modalities
    sample = read_sample(corpus, utterances, preprocess, supported, len(stored.utterances))
    if model is None:
        described = f"PyTorch's answers at export, as stored ({missing})"
        return described, _checks(bundle, sample, stored.answers, device)
    reference = answers_alone(lambda features: model.run(preprocess.collate(features)), sample.features)
    return "PyTorch, run here", _checks(bundle, sample, reference, device)


def _checks(bundle: Bundle, sample: Sample, reference: Answers, device: str) -> Iterator[Check]:
    manifest = bundle.manifest
    for precision in dict.fromkeys(graph.precision for graph in manifest.graphs):
        for part, specs in (("fused", (FUSED,)), ("split", split_of(bundle.config.modalities))):
            entries = [manifest.graph(spec.name, precision) for spec in specs]
            graphs = [entry for entry in entries if entry is not None]
            if len(graphs) < len(specs):
                continue
            certificate = graphs[0].certificate
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    engines = [
                        open_graph(
                            bundle.path(graph.file),
                            spec.of(bundle.config.modalities, bundle.config.sizes),
                            precision,
                            device,
                            Path(scratch),
                        )
                        for graph, spec in zip(graphs, specs, strict=True)
                    ]
                except EngineError as error:
                    yield Check(part, precision, None, str(error))
                    continue

                def answer(features: Sequence[Features], engines: Sequence[Any] = engines) -> Answers:
                    return run_in_sequence(engines, sample.preprocess.collate(features))

                labels, computed = bundle.config.labels, arithmetic(precision, device)
                verdict = judge(
                    answer, reference, sample, labels, certificate.budget, certificate.batch_size, computed
                )
                yield Check(part, precision, verdict)
