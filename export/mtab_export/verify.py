"""A bundle's certificates measured again, on this machine; with PyTorch or without."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtab.bundle import Bundle, GraphEntry
from mtab.console import install_hint
from mtab.data import read_corpus, validate
from mtab.engines import run_in_sequence
from mtab.errors import EngineError
from mtab.graphs import FUSED, GraphSpec, split_of
from mtab.parity import Answers, answer_unbatched, budget_of, forward
from mtab.preprocess import Preprocessor
from mtab.progress import track
from mtab.reference import load_reference, referenced_utterances
from mtab.sample import Sample, read_sample
from mtab.types import Precision
from mtab_export.gate import Verdict, arithmetic, certify, open_graph
from mtab_export.pytorch import pytorch_model


@dataclass(frozen=True, slots=True)
class Check:
    """The fused graph of a precision, or its parts one after another (``split``), judged again.

    ``verdict`` is None, with the reason in ``skipped``, for what cannot be run here.
    """

    part: str
    precision: Precision
    verdict: Verdict | None
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class _Judged:
    """What is checked at once: graphs that are run one after another."""

    part: str
    precision: Precision
    specs: tuple[GraphSpec, ...]
    graphs: tuple[GraphEntry, ...]


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
        from mtab_train.run import open_run

        run = open_run(folder)
        if data_dir is None and run.data_dir is not None and dataset in (None, run.config.dataset):
            data_dir = run.data_dir
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
        return described, _checks(bundle, preprocess, sample, stored.answers(sample.utterances), device)
    reference = answer_unbatched(forward(model.run, preprocess), sample.features)
    return "PyTorch, run here", _checks(bundle, preprocess, sample, reference, device)


def _checks(
    bundle: Bundle, preprocess: Preprocessor, sample: Sample, reference: Answers, device: str
) -> Iterator[Check]:
    for judged in track(_judged(bundle), "verifying", "graphs"):
        precision, certificate = judged.precision, judged.graphs[0].certificate
        with tempfile.TemporaryDirectory() as scratch:
            try:
                engines = [
                    open_graph(bundle.path(graph.file), spec, precision, device, Path(scratch))
                    for graph, spec in zip(judged.graphs, judged.specs, strict=True)
                ]
            except EngineError as error:
                yield Check(judged.part, precision, None, str(error))
                continue
            except ModuleNotFoundError as error:
                module = (error.name or "").partition(".")[0]
                hint = install_hint(module, f"judging {precision} on {device}", "export")
                yield Check(judged.part, precision, None, hint)
                continue

            def run(inputs: dict[str, np.ndarray], engines: Sequence = engines) -> Answers:
                return run_in_sequence(engines, inputs)

            verdict = certify(
                forward(run, preprocess),
                reference,
                sample,
                bundle.config.labels,
                budget_of(bundle, precision, judged.graphs[0].part),
                certificate.batch_size,
                arithmetic(precision, device),
                bundle.config.deviations,
            )
            yield Check(judged.part, precision, verdict)


def _judged(bundle: Bundle) -> list[_Judged]:
    """Each fused graph, and each set of parts that is whole."""
    manifest, config = bundle.manifest, bundle.config
    found = []
    precisions: dict[Precision, None] = dict.fromkeys(graph.precision for graph in manifest.graphs)
    for precision in precisions:
        for part, specs in (("fused", (FUSED,)), ("split", split_of(config.modalities))):
            graphs = [manifest.graph(spec.name, precision) for spec in specs]
            present = tuple(graph for graph in graphs if graph is not None)
            if len(present) == len(specs):
                fixed = tuple(spec.of(config.modalities, config.sizes) for spec in specs)
                found.append(_Judged(part, precision, fixed, present))
    return found
