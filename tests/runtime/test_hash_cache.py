"""Hashes are remembered until a file is touched in any way."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import mtab.bundle
import mtab.hash_cache
from mtab.bundle import open_bundle
from mtab.errors import BundleError
from mtab.files import sha256
from mtab.hash_cache import HashCache


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, in which also a file that has just been written is remembered."""
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mtab.hash_cache, "_SETTLED", -1.0)
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr(mtab.hash_cache, "sha256", counted)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(name.encode() * 1000)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    stamps = HashCache(folder)
    found = {name: stamps.sha256(name) for name in "ab"}
    stamps.save()
    return found


def test_a_file_is_read_once(folder: Path, read: list[str]) -> None:
    expected = {name: sha256(folder / name) for name in "ab"}
    assert hashes(folder) == hashes(folder) == hashes(folder) == expected
    assert read == ["a", "b"]


def same_size(path: Path) -> None:
    path.write_bytes(b"x" * 1000)


def same_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"x" * 1000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_file_of_the_same_time(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"x" * 1000)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("edit", [same_size, same_size_and_time, another_file_of_the_same_time])
def test_a_file_that_was_touched_is_read_again(
    folder: Path, read: list[str], edit: Callable[[Path], None]
) -> None:
    hashes(folder)
    edit(folder / "b")
    assert hashes(folder) == {name: sha256(folder / name) for name in "ab"}
    assert read == ["a", "b", "b"]
    hashes(folder)
    assert read == ["a", "b", "b"]


def test_a_file_that_has_just_been_written_is_not_trusted(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next change may fall into the same tick of the file system's clock."""
    monkeypatch.setattr(mtab.hash_cache, "_SETTLED", 60.0)
    hashes(folder)
    hashes(folder)
    assert read == ["a", "b", "a", "b"]


def test_folders_do_not_share(folder: Path, tmp_path: Path, read: list[str]) -> None:
    hashes(folder)
    shutil.copytree(folder, tmp_path / "copy")
    hashes(tmp_path / "copy")
    assert read == ["a", "b", "a", "b"]
    (tmp_path / "link").symlink_to(folder)
    hashes(tmp_path / "link")
    assert read == ["a", "b", "a", "b"]


@pytest.mark.parametrize("content", ["", "no JSON", "[]", '{"a": 3, "b": []}', '{"a": ["0", []]}'])
def test_a_spoiled_cache_costs_time_alone(folder: Path, cache: Path, read: list[str], content: str) -> None:
    expected = hashes(folder)
    (path,) = (cache / "verified").iterdir()
    path.write_text(content)
    assert hashes(folder) == expected
    assert read == ["a", "b", "a", "b"]


def test_without_a_cache(folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder cannot be made where a file is."""
    monkeypatch.setenv("MTAB_CACHE", str(folder / "a"))
    assert hashes(folder) == hashes(folder)
    assert read == ["a", "b", "a", "b"]


# Bundles


def test_a_bundle_is_verified_once(copied: Path, read: list[str]) -> None:
    assert open_bundle(copied).verified
    files = len(read)
    assert files > 4
    assert open_bundle(copied).verified
    assert len(read) == files


def test_a_bundle_that_changes_after_it_was_verified(copied: Path) -> None:
    open_bundle(copied)
    weights = copied / "model.onnx.data"
    before, content = weights.stat(), bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(2):
        with pytest.raises(BundleError, match=r"model\.onnx\.data: SHA-256 .*, expected "):
            open_bundle(copied)


def test_the_manifest_has_to_agree_still(copied: Path, change: Callable[..., None]) -> None:
    """What is remembered is what the files hold, and not that they were right."""
    open_bundle(copied)
    wrong = "0" * 64
    change(copied, "manifest.json", lambda values: values["files"]["config.json"].update(sha256=wrong))
    with pytest.raises(BundleError, match=r"config\.json: SHA-256 .*, expected 000000000000"):
        open_bundle(copied)


def test_an_unverified_bundle_is_not_read(copied: Path, read: list[str], cache: Path) -> None:
    assert not open_bundle(copied, verify=False).verified
    assert read == []
    assert not cache.exists()


def test_the_content_of_a_bundle(copied: Path, tmp_path: Path, change: Callable[..., None]) -> None:
    """The same wherever it lies and whenever it was made; another when a file is."""
    content = open_bundle(copied).content
    moved = copied.rename(tmp_path / "moved")
    change(moved, "manifest.json", lambda values: values.update(created="2030-01-01T00:00:00+00:00"))
    assert open_bundle(moved).content == content
    change(moved, "config.json", lambda values: values.update(id2label={"0": "a", "1": "b"}))
    assert open_bundle(moved).content != content
