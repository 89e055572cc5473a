"""Graphs kept as OpenVINO compiled them: the same answers, and never a reason to fail."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import mtab.engines.openvino as module
from mtab.bundle import open_bundle
from mtab.engines import graph_cache
from mtab.engines.opening import open_engine
from mtab.engines.openvino import OpenVinoEngine
from mtab.engines.stamps import write_stamp
from mtab.errors import EngineError
from mtab.types import Precision

from .openvino_engine import BATCHES, LIMITED

openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
pytestmark = pytest.mark.skipif(LIMITED, reason="OpenVINO computes nothing with SSE4.1 alone")

CONTENT = "a hash"
Answers = list[dict[str, np.ndarray]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


@pytest.fixture(scope="module")
def graph(tone_bundle: Path) -> Path:
    return tone_bundle / "model.onnx"


@pytest.fixture(scope="module")
def expected(graph: Path) -> Answers:
    return answers(OpenVinoEngine(graph, threads=1))


@pytest.fixture(scope="module")
def left(graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that a first engine leaves."""
    folder = tmp_path_factory.mktemp("left")
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("MTAB_CACHE", str(folder))
        begin(graph)
    return folder


@pytest.fixture
def blob(left: Path, cache: Path) -> Path:
    """A blob that an engine of `graph` begins from."""
    shutil.copytree(left, cache.parent)
    return blob_in(cache)


def begin(graph: Path, precision: Precision = "fp32", content: str | None = CONTENT) -> OpenVinoEngine:
    return OpenVinoEngine(graph, threads=1, precision=precision, content=content)


def answers(engine: OpenVinoEngine) -> Answers:
    return [engine.run(each) for each in (*BATCHES, *BATCHES)]


def require_same(engine: OpenVinoEngine, expected: Answers) -> None:
    for found, right in zip(answers(engine), expected, strict=True):
        for name, array in right.items():
            np.testing.assert_array_equal(found[name], array)


def refuse_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on an engine begins from the cache, or not at all."""

    def refuse(path: Path) -> None:
        raise RuntimeError(f"{path} is read")

    monkeypatch.setattr(module, "read_graph", refuse)


def blob_in(cache: Path) -> Path:
    (folder,) = cache.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["model.blob", "stamp.json"]
    return folder / "model.blob"


def test_the_second_engine_begins_from_what_the_first_left(
    graph: Path, expected: Answers, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_same(begin(graph), expected)
    blob_in(cache)
    refuse_to_compile(monkeypatch)
    second = begin(graph)
    assert (second.path, second.precision) == (graph, "fp32")
    require_same(second, expected)


def test_int8_as_compiled(graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are kept as int8, and activations are quantised as they come, as before."""
    if not module.multiplies_int8():
        pytest.skip("int8 needs a processor with VNNI")
    expected = answers(OpenVinoEngine(graph, threads=1, precision="int8"))
    require_same(begin(graph, "int8"), expected)
    blob_in(cache)
    refuse_to_compile(monkeypatch)
    require_same(begin(graph, "int8"), expected)
    with pytest.raises(EngineError, match="is read"):
        begin(graph, "fp32")


def test_a_bundle_is_kept_if_it_was_verified(tone_bundle: Path, cache: Path) -> None:
    open_engine(open_bundle(tone_bundle, verify=False), "openvino", "cpu", threads=1)
    OpenVinoEngine(tone_bundle / "model.onnx", threads=1)
    assert not cache.exists()
    open_engine(open_bundle(tone_bundle), "openvino", "cpu", threads=1)
    blob_in(cache)


def test_pages_of_the_file_are_given_back_after_the_first_answer(
    graph: Path, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaps = Path("/proc/self/smaps")
    if not smaps.is_file():
        pytest.skip("the system does not tell")

    def resident() -> int:
        """Kilobytes of the mapped blob."""
        lines = iter(smaps.read_text().splitlines())
        sizes = [
            next(line for line in lines if line.startswith("Rss:")) for each in lines if str(blob) in each
        ]
        return sum(int(size.split()[1]) for size in sizes)

    def answered() -> int:
        engine = begin(graph)
        engine.run(BATCHES[0])
        return resident()

    with monkeypatch.context() as changed:
        changed.setattr(module, "_give_back", lambda weights: None)
        held = answered()
    assert held > 0.5 * blob.stat().st_size / 1024
    assert answered() < 0.5 * held


@pytest.mark.parametrize("spoil", ["byte", "cut", "no blob", "another version"])
def test_a_spoiled_blob_is_made_again(
    graph: Path, expected: Answers, blob: Path, spoil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = blob.read_bytes()
    if spoil == "byte":
        # As long as before, and its times set back.
        status = blob.stat()
        middle = len(whole) // 2
        blob.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
        os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif spoil == "cut":
        blob.write_bytes(whole[: len(whole) // 2])
    else:
        # As its stamp says, but OpenVINO does not take it.
        version = openvino.__version__.partition("-")[0].encode()
        assert version in whole
        blob.write_bytes(b"no blob" if spoil == "no blob" else whole.replace(version, b"1" * len(version), 1))
        write_stamp(blob.parent)
    require_same(begin(graph), expected)
    refuse_to_compile(monkeypatch)
    require_same(begin(graph), expected)


def test_a_cache_that_cannot_be_written(graph: Path, expected: Answers, cache: Path) -> None:
    cache.parent.write_text("a file where a folder should be")
    require_same(begin(graph), expected)
    assert cache.parent.is_file()


def test_what_cannot_be_loaded_is_not_kept(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(EngineError) as caught:
        begin(path)
    assert str(caught.value).startswith(f"{path}: OpenVINO cannot load it (")
    assert list(cache.iterdir()) == []


def test_what_it_was_compiled_for_is_all_that_it_is_used_for(
    graph: Path, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another content, number of threads, limit to oneDNN, version, processor: compiled anew."""
    refuse_to_compile(monkeypatch)
    begin(graph)
    with pytest.raises(EngineError, match="is read"):
        begin(graph, content="another")
    with pytest.raises(EngineError, match="is read"):
        OpenVinoEngine(graph, threads=2, content=CONTENT)
    with monkeypatch.context() as changed:
        changed.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")
        with pytest.raises(EngineError, match="is read"):
            begin(graph)
    for owner, name, value in (
        (openvino, "get_version", lambda: "another"),
        (module, "__version__", "another"),
        (module, "usable_cores", lambda: 1000),
        (graph_cache, "processor_key", lambda: "another"),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(owner, name, value)
            with pytest.raises(EngineError, match="is read"):
                begin(graph)
    begin(graph)


def test_an_engine_that_computes_in_another_precision_is_refused(
    graph: Path, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it begins from the cache: what OpenVINO makes of a wish is looked at again."""
    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("the processor computes in fp16")
    refuse_to_compile(monkeypatch)
    monkeypatch.setattr(module, "hint_of", lambda *_: "f16")
    monkeypatch.setattr(graph_cache, "folder_of", lambda *_: blob.parent)
    with pytest.raises(EngineError, match=r"OpenVINO computes in .*, expected f16"):
        begin(graph)
