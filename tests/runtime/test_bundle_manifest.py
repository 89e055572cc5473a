"""A bundle's manifest: its format, the paths that it names, links, and the graphs that it lists."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import mtab
from mtab.bundle import open_bundle
from mtab.errors import BundleError, ConfigError, EngineError

from .bundles import FILES, Change, refusal, reseal


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
