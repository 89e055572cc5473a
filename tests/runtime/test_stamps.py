"""Stamps: what was changed, added or lost since is found, whatever its size and times say."""

import os
from pathlib import Path

import pytest

from mtab.engines.stamps import STAMP, unstamped, write_stamp
from mtab.engines.tensorrt import read_kernels, write_kernels


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "kept"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
        # Old enough to be remembered.
        os.utime(folder / name, (0, 0))
    write_stamp(folder)
    return folder


def names(folder: Path) -> list[str]:
    return [path.name for path in unstamped(folder)]


def test_what_was_not_touched(folder: Path) -> None:
    assert names(folder) == []
    assert names(folder) == []


def test_changed_bytes_of_the_same_size_and_age(folder: Path) -> None:
    assert names(folder) == []
    (folder / "a").write_text("c")
    os.utime(folder / "a", (0, 0))
    assert names(folder) == ["a"]


def test_what_is_new_or_gone(folder: Path) -> None:
    (folder / "a").unlink()
    (folder / "c").write_text("c")
    assert names(folder) == ["c", "a"]


@pytest.mark.parametrize("stamp", [None, "", "[]", "{}", '{"a": 1, "b": null}'])
def test_without_a_stamp_nothing_counts(folder: Path, stamp: str | None) -> None:
    if stamp is None:
        (folder / STAMP).unlink()
    else:
        (folder / STAMP).write_text(stamp)
    assert names(folder) == ["a", "b"]


def test_kernels(tmp_path: Path) -> None:
    path = tmp_path / "x.kernels"
    assert read_kernels(path) is None
    write_kernels(path, b"compiled")
    assert read_kernels(path) == b"compiled"
    for spoiled in (path.read_bytes()[:-1], path.read_bytes()[:-1] + b"x", b"", b"compiled"):
        path.write_bytes(spoiled)
        assert read_kernels(path) is None
