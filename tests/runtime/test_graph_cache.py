"""Graphs kept as ONNX Runtime optimised them: the same answers, and never a reason to fail."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mtab.engines import graph_cache
from mtab.engines.onnxruntime import OnnxRuntimeEngine, optimised_folder
from mtab.engines.stamps import write_stamp
from mtab.errors import EngineError

CONTENT = "a hash"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


@pytest.fixture(scope="module")
def graph(tone_bundle: Path) -> Path:
    return tone_bundle / "model.onnx"


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "input_values": random.normal(size=(2, 9000)).astype(np.float32),
        "audio_lengths": np.array([9000, 3000]),
        "input_ids": random.integers(5, 200, (2, 7)),
        "text_lengths": np.array([7, 2]),
    }


@pytest.fixture(scope="module")
def expected(graph: Path, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return OnnxRuntimeEngine(graph, threads=1).run(batch)


def begin(graph: Path, content: str | None = CONTENT) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(graph, threads=1, content=content)


def require_same(engine: OnnxRuntimeEngine, batch: dict, expected: dict) -> None:
    found = engine.run(batch)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_second_session_begins_from_the_first_ones(
    graph: Path, batch: dict, expected: dict, cache: Path, tmp_path: Path
) -> None:
    require_same(begin(graph), batch, expected)
    (folder,) = cache.iterdir()
    assert folder == optimised_folder(CONTENT)
    assert sorted(path.name for path in folder.iterdir()) == [
        "graph.onnx",
        "graph.onnx.data",
        "stamp.json",
    ]
    # Where the graph no longer is, nothing else can have been read.
    moved = shutil.copytree(graph.parent, tmp_path / "moved") / "model.onnx"
    moved.unlink()
    second = begin(moved)
    assert second.path == moved
    require_same(second, batch, expected)


def test_weights_are_mapped_as_they_are_multiplied(graph: Path) -> None:
    """The kept weights hold the matrices in the processor's own layout beside the original ones."""
    begin(graph)
    kept = optimised_folder(CONTENT) / "graph.onnx.data"
    if (
        onnxruntime.get_device() != "CPU"
        or kept.stat().st_size <= (graph.parent / "model.onnx.data").stat().st_size
    ):
        pytest.fail(f"{kept}: no larger than the weights of the graph")


def test_it_is_left_alone_without_a_hash(graph: Path, cache: Path) -> None:
    begin(graph, content=None)
    assert not cache.exists()


@pytest.mark.parametrize("spoil", ["graph", "weights", "byte", "cut", "gone", "stamp", "more"])
def test_a_spoiled_graph_is_made_again(
    graph: Path, batch: dict, expected: dict, cache: Path, spoil: str
) -> None:
    begin(graph)
    folder = optimised_folder(CONTENT)
    weights = folder / "graph.onnx.data"
    size = weights.stat().st_size
    if spoil == "graph":
        (folder / "graph.onnx").write_bytes(b"no graph")
    elif spoil == "weights":
        weights.unlink()
    elif spoil == "byte":
        # As long as before, and its times set back.
        status = weights.stat()
        with weights.open("r+b") as file:
            file.seek(size // 2)
            whole = file.read(4096)
            file.seek(size // 2)
            file.write(bytes(255 - byte for byte in whole))
        os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif spoil == "stamp":
        (folder / "stamp.json").write_text("{}")
    elif spoil == "more":
        (folder / "more.data").write_bytes(b"x")
    elif spoil == "cut":
        with weights.open("r+b") as file:
            file.truncate(size // 2)
    else:
        (folder / "graph.onnx").unlink()
    require_same(begin(graph), batch, expected)
    assert not (folder / "more.data").exists()
    if spoil != "gone":
        assert weights.stat().st_size == size
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written(graph: Path, batch: dict, expected: dict, cache: Path) -> None:
    cache.parent.write_text("a file where a folder should be")
    require_same(begin(graph), batch, expected)
    assert cache.parent.is_file()


def test_a_full_disk(
    graph: Path, batch: dict, expected: dict, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(graph.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    require_same(begin(graph), batch, expected)
    assert list(cache.iterdir()) == []


FULL = """
    mount -t tmpfs -o size=200k none "$1" || exit 99
    export MTAB_CACHE="$1"
    "$2" -c '
import shutil, sys
from pathlib import Path
from mtab.engines.onnxruntime import OnnxRuntimeEngine
usage = shutil.disk_usage("/")
shutil.disk_usage = lambda path: usage._replace(free=2**40)
print(OnnxRuntimeEngine(Path(sys.argv[1]), threads=1, content="x").outputs)
print(*Path(sys.argv[2]).rglob("*.onnx"))
' "$3" "$1"
"""


def test_a_disk_that_fills_up_under_way(graph: Path, tmp_path: Path, own_mounts) -> None:
    import sys

    done = own_mounts(FULL, tmp_path, sys.executable, graph)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "('logits', 'probabilities', 'embeddings')\n\n"


def test_what_cannot_be_loaded_is_not_kept(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(EngineError) as caught:
        begin(path)
    assert str(caught.value).startswith(f"{path}: ONNX Runtime cannot load it (")
    assert list(cache.iterdir()) == []


def test_where_it_belongs_depends_on_content_version_and_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {optimised_folder("a"), optimised_folder("b")}
    monkeypatch.setattr(onnxruntime, "__version__", "9.9")
    folders.add(optimised_folder("a"))
    monkeypatch.setattr(graph_cache, "processor_key", lambda: "another")
    folders.add(optimised_folder("a"))
    assert len(folders) == 4


def test_what_is_not_used_is_deleted(graph: Path, cache: Path) -> None:
    begin(graph)
    kept = optimised_folder(CONTENT)
    days = {"old": 61, "young": 59, ".partial-old": 2, ".partial-young": 0.5}
    for name, age in days.items():
        (cache / name).mkdir()
        (cache / name / "graph.onnx").write_bytes(b"x")
        write_stamp(cache / name)
        os.utime(cache / name, (time.time() - age * 24 * 3600,) * 2)
    os.utime(kept, (0, 0))
    # Its use counts, and another one's being written is when the rest is looked at.
    begin(graph)
    begin(graph, content="another")
    left = {path.name for path in cache.iterdir()}
    assert left == {"young", ".partial-young", kept.name, optimised_folder("another").name}


def test_the_faster_of_two_stays(graph: Path, cache: Path) -> None:
    folder = optimised_folder(CONTENT)
    with graph_cache.keeping(folder, graph) as partial:
        (partial / "graph.onnx").write_bytes(b"slow")
        with graph_cache.keeping(folder, graph) as other:
            (other / "graph.onnx").write_bytes(b"fast")
    assert (folder / "graph.onnx").read_bytes() == b"fast"
    assert [path.name for path in cache.iterdir()] == [folder.name]
