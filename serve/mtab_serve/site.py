"""``mtab-export --target web``: a bundle as a static page that answers in the browser."""

import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from mtab import __version__, load
from mtab.bundle import Bundle, FileEntry, GraphEntry, file_entries
from mtab.config import to_dict
from mtab.errors import BundleError, EngineError, MtabError
from mtab.files import atomic_folder, refuse_existing, sha256, write_json
from mtab.graphs import BUDGETS, FUSED, graph_file
from mtab.limits import MAX_CHARACTERS, MAX_SECONDS
from mtab.memory import assumed_need
from mtab.model import Model
from mtab.preprocess import TOKENIZER_FILE
from mtab.text import Tokenizer
from mtab.types import Precision
from mtab_serve.npm import Package, contents
from mtab_serve.self_test import refusal_under_node, self_test

DESCRIPTION = "site.json"
"""What the page is told: the model, its files, and the hash of every file of the site."""

ORT = Package(
    "onnxruntime-web",
    "1.30.0",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
)
TOKENIZERS = Package(
    "@huggingface/tokenizers",
    "0.2.0",
    "sha512-LidMHe1FpcSYH4vcSjXooda34pC0M8m1gmDOv7SQi6Iv+ib1zX7J3sHBCC9/3FPCkn2k1b55FneVqMRxrr99pg==",
)
_WASM = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_WEBGPU = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_VENDORED = {
    ORT: [f"dist/{name}" for name in (*_WASM, *_WEBGPU)],
    TOKENIZERS: ["dist/tokenizers.min.mjs", "LICENSE"],
}

_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
    "worker-src 'self'; media-src blob:; img-src 'self' data:; base-uri 'none'; form-action 'none'"
)
_VENDOR, _BUNDLE, _WORKER = "vendor", "bundle", "service-worker.js"
# What names the rest by its hash, and what the server reads.
_APART = (DESCRIPTION, _WORKER, "_headers")
# WebAssembly addresses 4 GiB. The rest is for ONNX Runtime's own.
_MEMORY = 3 * 2**30
# Utterances that a graph is tried with, and those that the page tries it with again. The rounding of int8
# turns a difference of 1e-7 into one of 1e-4, but not for each of them.
_TRIED, _KEPT = 24, 2


def write_site(
    bundle: Bundle, out: Path, precision: Precision | None = None, *, overwrite: bool = False
) -> Iterator[str]:
    """Write a folder for any static server, whole or not at all, and say of it what there is to say.

    The page has the smallest graph of the whole model that answers in WebAssembly what the runtime answers of
    the same graph, within the budget of fp32: each is tried under Node.js. A graph whose ``precision`` is
    named may differ by the budget of fp16.

    Raises `BundleError` if the bundle has no graph of the whole model, or none that does; `MtabError` if
    ``out`` is in use, with ``overwrite`` only if it is no site of ours, and if npm's packages or Node.js
    cannot be had.
    """
    graphs = _candidates(bundle, precision)
    budget = BUDGETS["fp32" if precision is None else "fp16"]
    _refuse_foreign(out, overwrite)
    with atomic_folder(out, overwrite) as folder:
        _write_page(folder)
        _vendor(folder)
        for graph in graphs:
            try:
                model = load(bundle.folder, "cpu", engine="onnxruntime", precision=graph.precision)
            except EngineError as error:
                yield f"{graph.file}: left out: {error}"
                continue
            description = _write_model(folder, model)
            trial = description | {"self_test": self_test(model, folder, _TRIED, budget)}
            write_json(folder / DESCRIPTION, trial)
            reason = refusal_under_node(folder)
            if reason is None:
                break
            yield f"{graph.file}: left out: {reason}"
            shutil.rmtree(folder / _BUNDLE)
        else:
            found = ", ".join(graph.file for graph in graphs)
            expected = "one that answers in WebAssembly as in the runtime"
            raise BundleError(f"{bundle.folder}: holds {found}, expected {expected}")
        description["self_test"] = self_test(model, folder, _KEPT, budget)
        description["reasons"] = _copy_reasons(folder, bundle)
        first, later = _parts(folder, description)
        for kind, entries in (("files", first), ("later", later)):
            description[kind] = {name: to_dict(entry) for name, entry in entries.items()}
        write_json(folder / DESCRIPTION, description)
        _fill(folder / _WORKER, BUILD=sha256(folder / DESCRIPTION))
    loads = f"{_megabytes(first)} MB to load, {_megabytes(later)} MB more if asked for"
    yield f"{out}: {graph.file} ({graph.precision}); {loads}"


def _candidates(bundle: Bundle, precision: Precision | None) -> list[GraphEntry]:
    """The graphs of the whole model, the smallest first. Raises `BundleError` if there is none."""
    whole = [graph for graph in bundle.manifest.graphs if graph.part == FUSED.name]
    graphs = [graph for graph in whole if precision in (None, graph.precision)]
    if not graphs:
        listed = ", ".join(graph.precision for graph in whole) or "no graph of the whole model"
        wanted = "one" if precision is None else f"the whole model in {precision}"
        raise BundleError(f"{bundle.folder}: holds {listed}, expected {wanted}")
    return sorted(graphs, key=lambda graph: bundle.size(graph.file))


def _refuse_foreign(out: Path, overwrite: bool) -> None:
    """Refuse what is there, but for a site of ours that is to be replaced."""
    refuse_existing(out, overwrite)
    if out.is_dir() and any(out.iterdir()) and not (out / DESCRIPTION).is_file():
        raise MtabError(f"{out}: holds no {DESCRIPTION}, expected an earlier site to replace")


def _write_page(folder: Path) -> None:
    for source in (files("mtab_serve") / "web").iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    for name in ("index.html", "_headers"):
        _fill(folder / name, POLICY=_POLICY)


def _vendor(folder: Path) -> None:
    """Put in what the page needs of npm's packages, and their licences."""
    (folder / _VENDOR).mkdir()
    for package, names in _VENDORED.items():
        for name, content in contents(package, names).items():
            (folder / _VENDOR / Path(name).name).write_bytes(content)
    _fill(folder / "licenses.txt", ORT=ORT.version, TOKENIZERS=TOKENIZERS.version)


def _write_model(folder: Path, model: Model) -> dict[str, Any]:
    """Copy a model's graph and what it needs, and describe it for the page."""
    (folder / _BUNDLE).mkdir()
    bundle, tokenizer = model.bundle, model.preprocess.tokenizer
    return {
        "mtab": __version__,
        "onnxruntime_web": ORT.version,
        "title": bundle.manifest.training.title,
        "synthetic": bundle.manifest.training.synthetic,
        "labels": bundle.config.labels,
        "dimensions": to_dict(bundle.config)["dimensions"],
        "modalities": bundle.config.modalities,
        "supported_modalities": bundle.config.supported_modalities,
        "preprocessing": to_dict(model.preprocess.config),
        "limits": {"seconds": _most_seconds(bundle, model.graph), "characters": MAX_CHARACTERS},
        "graph": _copy_graph(folder, bundle, model.graph.file),
        "tokens": None if tokenizer is None else _copy_tokenizer(folder, bundle, tokenizer),
        "runtimes": {
            backend: {"module": f"{_VENDOR}/{module}", "binary": f"{_VENDOR}/{binary}"}
            for backend, (module, _, binary) in (("wasm", _WASM), ("webgpu", _WEBGPU))
        },
    }


def _copy_graph(folder: Path, bundle: Bundle, file: str, weights: str | None = None) -> dict[str, Any]:
    """Copy a graph, and the weights beside it where there are some: its own, or those that it reads."""
    weights = f"{weights or file}.data"
    found = [name for name in (file, weights) if name in bundle.manifest.files]
    for name in found:
        shutil.copyfile(bundle.path(name), folder / _BUNDLE / name)
    return {"file": f"{_BUNDLE}/{file}", "data": f"{_BUNDLE}/{weights}" if weights in found else None}


def _copy_tokenizer(folder: Path, bundle: Bundle, tokenizer: Tokenizer) -> dict[str, Any]:
    """Copy ``tokenizer.json``, and find the special tokens that it puts around a text."""
    shutil.copyfile(bundle.path(TOKENIZER_FILE), folder / _BUNDLE / TOKENIZER_FILE)
    ids, _ = tokenizer("a")
    special = (tokenizer.spans("a") == 0).all(axis=1)
    first = special.argmin()
    return {
        "file": f"{_BUNDLE}/{TOKENIZER_FILE}",
        "before": ids[:first].tolist(),
        "after": ids[first:][special[first:]].tolist(),
        "most": tokenizer.max_tokens,
    }


def _copy_reasons(folder: Path, bundle: Bundle) -> dict[str, Any] | None:
    """Copy the graph of reasons, where there is one that has attention over time."""
    entry = bundle.manifest.reasons
    if entry is None or entry.hop is None or "tab_attention" not in entry.outputs:
        return None
    return _copy_graph(folder, bundle, entry.file, graph_file(FUSED.name, "fp32")) | {"hop": entry.hop}


def _most_seconds(bundle: Bundle, graph: GraphEntry) -> int:
    """The longest clip, in whole seconds, that there is memory for."""
    need = graph.memory or assumed_need(max(bundle.config.hidden_sizes.values()))
    # The weights are there as a file, and as ONNX Runtime has them.
    room = _MEMORY - 2 * bundle.size(graph.file)
    return max((each for each in range(1, int(MAX_SECONDS) + 1) if need.size(1, each) <= room), default=0)


def _parts(folder: Path, description: dict[str, Any]) -> tuple[dict[str, FileEntry], dict[str, FileEntry]]:
    """The site's files that every visit needs, and those that one may ask for."""
    reasons = description["reasons"] or {}
    named = {reasons.get("file"), reasons.get("data")} - {description["graph"]["data"]}
    asked = named | {f"{_VENDOR}/{name}" for name in _WEBGPU}
    found = {name: entry for name, entry in file_entries(folder).items() if name not in _APART}
    first = {name: entry for name, entry in found.items() if name not in asked}
    return first, {name: entry for name, entry in found.items() if name in asked}


def _fill(path: Path, **values: str) -> None:
    """Put values in the places of a file that are marked by a dollar and a name in capitals."""
    text = path.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"${name}", value)
    path.write_text(text, encoding="utf-8")


def _megabytes(entries: dict[str, FileEntry]) -> str:
    return f"{sum(entry.size for entry in entries.values()) / 1e6:.1f}"
