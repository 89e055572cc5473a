"""Writes what the Python runtime answers, for the C++ tests to hold theirs against.

``python write_model_golden.py OUT BUNDLE...`` writes OUT/model: for every bundle and precision the answers to
some utterances (JSON, the clips beside it), the errors of bad ones, and small broken bundles with the error
of each.
"""

import hashlib
import json
import os
import shutil
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

import mtab
from mtab.batching import Length, plan
from mtab.bundle import open_bundle
from mtab.cli import main as cli
from mtab.engines.onnxruntime import optimised_folder
from mtab.errors import MtabError
from mtab.limits import BatchLimits
from mtab.machine import limited_cores, processor_key
from mtab.results import Failure

RATE = 16_000
TEXTS = (
    "I never said that!",
    "Well… that's 100 % fine, isn't it? 😀",
    "Ich weiß es nicht, Frau Müller.",
    "<s> <mask> </s> are no special tokens here",
    "   spaces,\ttabs\nand lines   ",
    "no no no " * 300,
)


def main(out: Path, bundles: list[Path]) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    clips = dict(_clips(out))
    cases = [*_cases(clips), *_real_cases()]
    written = []
    for bundle in bundles:
        for graph in open_bundle(bundle).manifest.graphs:
            if graph.part == "fused" and graph.precision != "bf16":
                written.append(_answers(bundle, graph.precision, cases, out))
    _write(out / "answers.json", written)
    _write(out / "broken.json", list(_broken_bundles(bundles[0], out / "broken")))
    _write(out / "plans.json", list(_plans()))
    _write(out / "printed.json", _printed(bundles[0], list(clips)))
    machine = {"processor_key": processor_key(), "limited_cores": limited_cores() or 0}
    _write(out / "machine.json", machine)


def _plans() -> Iterator[dict[str, Any]]:
    """How utterances of random lengths are put into batches."""
    random = np.random.default_rng(5)
    for count in (0, 1, 2, 7, 40, 300):
        for limits in (BatchLimits(), BatchLimits(3, 12.5), BatchLimits(64, 500.0)):
            lengths = [Length(float(s), int(t)) for s, t in zip(*_lengths(random, count), strict=True)]
            yield {
                "lengths": lengths,
                "limits": [limits.utterances, limits.seconds],
                "plan": plan(lengths, limits),
            }


def _lengths(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    # Of some that are alike the order has to be the same too.
    return random.gamma(2.0, 2.0, count).round(1), random.integers(0, 60, count) * (
        random.random(count) < 0.8
    )


def _printed(bundle: Path, clips: list[str]) -> list[dict[str, Any]]:
    """What `mtab predict --format json` prints, and how it ends."""
    calls = (
        [clips[3], "--text", TEXTS[1]],
        [clips[2], "--text", TEXTS[0], "--top-k", "2", "--abstain", "0.99"],
        [f"{Path(clips[0]).parent}//./clip-1.wav", "--text", 'a "quoted" \\ text'],
        [clips[0] + ".gone", "--text", TEXTS[0]],
        ["--text", TEXTS[0]],
    )
    printed = []
    for call in calls:
        run = CliRunner().invoke(
            cli, ["predict", str(bundle), *call, "--format", "json", "--engine", "onnxruntime"]
        )
        printed.append({"arguments": call, "output": run.stdout, "error": run.stderr, "exit": run.exit_code})
    return printed


def _clips(out: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Voiced noise of some lengths, as 16-bit wav files."""
    random = np.random.default_rng(13)
    for i, seconds in enumerate((0.4, 1.0, 2.7, 4.5, 7.31)):
        count = int(seconds * RATE)
        time = np.arange(count) / RATE
        pitch = 110 * (i + 1) ** 0.5 * (1 + 0.2 * np.sin(2 * np.pi * 3 * time))
        voice = np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / RATE)) * (
            0.5 + 0.5 * np.sin(2 * np.pi * 2 * time)
        )
        samples = (0.2 * voice + 0.05 * random.standard_normal(count)) * 20_000
        pcm = samples.clip(-32768, 32767).astype("<i2")
        path = out / f"clip-{i}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(pcm.tobytes())
        yield str(path), pcm


def _cases(clips: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Utterances as the fields of mtab_input, with the options of mtab_predict."""
    paths = list(clips)
    for i, path in enumerate(paths):
        yield {"path": path, "text": TEXTS[i % len(TEXTS)]}
        yield {"path": path, "text": TEXTS[-1 - i % len(TEXTS)], "top_k": 2, "abstain": 0.9}
        yield {"path": path}
    for text in TEXTS:
        yield {"text": text}
    yield {"path": paths[3], "text": TEXTS[0], "start": 1.25, "end": 3.5}
    yield {"path": paths[3], "text": TEXTS[0], "start": 4.0}
    yield {"content": paths[2], "text": TEXTS[0]}
    samples = {"samples": paths[4], "text": TEXTS[1]}
    yield samples | {"type": "int16", "sample_rate": 16_000}
    yield samples | {"type": "float32", "sample_rate": 44_100}
    yield samples | {"type": "float64", "sample_rate": 8_000, "channels": 2}
    yield samples | {"type": "int32", "sample_rate": 22_050.5, "channels": 3, "end": 1.5}
    # Refused.
    yield {"path": paths[0] + ".gone", "text": TEXTS[0]}
    yield {"path": str(Path(paths[0]).parent), "text": TEXTS[0]}
    yield {"path": "/dev/null", "text": TEXTS[0], "name": "utterance of a name"}
    yield {"path": paths[1], "text": TEXTS[0], "start": 3.0, "end": 2.0}
    yield {"path": paths[1], "text": TEXTS[0], "end": 30.0}
    yield {"path": paths[1], "text": TEXTS[0], "max_seconds": 0.5}
    yield {"path": paths[1], "text": TEXTS[0], "max_characters": 4}
    yield {"path": paths[1], "text": " \n\t"}
    yield {"path": paths[0], "text": TEXTS[0], "end": 0.02}
    yield samples | {"type": "float32", "sample_rate": 16_000, "nan_at": 17}
    yield samples | {"type": "float32", "sample_rate": 16_000, "nan_at": 17, "name": "call 7"}
    yield samples | {"type": "float32", "sample_rate": 10}
    yield samples | {"type": "float32", "sample_rate": 16_000, "channels": 65}
    yield samples | {"type": "int32", "sample_rate": 16_000, "as_int16": True}
    yield {"text": ""}
    yield {"path": paths[1], "text": TEXTS[0], "abstain": 1.5}


def _real_cases() -> Iterator[dict[str, Any]]:
    """Recordings, where they are."""
    if not (data := os.environ.get("MTAB_TEST_DATA")):
        return
    clips = sorted(Path(data, "emodb").rglob("*.wav")) + sorted(Path(data, "emodb").rglob("*.flac"))
    for path in clips[::40]:
        yield {"path": str(path), "text": "Das will sie am Mittwoch abgeben."}


def _answers(bundle: Path, precision: Any, cases: list[dict[str, Any]], out: Path) -> dict[str, Any]:
    model = mtab.load(bundle, "cpu", engine="onnxruntime", precision=precision)
    content = model.bundle.content
    return {
        "bundle": str(bundle.absolute()),
        "precision": precision,
        "content": content,
        "graph_folder": optimised_folder(f"{content} {model.graph.file}").name,
        "labels": list(model.labels),
        "cases": [case | {"expected": _expected(model, case)} for case in cases],
    }


def _expected(model: mtab.Model, case: dict[str, Any]) -> dict[str, Any]:
    model.limits = mtab.Limits(case.get("max_seconds", 600.0), case.get("max_characters", 100_000))
    name = case.get("name")
    utterance = mtab.Input(
        _audio(case),
        case.get("text"),
        case.get("start"),
        case.get("end"),
        case.get("sample_rate", RATE),
        name,
    )
    try:
        (result,) = model.stream(
            [utterance],
            top_k=case.get("top_k"),
            abstain=case.get("abstain"),
            return_embedding=True,
            on_error="skip",
        )
    except MtabError as error:
        return {"error": type(error).__name__, "message": str(error)}
    if isinstance(result, Failure):
        return {"error": type(result.error).__name__, "message": str(result.error)}
    assert result.embedding is not None
    return {
        "label": result.label,
        "probabilities": [[label, value] for label, value in result.probabilities.items()],
        "embedding": result.embedding.tolist(),
        "dimensions": list((result.dimensions or {}).values()),
        "duration": result.duration,
        "modalities": "+".join(result.modalities),
        "text_truncated": result.text_truncated,
    }


def _audio(case: dict[str, Any]) -> Any:
    if "path" in case:
        return case["path"]
    if "content" in case:
        return Path(case["content"]).read_bytes()
    if "samples" not in case:
        return None
    with wave.open(case["samples"]) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    if case["type"] == "int32":
        samples = pcm.astype(np.int32) if case.get("as_int16") else pcm.astype(np.int32) << 16
    elif case["type"] == "int16":
        samples = pcm
    else:
        samples = (pcm / 32768).astype(case["type"])
    if "nan_at" in case:
        samples[case["nan_at"]] = np.nan
    channels = case.get("channels", 1)
    samples = samples[: len(samples) // channels * channels]
    return samples.reshape(-1, channels) if channels > 1 else samples


def _broken_bundles(good: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Small bundles, each with one fault, and the error that mtab.load raises."""
    for i, (what, spoil) in enumerate(_FAULTS.items()):
        folder = out / f"{i:02d}"
        folder.mkdir(parents=True)
        for name in ("config.json", "preprocessor_config.json", "tokenizer.json"):
            shutil.copyfile(good / name, folder / name)
        for name in ("model.onnx", "reasons.onnx"):
            (folder / name).write_bytes(b"no graph")
        manifest = json.loads((good / "manifest.json").read_text(encoding="utf-8"))
        manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["file"] == "model.onnx"]
        manifest["engines"] = []
        _list_files(folder, manifest)
        manifest = spoil(folder, manifest) or manifest
        if (folder / "manifest.json").parent.is_dir() and manifest != "gone":
            text = manifest if isinstance(manifest, str) else json.dumps(manifest)
            (folder / "manifest.json").write_text(text, encoding="utf-8")
        try:
            mtab.load(folder, "cpu", engine="onnxruntime")
            raise SystemExit(f"{what}: opened, expected an error")
        except MtabError as error:
            yield {
                "what": what,
                "folder": str(folder),
                "error": type(error).__name__,
                "message": str(error),
            }


def _list_files(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["files"] = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }


def _changed(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path, dict[str, Any]], Any]:
    """A JSON file of the bundle, changed, with its new hash."""

    def spoil(folder: Path, manifest: dict[str, Any]) -> None:
        values = json.loads((folder / name).read_text(encoding="utf-8"))
        change(values)
        (folder / name).write_text(json.dumps(values), encoding="utf-8")
        _list_files(folder, manifest)

    return spoil


def _with(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, dict[str, Any]], Any]:
    """The manifest, changed."""

    def spoil(folder: Path, manifest: dict[str, Any]) -> None:
        change(manifest)

    return spoil


def _moved_file(folder: Path, manifest: dict[str, Any], name: str) -> None:
    manifest["files"][name] = manifest["files"].pop("model.onnx")
    manifest["graphs"][0]["file"] = name


def _linked_out(folder: Path, manifest: dict[str, Any]) -> None:
    outside = folder.with_name(folder.name + "-outside")
    outside.mkdir()
    (folder / "model.onnx").rename(outside / "model.onnx")
    (folder / "part").symlink_to(outside)
    _moved_file(folder, manifest, "part/model.onnx")


def _truncated(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "model.onnx").write_bytes(b"no")


def _tampered(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "model.onnx").write_bytes(b"no grapf")


_FAULTS: dict[str, Callable[[Path, dict[str, Any]], Any]] = {
    "no manifest": lambda folder, manifest: "gone",
    "a manifest that is not JSON": lambda folder, manifest: "{",
    "a manifest that is a list": lambda folder, manifest: "[]",
    "of a newer mtab": _with(lambda m: m.update(format_version=99)),
    "of an older mtab": _with(lambda m: m.update(format_version=1)),
    "a version that is no number": _with(lambda m: m.update(format_version="2")),
    "an unknown field": _with(lambda m: m.update(colour="red")),
    "a field that is missing": _with(lambda m: m.pop("created")),
    "a field of another type": _with(lambda m: m.update(created=3)),
    "a nested field of another type": _with(lambda m: m["checkpoint"].update(temperature="warm")),
    "an unknown part": _with(lambda m: m["graphs"][0].update(part="nose")),
    "an infinite number": _with(lambda m: m["checkpoint"].update(temperature=10**400)),
    "a file that is missing": lambda folder, manifest: (folder / "tokenizer.json").unlink(),
    "a file that was cut": _truncated,
    "a file that was changed": _tampered,
    "a path that leaves the bundle": lambda f, m: _moved_file(f, m, "../model.onnx"),
    "an absolute path": lambda f, m: _moved_file(f, m, "/etc/passwd"),
    "a path through a link that leaves the bundle": _linked_out,
    "no config": _with(lambda m: m["files"].pop("config.json")),
    "a graph that is not listed": _with(lambda m: m["files"].pop("model.onnx")),
    "reasons that are not listed": _with(lambda m: m["files"].pop("reasons.onnx")),
    "a graph twice": _with(lambda m: m["graphs"].append(m["graphs"][0])),
    "no graph": _with(lambda m: m["graphs"].clear()),
    "labels without a number": _changed("config.json", lambda c: c.update(id2label={"a": "joy"})),
    "labels twice": _changed("config.json", lambda c: c.update(id2label={"0": "joy", "1": "joy"})),
    "no modality": _changed("config.json", lambda c: c.update(modalities=[])),
    "modalities that it was not trained for": _changed(
        "config.json", lambda c: c.update(supported_modalities=[["audio"]])
    ),
    "an unknown modality": _changed("config.json", lambda c: c.update(modalities=["smell"])),
    "widths of other encoders": _changed("config.json", lambda c: c.update(hidden_sizes={"audio": 3})),
    "another sampling rate": _changed("preprocessor_config.json", lambda c: c.update(sampling_rate=8_000)),
    "no room for a token": _changed("preprocessor_config.json", lambda c: c.update(max_tokens=1)),
    "fewer samples than none": _changed("preprocessor_config.json", lambda c: c.update(min_samples=0)),
    "modalities at odds": _changed("preprocessor_config.json", lambda c: c.update(modalities=["audio"])),
    "a tokenizer that is none": _changed("tokenizer.json", lambda c: c.clear()),
    "a graph that is none": _with(lambda m: None),
}


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "model", [Path(each) for each in sys.argv[2:]])
