"""A bundle as it was exported; and one that is none or is damaged: one line, that names the file."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtab
from mtab.bundle import FileEntry, file_entries, open_bundle
from mtab.data import Corpus
from mtab.errors import BundleError

from .bundles import FILES, Change, refusal, reseal

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
