"""A bundle that is not what was exported is refused, in one line that names the file."""

import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mtab
from mtab.bundle import BundleConfig, Checkpoint, FileEntry, GraphEntry, Manifest, file_entries, open_bundle
from mtab.data import Corpus
from mtab.errors import BundleError, ConfigError, EngineError, MtabError
from mtab.preprocess import PreprocessorConfig

FILES = (
    *("README.md", "config.json", "model.onnx", "model.onnx.data", "preprocessor_config.json"),
    *("reference.json", "tokenizer.json"),
)
Change = Callable[..., None]


def refusal(bundle: Path, verify: bool = True) -> str:
    with pytest.raises(MtabError) as caught:
        mtab.load(bundle, threads=1, verify=verify)
    message = str(caught.value)
    assert "\n" not in message
    assert str(bundle) in message
    return message


# As it was written


def test_it_describes_itself(tone_bundle: Path, tone_run: Path, tones: Corpus) -> None:
    bundle = open_bundle(tone_bundle)
    assert bundle.verified
    assert bundle.config.labels == ("high", "low")
    assert bundle.config.modalities == ("audio", "text")
    assert bundle.config.supported_modalities == (("audio", "text"),)
    assert sorted(bundle.manifest.files) == list(FILES)
    for name, entry in bundle.manifest.files.items():
        content = (tone_bundle / name).read_bytes()
        assert entry == FileEntry(hashlib.sha256(content).hexdigest(), len(content))
        assert bundle.path(name) == tone_bundle / name
    weights = (tone_run / "model.safetensors").read_bytes()
    assert bundle.manifest.checkpoint.sha256 == hashlib.sha256(weights).hexdigest()
    graph = bundle.manifest.graph("fused", "fp32")
    assert graph is not None
    assert graph.file == "model.onnx"
    assert bundle.manifest.graph("fused", "fp16") is None
    assert bundle.manifest.training.title == tones.root.name
    assert bundle.manifest.versions["mtab"] == mtab.__version__


def test_a_file_that_it_does_not_list(tone_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"files lack engine\.plan, expected it"):
        open_bundle(tone_bundle).path("engine.plan")


def test_file_entries_leave_the_manifest_out(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"abc")
    (tmp_path / "manifest.json").write_text("{}")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert file_entries(tmp_path) == {"sub/a": FileEntry(digest, 3)}


def test_it_may_be_moved_and_linked_to(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(copied)
    assert mtab.load(tmp_path / "link", threads=1).labels == ("high", "low")
    monkeypatch.chdir(tmp_path)
    assert mtab.load("bundle", threads=1).labels == ("high", "low")
    monkeypatch.chdir(copied)
    assert mtab.load(".", threads=1).labels == ("high", "low")


def test_links_that_stay_inside(copied: Path) -> None:
    (copied / "weights").mkdir()
    (copied / "tokenizer.json").rename(copied / "weights" / "t")
    (copied / "tokenizer.json").symlink_to("weights/t")
    assert mtab.load(copied, threads=1).labels == ("high", "low")


READ_ONLY = """
    mount -t tmpfs none "$1" && cp -r "$2" "$1/bundle" && mount -o remount,ro "$1" || exit 99
    touch "$1/bundle/x" 2>/dev/null && exit 98
    "$3" -c '
import sys, mtab
model = mtab.load(sys.argv[1], threads=1)
print(model.predict(sys.argv[2], "it is high").label)
' "$1/bundle" "$4"
"""


def test_it_may_be_read_only(
    tone_bundle: Path, tmp_path: Path, tones: Any, own_mounts: Callable[..., Any]
) -> None:
    done = own_mounts(READ_ONLY, tmp_path, tone_bundle, sys.executable, tones.root / "0-0.wav")
    assert (done.returncode, done.stdout, done.stderr) == (0, "high\n", "")


def test_nothing_is_written_to_it(copied: Path, tones: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in [copied, *copied.rglob("*")]}
    mtab.load(copied, threads=1).predict(tones.root / "0-0.wav", "it is high")
    assert {path: path.stat().st_mtime_ns for path in [copied, *copied.rglob("*")]} == before


# What is no bundle


def test_what_is_no_bundle(tmp_path: Path) -> None:
    file, empty = tmp_path / "file", tmp_path / "empty"
    file.write_text("x")
    empty.mkdir()
    expected = "expected a bundle made by mtab-export"
    assert refusal(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: not found, {expected}"
    assert refusal(file) == f"{file}: is a file, {expected}"
    assert refusal(empty) == f"{empty}: holds no manifest.json, {expected}"
    (empty / "manifest.json").mkdir()
    assert refusal(empty) == f"{empty}: holds no manifest.json, {expected}"


def test_a_run_folder_is_no_bundle(tone_run: Path) -> None:
    assert "holds no manifest.json" in refusal(tone_run)


# Damage


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(copied: Path, name: str, verify: bool) -> None:
    (copied / name).unlink()
    assert refusal(copied, verify) == f"{copied / name}: missing, expected as in manifest.json"


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_a_files_place(copied: Path, name: str) -> None:
    (copied / name).unlink()
    (copied / name).mkdir()
    assert refusal(copied).startswith(f"{copied / name}: missing")


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_another_size(copied: Path, name: str, verify: bool) -> None:
    content = (copied / name).read_bytes()
    for changed in (content[:-1], content + b"\n", b""):
        (copied / name).write_bytes(changed)
        message = refusal(copied, verify)
        assert message.startswith(f"{copied / name}: {len(changed)} bytes, expected {len(content)}")


@pytest.mark.parametrize("where", [0, 0.5, 1])
@pytest.mark.parametrize("name", FILES)
def test_one_bit_changed(copied: Path, name: str, where: float) -> None:
    content = bytearray((copied / name).read_bytes())
    expected = hashlib.sha256(content).hexdigest()
    content[round(where * (len(content) - 1))] ^= 1
    (copied / name).write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    message = refusal(copied)
    assert message.startswith(f"{copied / name}: SHA-256 {found[:12]}…, expected {expected[:12]}…")


def test_hashes_are_left_out_on_request(copied: Path) -> None:
    content = bytearray((copied / "model.onnx.data").read_bytes())
    content[len(content) // 2] ^= 1
    (copied / "model.onnx.data").write_bytes(content)
    assert not mtab.load(copied, threads=1, verify=False).bundle.verified


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN}'])
def test_what_is_no_json(copied: Path, change: Change, name: str, content: bytes) -> None:
    (copied / name).write_bytes(content)
    if name != "manifest.json":
        reseal(copied, change)
    assert refusal(copied).startswith(f"{copied / name}: is not JSON (")


def test_no_tokenizer(copied: Path, change: Change) -> None:
    (copied / "tokenizer.json").write_text('{"model": {}}')
    reseal(copied, change)
    assert refusal(copied).startswith(f"{copied / 'tokenizer.json'}: is no tokenizer.json (")


def reseal(bundle: Path, change: Change) -> None:
    files = {name: dataclasses.asdict(entry) for name, entry in file_entries(bundle).items()}
    change(bundle, "manifest.json", lambda values: values.update(files=files))


@pytest.mark.parametrize("kept", [0, 1, 1000, 100_000])
def test_a_truncated_graph(copied: Path, change: Change, kept: int) -> None:
    """The manifest agrees, so that it is ONNX Runtime that has to refuse it."""
    (copied / "model.onnx").write_bytes((copied / "model.onnx").read_bytes()[:kept])
    reseal(copied, change)
    for verify in (True, False):
        assert refusal(copied, verify).startswith(
            f"{copied / 'model.onnx'}: ONNX Runtime cannot load it ([ONNXRuntimeError]"
        )


def test_truncated_weights(copied: Path, change: Change) -> None:
    data = copied / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:1000])
    reseal(copied, change)
    assert refusal(copied).startswith(f"{copied / 'model.onnx'}: ONNX Runtime cannot load it (")


def test_weights_under_another_name(copied: Path, change: Change) -> None:
    (copied / "model.onnx.data").rename(copied / "other.data")
    reseal(copied, change)
    assert "model.onnx.data" in refusal(copied)


# Fields

CLASSES: dict[str, type] = {
    "config.json": BundleConfig,
    "manifest.json": Manifest,
    "preprocessor_config.json": PreprocessorConfig,
}
WRONG = [[{}]]  # no field takes a list of lists of objects


def fields(cls: type, required: bool = False) -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(cls)
        if not required
        or (field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING)
    ]


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name, cls in CLASSES.items() for field in fields(cls, required=True)],
)
def test_a_missing_field(copied: Path, change: Change, name: str, field: str) -> None:
    change(copied, name, lambda values: values.pop(field))
    assert refusal(copied) == f"{copied / name}: field {field!r} is missing"


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, cls in CLASSES.items() for field in fields(cls)]
)
def test_a_wrong_type(copied: Path, change: Change, name: str, field: str) -> None:
    for wrong in (WRONG, None):
        change(copied, name, lambda values, wrong=wrong: values.update({field: wrong}))
        message = refusal(copied)
        assert message.startswith(f"{copied / name}: field '{field}")
        assert ", expected " in message


@pytest.mark.parametrize("name", CLASSES)
def test_an_unknown_field(copied: Path, change: Change, name: str) -> None:
    change(copied, name, lambda values: values.update(colour="red"))
    assert refusal(copied).startswith(f"{copied / name}: unknown field 'colour'; known: ")


@pytest.mark.parametrize(
    ("inside", "cls"),
    [
        (("files", "config.json"), FileEntry),
        (("graphs", 0), GraphEntry),
        (("checkpoint",), Checkpoint),
    ],
)
def test_fields_deeper_in_the_manifest(
    copied: Path, change: Change, inside: tuple[str | int, ...], cls: type
) -> None:
    path = copied / "manifest.json"
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in inside).removeprefix(".")
    original = path.read_text()

    def edited(edit: Callable[[dict], object]) -> str:
        def apply(values: dict) -> None:
            for key in inside:
                values = values[key]
            edit(values)

        path.write_text(original)
        change(copied, "manifest.json", apply)
        return refusal(copied)

    for field in fields(cls, required=True):
        assert edited(lambda values, f=field: values.pop(f)) == f"{path}: field '{where}.{field}' is missing"
        assert f"field '{where}.{field}" in edited(lambda values, f=field: values.update({f: WRONG}))
    assert f"unknown field '{where}.more'" in edited(lambda values: values.update(more=1))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("value", [[], "x", None, 3])
def test_what_is_no_object(copied: Path, change: Change, name: str, value: Any) -> None:
    (copied / name).write_text(json.dumps(value))
    if name != "manifest.json":
        reseal(copied, change)
    assert refusal(copied).startswith(f"{copied / name}: field 'at the top' is ")


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"id2label": {}}, "id2label has the keys none, expected 0, 1, ..."),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label has the keys 0, 2, expected 0, 1"),
        ({"id2label": {"high": "0", "low": "1"}}, "id2label has the keys high, low, expected 0, 1"),
        ({"id2label": {"0": "a", "1": "a"}}, "id2label names a, a, expected different labels"),
        ({"id2label": {"0": "high"}}, "probabilities float32 [batch, 2]"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "expected logits float32 [batch, 3]"),
        ({"embedding_size": 7}, "expected logits float32 [batch, 2]"),
        ({"model_type": "bert"}, "field 'model_type' is 'bert', expected one of 'mul-tab'"),
        ({"modalities": []}, "modalities are [], expected audio, text or both"),
        ({"modalities": ["text", "audio"]}, "modalities are ['text', 'audio'], expected audio, text or both"),
        ({"modalities": ["audio", "audio"]}, "modalities are ['audio', 'audio']"),
        ({"modalities": ["video"]}, "field 'modalities[0]' is 'video', expected one of 'audio', 'text'"),
        ({"supported_modalities": []}, "modalities ['audio', 'text'] are not in supported_modalities"),
        (
            {"supported_modalities": [["audio"]]},
            "modalities ['audio', 'text'] are not in supported_modalities",
        ),
        ({"supported_modalities": [[], ["audio", "text"]]}, "supported_modalities hold []"),
        ({"supported_modalities": [["text", "audio"]]}, "supported_modalities hold ['text', 'audio']"),
        (
            {"modalities": ["audio"], "supported_modalities": [["audio"], ["text"]]},
            "supported_modalities hold ['text'], expected some of ['audio']",
        ),
        (
            {"modalities": ["audio"], "supported_modalities": [["audio"]], "hidden_sizes": {"audio": 16}},
            "modalities are ['audio', 'text'], expected ['audio'] as in config.json",
        ),
    ],
)
def test_a_config_at_odds_with_itself_or_the_graph(
    copied: Path, change: Change, edit: dict[str, Any], expected: str
) -> None:
    change(copied, "config.json", lambda values: values.update(edit))
    assert expected in refusal(copied)


def test_a_graph_of_other_modalities(copied: Path, change: Change) -> None:
    for name, edit in {
        "config.json": {
            "modalities": ["audio"],
            "supported_modalities": [["audio"]],
            "hidden_sizes": {"audio": 16},
        },
        "preprocessor_config.json": {"modalities": ["audio"]},
    }.items():
        change(copied, name, lambda values, edit=edit: values.update(edit))
    message = refusal(copied)
    audio = "input_values float32 [batch, samples], audio_lengths int64 [batch]"
    text = "input_ids int64 [batch, tokens], text_lengths int64 [batch]"
    assert message == f"{copied / 'model.onnx'}: takes {audio}, {text}, expected {audio}"


# The manifest


@pytest.mark.parametrize("version", [3, 1000])
def test_a_newer_format(copied: Path, change: Change, version: int) -> None:
    # What else a newer format holds is not known: it is not that which the error is about.
    change(copied, "manifest.json", lambda values: values.update(format_version=version, novelty=[1]))
    assert refusal(copied) == f"{copied}: bundle format {version} of a newer mtab, expected 2; upgrade mtab"


def test_an_older_format(copied: Path, change: Change) -> None:
    change(copied, "manifest.json", lambda values: values.update(format_version=1))
    assert refusal(copied) == f"{copied}: bundle format 1 of an older mtab, expected 2; export it again"


@pytest.mark.parametrize("version", [0, -1])
def test_a_format_that_never_was(copied: Path, change: Change, version: int) -> None:
    change(copied, "manifest.json", lambda values: values.update(format_version=version))
    assert refusal(copied) == f"{copied / 'manifest.json'}: format_version is {version}, expected 2"


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../../x", "..", ".", "", "a//b", "./a", "a\\b", "c:\\x", "a\0b", "\ud800"],
)
def test_a_name_that_is_no_path_inside(copied: Path, change: Change, name: str) -> None:
    entry = {"sha256": "0" * 64, "size": 1}
    change(copied, "manifest.json", lambda values: values["files"].update({name: entry}))
    assert refusal(copied) == (
        f"{copied / 'manifest.json'}: files names {name!r}, expected a path inside the bundle"
    )


def test_a_name_that_no_file_can_have(copied: Path, change: Change) -> None:
    name = "x" * 300
    entry = {"sha256": "0" * 64, "size": 1}
    change(copied, "manifest.json", lambda values: values["files"].update({name: entry}))
    assert refusal(copied) == f"{copied / name}: File name too long, expected a file as in manifest.json"


@pytest.mark.parametrize("name", FILES)
def test_a_link_that_leads_out(copied: Path, tmp_path: Path, name: str) -> None:
    """Its hash proves the content, and nothing else does."""
    (copied / name).rename(tmp_path / "outside")
    for target in (tmp_path / "outside", "../outside"):
        (copied / name).unlink(missing_ok=True)
        (copied / name).symlink_to(target)
        assert mtab.load(copied, threads=1).labels == ("high", "low")
        found = refusal(copied, verify=False)
        assert found == f"{copied / name}: leads out of the bundle, expected a file in it"
    content = (tmp_path / "outside").read_bytes()
    (tmp_path / "outside").write_bytes(content[:-1] + b"?")
    assert refusal(copied).startswith(f"{copied / name}: SHA-256 ")


@pytest.mark.parametrize("verify", [True, False])
def test_a_bundle_in_the_cache_of_a_hub(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    """Every file is a link to a blob, which is named by a hash of one kind or another."""
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0f1e", tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(copied.iterdir())):
        path.rename(blobs / f"{number:040x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:040x}")
    for folder in (snapshot, Path("snapshots/0f1e"), Path()):
        monkeypatch.chdir(snapshot if folder == Path() else tmp_path / "models--a--b")
        assert mtab.load(folder, threads=1, verify=verify).predict(np.ones(800), "a").duration == 0.05


def test_a_linked_folder_that_leads_out(copied: Path, change: Change, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_bytes(b"abc")
    (copied / "sub").symlink_to(tmp_path / "other")
    entry = {"sha256": hashlib.sha256(b"abc").hexdigest(), "size": 3}
    change(copied, "manifest.json", lambda values: values["files"].update({"sub/x": entry}))
    assert refusal(copied) == f"{copied / 'sub/x'}: leads out of the bundle, expected a file in it"


def test_a_link_to_itself(copied: Path) -> None:
    (copied / "config.json").unlink()
    (copied / "config.json").symlink_to("config.json")
    assert refusal(copied) == f"{copied / 'config.json'}: missing, expected as in manifest.json"


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json"])
def test_a_file_that_is_read_must_be_listed(copied: Path, change: Change, name: str) -> None:
    """Otherwise it would be used without having been checked."""
    change(copied, "manifest.json", lambda values: values["files"].pop(name))
    assert refusal(copied) == f"{copied / 'manifest.json'}: files lack {name}, expected it"


def test_a_graph_that_is_not_listed(copied: Path, change: Change) -> None:
    change(copied, "manifest.json", lambda values: values["files"].pop("model.onnx"))
    assert refusal(copied) == (
        f"{copied / 'manifest.json'}: graphs[0].file is 'model.onnx', expected one of files"
    )


def test_graphs_without_the_fused_one(copied: Path, change: Change) -> None:
    change(copied, "manifest.json", lambda values: values.update(graphs=[]))
    assert refusal(copied) == f"{copied}: graphs are none, expected fused"
    assert open_bundle(copied).manifest.graphs == ()


def test_the_kind_of_error(copied: Path, change: Change) -> None:
    change(copied, "config.json", lambda values: values.update(colour="red"))
    with pytest.raises(ConfigError):
        open_bundle(copied)
    (copied / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleError):
        open_bundle(copied)
    reseal(copied, change)
    change(copied, "config.json", lambda values: values.pop("colour"))
    with pytest.raises(EngineError):
        mtab.load(copied)
    shutil.rmtree(copied)
    with pytest.raises(BundleError):
        open_bundle(copied)
