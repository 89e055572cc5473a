"""Files: whatever happens on the way, what was there before is there, or what was to be, and nothing else."""

import hashlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.errors import ConfigError, MtabError
from mtab.files import (
    atomic_file,
    atomic_folder,
    cache_dir,
    read_json,
    refuse_existing,
    sha256,
    write_json,
    write_text,
)

FAILURES = (ValueError, OSError, MtabError, KeyboardInterrupt, SystemExit)


def tree(root: Path) -> dict[str, str | None]:
    """Everything below a folder: text by name, None for a folder."""
    return {
        path.relative_to(root).as_posix(): path.read_text() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


# One file


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.csv"
    with atomic_file(path) as partial:
        assert partial.parent == path.parent
        assert partial.suffix == ".csv"
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("whole")
    assert tree(tmp_path / "new" / "folder") == {"a.csv": "whole"}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("before", [None, "old"])
def test_a_failure_leaves_the_file_as_it_was(
    tmp_path: Path, failure: type[BaseException], before: str | None
) -> None:
    path = tmp_path / "a.json"
    if before is not None:
        path.write_text(before)

    def write() -> None:
        with atomic_file(path) as partial:
            partial.write_text("half")
            raise failure

    with pytest.raises(failure):
        write()
    assert tree(tmp_path) == ({} if before is None else {"a.json": "old"})


def test_a_file_that_was_never_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a"):
        pass
    assert tree(tmp_path) == {"a": "old"}


def test_a_full_device(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with atomic_file(path) as partial:
            # The temporary file leads to a device that is always full.
            partial.symlink_to("/dev/full")
            partial.write_text("new")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert tree(tmp_path) == {"a.txt": "old"}
    assert Path("/dev/full").exists()


def test_a_file_beyond_the_limit(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from mtab.files import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_text(sys.argv[1], 'x' * 2000)\n"
    )
    (tmp_path / "a.txt").write_text("old")
    command = [sys.executable, "-c", code, str(tmp_path / "a.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert tree(tmp_path) == {"a.txt": "old"}


FULL_DISK = """
import sys
from pathlib import Path
import click
from mtab.console import Command
from mtab.files import atomic_folder, write_text

@click.command(cls=Command)
@click.argument("what")
@click.argument("path", type=click.Path(path_type=Path))
def main(what, path):
    if what == "file":
        write_text(path, "x" * 100_000)
    else:
        with atomic_folder(path, overwrite=True) as partial:
            write_text(partial / "first", "small")
            write_text(partial / "second", "x" * 100_000)

main()
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_full_disk(
    tmp_path: Path, what: str, own_mounts: Callable[..., subprocess.CompletedProcess]
) -> None:
    """On a disk of 64 kB: one line, exit 1, and every byte that was there is there."""
    script = """
        mount -t tmpfs -o size=64k none "$1" && cd "$1" || exit 99
        if [ "$4" = file ]; then printf old > result; else mkdir result; printf old > result/first; fi
        "$2" -c "$3" "$4" result; echo "exit $?"
        find . | sort; cat "$(find result -type f)"
    """
    done = own_mounts(script, tmp_path, sys.executable, FULL_DISK, what)
    assert done.stderr.strip().endswith(": No space left on device")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    left = "./result\n" if what == "file" else "./result\n./result/first\n"
    assert done.stdout == f"exit 1\n.\n{left}old"


# A folder


@pytest.mark.parametrize("before", ["nothing", "empty", "full"])
def test_a_folder_is_whole_or_not_there(tmp_path: Path, before: str) -> None:
    path = tmp_path / "deep" / "out"
    if before != "nothing":
        path.mkdir(parents=True)
    if before == "full":
        (path / "old").write_text("old")
    with atomic_folder(path, overwrite=before == "full") as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "new").write_text("new")
        assert not (path / "sub").exists()
    assert tree(tmp_path / "deep") == {"out": None, "out/sub": None, "out/sub/new": "new"}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("before", [False, True])
def test_a_failure_leaves_the_folder_as_it_was(
    tmp_path: Path, failure: type[BaseException], before: bool
) -> None:
    path = tmp_path / "out"
    if before:
        path.mkdir()
        (path / "old").write_text("old")

    def write() -> None:
        with atomic_folder(path, overwrite=True) as partial:
            (partial / "new").write_text("half")
            raise failure

    with pytest.raises(failure):
        write()
    assert tree(tmp_path) == ({"out": None, "out/old": "old"} if before else {})


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("failure", [PermissionError, KeyboardInterrupt])
def test_a_failure_while_the_folders_change_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int, failure: type[BaseException]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    real, calls = Path.rename, []

    def rename(source: Path, target: Path) -> Path:
        calls.append(source)
        if len(calls) == nth:
            raise failure
        return real(source, target)

    def write() -> None:
        with atomic_folder(tmp_path / "out", overwrite=True) as partial:
            (partial / "new").write_text("new")
            monkeypatch.setattr(Path, "rename", rename)

    with pytest.raises(failure):
        write()
    assert tree(tmp_path) == {"out": None, "out/old": "old"}


KILLED = """
import os, signal, sys
from pathlib import Path
from mtab.files import atomic_folder

real, calls, nth = Path.rename, [], int(sys.argv[2])
def rename(source, target):
    calls.append(source)
    if len(calls) == nth:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(source, target)

with atomic_folder(sys.argv[1], overwrite=True) as partial:
    (partial / "new").write_text("new")
    Path.rename = rename
    if nth == 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("nth", [0, 1, 2], ids=["writing", "before the first rename", "between the renames"])
def test_what_a_killed_run_leaves_is_put_right_by_the_next(tmp_path: Path, nth: int) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "out"), str(nth)], check=False)
    assert done.returncode == -signal.SIGKILL
    # Without leave to overwrite it, the old folder stays.
    with pytest.raises(MtabError, match="exists already"), atomic_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "old").read_text() == "old"
    with atomic_folder(tmp_path / "out", overwrite=True) as partial:
        assert list(partial.iterdir()) == []
        (partial / "newer").write_text("newer")
    assert tree(tmp_path) == {"out": None, "out/newer": "newer"}


def test_a_linked_folder_is_replaced_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "disk" / "real").mkdir(parents=True)
    (tmp_path / "disk" / "real" / "old").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "real")
    with atomic_folder(tmp_path / "link", overwrite=True) as partial:
        (partial / "new").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert tree(tmp_path / "disk") == {"real": None, "real/new": "new"}


def test_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_folder(".") as partial:
        (partial / "new").write_text("new")
    assert tree(tmp_path) == {"new": "new"}


def test_existing_results_are_refused(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    refuse_existing(tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    refuse_existing(tmp_path / "full", overwrite=True)
    (tmp_path / "file").write_text("x")
    for name, message in (
        ("full", "exists already; .* --overwrite"),
        ("file", "is a file, expected a folder"),
    ):
        with pytest.raises(MtabError, match=f"^{tmp_path / name}: {message}"), atomic_folder(tmp_path / name):
            pytest.fail("work was begun in vain")
    with pytest.raises(MtabError, match="is a file"):
        refuse_existing(tmp_path / "file", overwrite=True)
    assert tree(tmp_path)["full/x"] == "x"


# JSON and hashes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=40)
@given(value=json_values)
def test_json_comes_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_text_is_utf8_and_json_can_be_read(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "Grüße 😠\n")
    assert (tmp_path / "a").read_bytes() == "Grüße 😠\n".encode()
    write_json(tmp_path / "b", {"wut": "😠"})
    assert (tmp_path / "b").read_text(encoding="utf-8") == '{\n  "wut": "😠"\n}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_cannot_hold_is_not_written(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "a", 1)
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a", {"x": value})
    assert tree(tmp_path) == {"a": "1\n"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"{'a': 1}", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b'{"a": NaN}', "is not JSON .NaN"),
        (b"[-Infinity]", "is not JSON .-Infinity"),
        (b"[" * 100_000, "is not JSON"),
        (b"1" * 5_000, "is not JSON"),
        (b"{} {}", "is not JSON"),
    ],
)
def test_what_is_no_json(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{tmp_path / 'a.json'}: {found}"):
        read_json(tmp_path / "a.json")


@settings(deadline=None, max_examples=10)
@given(st.binary(max_size=1000))
def test_sha256(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "content"
    path.write_bytes(content)
    assert sha256(path) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MTAB_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/mtab"),
        ({"MTAB_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/mtab"),
        ({"MTAB_CACHE": "~/c", "HOME": "/h"}, "/h/c"),
        ({"XDG_CACHE_HOME": "x", "HOME": "/h"}, "/h/.cache/mtab"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "h"}, "/x/mtab"),
        ({"HOME": "h"}, "/dev/null/no home directory, set MTAB_CACHE"),
    ],
)
def test_cache_dir(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str) -> None:
    for name in ("MTAB_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)


def test_no_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("MTAB_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_dir() == Path("/x/mtab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(OSError, match="set MTAB_CACHE"):
        (cache_dir() / "a").mkdir(parents=True)
    with pytest.raises(OSError, match="set MTAB_CACHE"):
        write_text(cache_dir() / "a" / "b.json", "{}")
    assert not (cache_dir() / "a").is_file()
