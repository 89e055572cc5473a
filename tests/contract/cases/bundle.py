"""What goes wrong with a bundle."""

import pickle
import shutil

import mtab
from cases import Case, Place
from mtab.errors import BundleError, ConfigError, EngineError
from mtab.files import cache_dir


def info(bundle: object, *options: object) -> list[object]:
    return ["mtab", "info", bundle, *options]


def with_a_changed_byte(place: Place) -> list[object]:
    bundle = place.copy_of(place.bundle)
    path = bundle / "tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"{", b"[", 1))
    return info(bundle)


def without_a_file(place: Place) -> list[object]:
    bundle = place.copy_of(place.bundle)
    (bundle / "tokenizer.json").unlink()
    return info(bundle)


def pickled_and_changed(place: Place) -> None:
    bundle = place.copy_of(place.bundle)
    pickled = pickle.dumps(mtab.load(bundle, "cpu", threads=1))
    shutil.rmtree(bundle)
    place.edited(place.bundle, "config.json", lambda values: values["id2label"].update({"0": "loud"}))
    pickle.loads(pickled)


def with_a_changed_cache(place: Place) -> None:
    """One that began from changed weights would answer otherwise."""
    expected = mtab.load(place.bundle, "cpu", engine="onnxruntime").predict(place.clip, "it is high")
    found = [*(cache_dir() / "graphs").glob("*/graph.onnx.data")]
    assert found
    for weights in found:
        content = bytearray(weights.read_bytes())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        weights.write_bytes(content)
    again = mtab.load(place.bundle, "cpu", engine="onnxruntime").predict(place.clip, "it is high")
    assert again.probabilities == expected.probabilities


CASES = (
    Case(
        "The folder does not exist",
        lambda place: info(place.folder / "none"),
        BundleError,
        "<FOLDER>: not found, expected a bundle made by mtab-export",
    ),
    Case(
        "A folder that is no bundle",
        lambda place: info(place.corpus.root),
        BundleError,
        "<FOLDER>: holds no manifest.json, expected a bundle made by mtab-export",
    ),
    Case(
        "A byte of a file was changed",
        with_a_changed_byte,
        BundleError,
        "<FILE>: SHA-256 <HASH>…, expected <HASH>…; the bundle was damaged or changed",
    ),
    Case("A file is missing", without_a_file, BundleError, "<FILE>: missing, expected as in manifest.json"),
    Case(
        "A field that this version does not know",
        lambda place: info(place.edited(place.bundle, "config.json", lambda values: values.update(colour=1))),
        ConfigError,
        "<FILE>: unknown field 'colour'; known: <FIELDS>",
    ),
    Case(
        "A field is missing",
        lambda place: info(place.edited(place.bundle, "config.json", lambda values: values.pop("id2label"))),
        ConfigError,
        "<FILE>: field 'id2label' is missing",
    ),
    Case(
        "The bundle of a model that was pickled is another by now",
        pickled_and_changed,
        BundleError,
        "<FOLDER>: changed since it was opened, expected the same bundle",
        None,
    ),
    Case(
        "A byte was changed of a graph that ONNX Runtime optimised, in the cache: it is made anew",
        with_a_changed_cache,
        None,
        "",
        None,
    ),
    Case(
        "A precision that the bundle lacks",
        lambda place: info(place.bundle, "--precision", "fp16"),
        BundleError,
        "<FOLDER>: graphs are fused fp32, expected fused fp16",
    ),
    Case(
        "A device that is no device",
        lambda place: info(place.bundle, "--device", "tpu"),
        EngineError,
        "device 'tpu', expected cpu, cuda or cuda:N with engine onnxruntime",
    ),
    Case(
        "A GPU where there is none, or none of that number",
        lambda place: info(place.bundle, "--device", "cuda:99"),
        EngineError,
        "device cuda:99: <FOUND>, expected <WHAT>",
    ),
)
