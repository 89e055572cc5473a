"""A bundle: the folder that holds everything a deployed model needs, and proof of what it does.

``config.json`` (labels and modalities), ``preprocessor_config.json``, ``tokenizer.json``, the graphs, and
``manifest.json`` with the SHA-256 of every other file and the parity measured at export.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mtab.certificate import AttentionCertificate, Certificate
from mtab.config import from_dict, load_config
from mtab.errors import BundleError
from mtab.files import read_json, sha256
from mtab.hash_cache import HashCache
from mtab.memory import MemoryNeed
from mtab.provenance import Training
from mtab.types import Dimension, Modality, Part, Precision

FORMAT_VERSION = 2
CONFIG, MANIFEST = "config.json", "manifest.json"

_COMBINATIONS = (("audio", "text"), ("audio",), ("text",))
"""What a model can answer from, each in the order in which `mtab.preprocess.Features` names it."""


@dataclass(frozen=True, slots=True)
class DimensionEntry:
    """A dimension that the model answers, and the standard deviation of its ratings in training.

    Both are in the corpus's own units.
    """

    name: Dimension
    std: float

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ValueError(f"{self.name} has std {self.std}, expected more than 0")


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """``config.json``: what the model answers, and from what.

    ``id2label`` names class i under the key ``"i"``; ``supported_modalities`` are the combinations that the
    model was trained to answer from; ``hidden_sizes`` are the widths of the encoders, by modality;
    ``dimensions`` are those of the graph's output of this name, in its order. ``statistics_size`` is how many
    the light audio encoder takes of an utterance, ``statistics_embedding_size`` how wide their part of the
    embedding is; 0 with other encoders.
    """

    id2label: dict[str, str]
    modalities: tuple[Modality, ...]
    supported_modalities: tuple[tuple[Modality, ...], ...]
    embedding_size: int
    hidden_sizes: dict[str, int]
    model_type: Literal["mul-tab"] = "mul-tab"
    dimensions: tuple[DimensionEntry, ...] = ()
    statistics_size: int = 0
    statistics_embedding_size: int = 0

    def __post_init__(self) -> None:
        keys = [str(i) for i in range(len(self.id2label))]
        if not keys or set(self.id2label) != set(keys):
            found = ", ".join(self.id2label) or "none"
            raise ValueError(f"id2label has the keys {found}, expected 0, 1, ...")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"id2label names {', '.join(self.labels)}, expected different labels")
        if self.modalities not in _COMBINATIONS:
            raise ValueError(f"modalities are {list(self.modalities)}, expected audio, text or both")
        for each in self.supported_modalities:
            if each not in _COMBINATIONS or not set(each) <= set(self.modalities):
                found, expected = list(each), list(self.modalities)
                raise ValueError(f"supported_modalities hold {found}, expected some of {expected}")
        if self.modalities not in self.supported_modalities:
            raise ValueError(
                f"modalities {list(self.modalities)} are not in supported_modalities, expected them there"
            )
        if set(self.hidden_sizes) != set(self.modalities):
            found, expected = list(self.hidden_sizes), list(self.modalities)
            raise ValueError(f"hidden_sizes are those of {found}, expected {expected}")
        if len(self.deviations) < len(self.dimensions):
            found = ", ".join(each.name for each in self.dimensions)
            raise ValueError(f"dimensions are {found}, expected different ones")

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return tuple(self.id2label[str(i)] for i in range(len(self.id2label)))

    @property
    def deviations(self) -> dict[Dimension, float]:
        """The standard deviation of each dimension's ratings in training, in the order of the output."""
        return {each.name: each.std for each in self.dimensions}

    @property
    def sizes(self) -> dict[str, int]:
        """What `mtab.graphs.GraphSpec.of` fixes: the axes that are the same for every utterance."""
        hidden = {f"{modality}_hidden": size for modality, size in self.hidden_sizes.items()}
        return {
            "classes": len(self.id2label),
            "embedding": self.embedding_size,
            "fused": self.embedding_size - self.statistics_embedding_size,
            "statistics": self.statistics_size,
            "dimensions": len(self.dimensions),
            **hidden,
        }


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What a file must be: its SHA-256 in hexadecimal, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class GraphEntry:
    """One ONNX graph: the part of the model that it is, its precision, and the certificate of its export.

    ``fp32_nodes`` are the patterns of node names that were kept in float32 beside the usual islands;
    ``reduce_range`` says that int8 weights keep to 7 bits, so that no x86 processor's arithmetic saturates
    (None: no int8 weights). ``memory`` is what it needs beside its weights (None: written before that was
    told).
    """

    part: Part
    precision: Precision
    file: str
    opset: int
    certificate: Certificate
    fp32_nodes: tuple[str, ...] = ()
    reduce_range: bool | None = None
    memory: MemoryNeed | None = None


@dataclass(frozen=True, slots=True)
class ReasonsEntry:
    """The graph of reasons: attention, of ``outputs`` of `mtab.graphs.REASONS`, for `mtab.Model.explain`.

    It is cut from the whole model's float32 graph, and reads that one's weights. ``hop`` is how many samples
    at 16 kHz one frame begins after the other (None: a model without audio); ``memory`` is what the graph
    needs beside its weights.
    """

    file: str
    outputs: tuple[str, ...]
    hop: int | None
    memory: MemoryNeed
    certificate: AttentionCertificate


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """One TensorRT engine, built ahead of time from the graph in ``graph``.

    ``key`` is the SHA-256 of all that it depends on: the graph's content, flavor, version, capability and
    shape profile; ``verified`` tells whether it was also run: an engine for a GPU that was not there was
    *built, not run*. ``profile`` holds ``min``, ``opt`` and ``max`` shapes by input.
    """

    file: str
    graph: str
    flavor: Literal["rtx", "trt"]
    version: str
    compute_capability: str
    profile: dict[str, dict[str, tuple[int, ...]]]
    key: str
    seconds: float
    verified: bool


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the graphs were exported from: weights, and the temperature that calibrates their answers."""

    sha256: str
    temperature: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """``manifest.json``: every file with its hash, every graph with its proof, and where they come from.

    ``training`` is the run that made the checkpoint; ``sequences`` are the certificates, by precision, of the
    split parts run one after another; ``versions`` and ``machine`` are those of the last export. ``reasons``
    is None where the whole model's float32 graph is not there, or has no attention to show.
    """

    format_version: int
    created: str
    checkpoint: Checkpoint
    files: dict[str, FileEntry]
    graphs: tuple[GraphEntry, ...]
    training: Training
    versions: dict[str, str]
    machine: dict[str, Any] = field(default_factory=dict)
    engines: tuple[EngineEntry, ...] = ()
    sequences: dict[Precision, Certificate] = field(default_factory=dict)
    reasons: ReasonsEntry | None = None

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"format_version is {self.format_version}, expected {FORMAT_VERSION}")
        for name in self.files:
            path = PurePosixPath(name)
            plain = name.isprintable() and "\\" not in name and name == str(path) and path.parts
            if not plain or path.is_absolute() or ".." in path.parts:
                raise ValueError(f"files names {name!r}, expected a path inside the bundle")
        if CONFIG not in self.files:
            raise ValueError(f"files lack {CONFIG}, expected it")
        for field_name, entries in (("graphs", self.graphs), ("engines", self.engines)):
            for i, entry in enumerate(entries):
                if entry.file not in self.files:
                    raise ValueError(f"{field_name}[{i}].file is {entry.file!r}, expected one of files")
        if self.reasons is not None and self.reasons.file not in self.files:
            raise ValueError(f"reasons.file is {self.reasons.file!r}, expected one of files")
        if len({(graph.part, graph.precision) for graph in self.graphs}) < len(self.graphs):
            raise ValueError("graphs hold a part twice in one precision, expected it once")

    def graph(self, part: str, precision: str) -> GraphEntry | None:
        """The graph of a part in a precision, None if there is none."""
        found = (g for g in self.graphs if (g.part, g.precision) == (part, precision))
        return next(found, None)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle. ``verified`` tells whether the hashes were checked."""

    folder: Path
    config: BundleConfig
    manifest: Manifest
    verified: bool

    @property
    def content(self) -> str:
        """A hash of what the files hold: the bundle's identity, wherever it lies. Proven if ``verified``."""
        hashes = sorted((name, entry.sha256) for name, entry in self.manifest.files.items())
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()

    def path(self, name: str) -> Path:
        """The path of a file that the manifest lists. Raises `BundleError` if it does not."""
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder / MANIFEST}: files lack {name}, expected it")
        return self.folder / name

    def size(self, name: str) -> int:
        """The bytes of a graph or an engine, with those of the weights beside it."""
        files = self.manifest.files
        return sum(files[each].size for each in (name, f"{name}.data") if each in files)


def open_bundle(folder: Path | str, verify: bool = True) -> Bundle:
    """Read a bundle's description and check that its files are those that it was written with.

    Raises `BundleError` if the folder is no bundle, was made by a newer mtab, lacks a file, or holds one
    whose SHA-256 differs (not checked unless ``verify``); `ConfigError` for a field that is missing, unknown
    or wrong-typed. A file that was found right before and has not been touched since is not read again.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        found = f"holds no {MANIFEST}" if folder.is_dir() else "is a file" if folder.exists() else "not found"
        raise BundleError(f"{folder}: {found}, expected a bundle made by mtab-export")
    values = read_json(folder / MANIFEST)
    version = values.get("format_version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise BundleError(
            f"{folder}: bundle format {version} of a newer mtab, expected {FORMAT_VERSION}; upgrade mtab"
        )
    if isinstance(version, int) and 0 < version < FORMAT_VERSION:
        raise BundleError(
            f"{folder}: bundle format {version} of an older mtab, expected {FORMAT_VERSION}; export it again"
        )
    manifest = from_dict(Manifest, values, folder / MANIFEST)
    stamps = HashCache(folder) if verify else None
    for name, entry in manifest.files.items():
        _check(folder, name, entry, stamps)
    if stamps is not None:
        stamps.save()
    return Bundle(folder, load_config(BundleConfig, folder / CONFIG), manifest, verify)


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Every file below ``folder``, except its manifest, by name."""
    return {
        path.relative_to(folder).as_posix(): file_entry(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }


def file_entry(path: Path) -> FileEntry:
    """A file as it now is."""
    return FileEntry(sha256(path), path.stat().st_size)


def _check(folder: Path, name: str, entry: FileEntry, stamps: HashCache | None) -> None:
    """Raise `BundleError` unless a file is the one expected; its hash counts where there are ``stamps``."""
    path, root = folder / name, _real(folder)
    # A link may lead out of the bundle where the name does not. Of a file's own its hash, once it is checked,
    # proves the content; unproven it may lead to the blobs of a hub's cache alone.
    in_hub = root.parent.name == "snapshots" and _real(path).parent == root.parent.parent / "blobs"
    if not _real(path.parent if stamps is not None or in_hub else path).is_relative_to(root):
        raise BundleError(f"{path}: leads out of the bundle, expected a file in it")
    damaged = "the bundle was damaged or changed"
    try:
        if not path.is_file():
            raise BundleError(f"{path}: missing, expected as in {MANIFEST}")
        if (size := path.stat().st_size) != entry.size:
            raise BundleError(f"{path}: {size} bytes, expected {entry.size}; {damaged}")
        if stamps is not None and (found := stamps.sha256(name)) != entry.sha256:
            raise BundleError(f"{path}: SHA-256 {found[:12]}…, expected {entry.sha256[:12]}…; {damaged}")
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}, expected a file as in {MANIFEST}") from None


def _real(path: Path) -> Path:
    # Unlike Path.resolve, of a link to itself too.
    return Path(os.path.realpath(path))
