"""`describe`: what a bundle is, and what it runs on here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mtab.bundle import Bundle, GraphEntry, open_bundle
from mtab.choice import arithmetic
from mtab.config import to_dict
from mtab.console import table
from mtab.graphs import FUSED, TensorSpec
from mtab.loading import load, resolve
from mtab.machine import limited_cores
from mtab.types import Precision, TunedFor


def describe(
    bundle: Path | str,
    device: str = "auto",
    engine: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    threads: int | None = None,
    tuned_for: TunedFor = "latency",
) -> dict[str, Any]:
    """A bundle and what `mtab.load` makes of it here, as plain JSON values; sizes are in bytes.

    The model is loaded: what it says of engine and device is true. Raises as `mtab.load`.
    """
    wanted = resolve(open_bundle(bundle), device, engine, precision, threads, tuned_for)
    model = load(bundle, device, engine=engine, precision=precision, threads=threads, tuned_for=tuned_for)
    tuned = wanted.tuned and (model.engine.name, model.engine.precision) == (wanted.engine, wanted.precision)
    number = wanted.threads if tuned else threads
    opened, manifest = model.bundle, model.bundle.manifest
    training = to_dict(manifest.training)
    spec = FUSED.of(opened.config.modalities, opened.config.sizes)
    return {
        "bundle": str(opened.folder),
        "created": manifest.created,
        "engine": {
            "name": model.engine.name,
            "title": model.engine.title,
            "device": model.engine.device,
            "precision": model.engine.precision,
            "unquantized": list(wanted.unquantized if tuned else ()),
            "threads": (number or limited_cores()) if model.engine.device == "cpu" else None,
            "streams": model.engine.streams,
            "batch_size": model.batch_size,
            "tuned_for": tuned_for if tuned else None,
            "file": model.engine.path.name,
            "size": model.size,
        },
        "modalities": [list(each) for each in opened.config.supported_modalities],
        "labels": list(model.labels),
        "inputs": [_tensor(each) for each in spec.inputs],
        "outputs": [_tensor(each) for each in spec.outputs],
        "graphs": [_graph(opened, each) for each in manifest.graphs],
        "engines": [{**to_dict(each), "size": opened.size(each.file)} for each in manifest.engines],
        "size": sum(entry.size for entry in manifest.files.values()),
        "checkpoint": to_dict(manifest.checkpoint),
        "calibration": training.pop("calibration"),
        "training": training,
    }


def format_report(found: Mapping[str, Any]) -> str:
    """`describe`'s values to read."""
    engine, training = found["engine"], found["training"]
    computes = arithmetic(engine["precision"], engine["unquantized"])
    runs = f"{engine['name']} on {engine['device']} in {computes}"
    if engine["device"] == "cpu":
        runs += f", threads: {engine['threads'] or 'one a core'}"
    runs += f", batches of {engine['batch_size']}, {engine['streams']} at once"
    chosen = f", as mtab tune chose for {engine['tuned_for']}" if engine["tuned_for"] else ""
    test = training["test"] or {}
    facts = [
        ("bundle", f"{found['bundle']}, {_mb(found['size'])}, exported {found['created']}"),
        ("runs on", runs + chosen),
        ("computes", f"{engine['file']}, {_mb(engine['size'])}"),
        ("answers from", " or ".join("+".join(each) for each in found["modalities"])),
        ("labels", ", ".join(found["labels"])),
        ("checkpoint", found["checkpoint"]["sha256"]),
        ("trained on", _protocol(training)),
        *((f"test {key.upper()}", f"{test[key]:.1%}") for key in ("war", "uar") if key in test),
        ("calibration", _calibration(found["checkpoint"]["temperature"], found["calibration"])),
    ]
    tensors = [
        (side, each["name"], each["dtype"], ", ".join(map(str, each["shape"])))
        for side, key in (("takes", "inputs"), ("answers", "outputs"))
        for each in found[key]
    ]
    graphs = [
        (
            each["part"],
            each["precision"],
            _mb(each["size"]),
            each["opset"],
            f"{each['certificate']['max_difference']:.1e}",
            each["certificate"]["utterances"],
        )
        for each in found["graphs"]
    ]
    parts = [
        "\n".join(f"{name:<13}{value}" for name, value in facts),
        table(tensors, ("", "tensor", "dtype", "shape")),
        table(graphs, ("graph", "precision", "size", "opset", "difference", "utterances")),
        "difference: the largest of a probability from PyTorch's, measured at export on so many utterances",
    ]
    if found["engines"]:
        rows = [
            (each["file"], each["flavor"], each["version"], each["compute_capability"], _mb(each["size"]))
            for each in found["engines"]
        ]
        parts.append(table(rows, ("engine built", "flavor", "version", "for capability", "size")))
    return "\n\n".join(parts)


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.axes)}


def _graph(bundle: Bundle, entry: GraphEntry) -> dict[str, Any]:
    proven = entry.certificate
    return {
        "part": entry.part,
        "precision": entry.precision,
        "file": entry.file,
        "size": bundle.size(entry.file),
        "opset": entry.opset,
        "certificate": {
            "utterances": proven.utterances,
            "max_difference": proven.max_probability_difference,
            "max_batched_difference": proven.max_batched_difference,
            "max_invariance_difference": proven.max_invariance_difference,
            "label_agreement": proven.label_agreement,
            "corpus": proven.corpus,
        },
    }


def _protocol(training: Mapping[str, Any]) -> str:
    if training["dataset"] is None:
        return "nothing: its weights are random"
    where = f"{training['title']}, fold {training['fold']}, protocol {training['protocol']}"
    return where + (" (synthetic speech)" if training["synthetic"] else "")


def _calibration(temperature: float, calibration: Mapping[str, Any] | None) -> str:
    if calibration is None:
        return f"none (temperature {temperature:g})"
    measured = [
        f"ECE on {part} {scores['ece']['before']:.3f} before, {scores['ece']['after']:.3f} after"
        for part in ("validation", "test")
        if (scores := calibration.get(part)) is not None
    ]
    return "; ".join([f"temperature {temperature:.3g}", *measured])


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
