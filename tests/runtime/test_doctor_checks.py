"""The lines of `mtab doctor`, on packages laid out here and with GPUs that are acted out."""

import os
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from mtab.cuda import Cuda, Gpu, find_cuda
from mtab.doctor import checks, probes
from mtab.doctor.checks import Check, Library
from mtab.doctor.probes import Runtime
from mtab.machine import describe_machine
from mtab.packages import Package, Requirement, installed, requirements

ROOT = Path(__file__).parents[2]
NO_GPU = Cuda(None)
ONE_GPU = Cuda("13.1", (Gpu(0, "NVIDIA GeForce RTX 4060 Ti", 2**34, "89"),))
NEEDS = requirements(["onnxruntime>=1.24; extra == 'cpu'", "soxr>=0.5", "av>=14; extra == 'video'"])


def test_the_graph_doubles() -> None:
    model = onnx.load_from_string(probes.DOUBLING_GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    (answer,) = ReferenceEvaluator(model).run(None, {"x": np.array([1.5, -2], np.float32)})
    np.testing.assert_array_equal(answer, np.array([3, -4], np.float32))


# ONNX Runtime


def flavour(name: str, release: str) -> Package:
    return Package(name, release, frozenset({"onnxruntime"}))


def runtime(package: str, release: str, *devices: str) -> Runtime:
    return Runtime(release, package, "for CPU", devices or ("cpu",), ())


@pytest.mark.parametrize(
    ("imported", "flavours", "found"),
    [
        (
            runtime("onnxruntime-gpu", "1.31.1"),
            [flavour("onnxruntime", "1.32.0"), flavour("onnxruntime-gpu", "1.31.1")],
            "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are installed over each other; "
            "what is imported is onnxruntime-gpu 1.31.1 (for CPU)",
        ),
        (  # of one of two, pip took the files away, or another's have come over them
            runtime("onnxruntime", "1.32.0"),
            [flavour("onnxruntime-gpu", "1.32.0")],
            "onnxruntime-gpu 1.32.0 is installed, but what is imported is onnxruntime 1.32.0 (for CPU)",
        ),
        (
            runtime("", "1.31.0"),
            [flavour("onnxruntime", "1.32.0")],
            "onnxruntime 1.32.0 is installed, but what is imported is 1.31.0 (for CPU)",
        ),
        (
            runtime("onnxruntime", "1.19.2"),
            [flavour("onnxruntime", "1.19.2")],
            "onnxruntime 1.19.2 (for CPU), expected 1.24 or newer",
        ),
    ],
)
def test_an_installation_that_is_not_one(imported: Runtime, flavours: list[Package], found: str) -> None:
    names = " ".join(each.name for each in flavours)
    for cuda, extra in ((NO_GPU, "cpu"), (ONE_GPU, "gpu")):
        check = checks.onnxruntime_check(imported, None, flavours, NEEDS, cuda)
        fix = f"pip uninstall -y {names} && pip install 'mtab[{extra}]'"
        assert check == Check("ONNX Runtime", found, False, fix)


@pytest.mark.parametrize("release", ["1.24.0", "1.24", "1.100.0", "1.32.0+cu13"])
@pytest.mark.parametrize("says", ["onnxruntime-gpu", ""])
def test_an_installation_that_is_one(release: str, says: str) -> None:
    flavours = [flavour("onnxruntime-gpu", release)]
    assert checks.onnxruntime_check(runtime(says, release), None, flavours, NEEDS, ONE_GPU).ok


def test_no_onnxruntime() -> None:
    check = checks.onnxruntime_check(None, "ModuleNotFoundError: No module named 'x'", [], NEEDS, NO_GPU)
    assert check.found == "not installed: ModuleNotFoundError: No module named 'x'"
    assert (check.ok, check.needed, check.fix) == (False, True, "pip install 'mtab[cpu]'")


def test_a_device_without_a_provider_is_a_gap_where_there_is_a_gpu() -> None:
    flavours = [flavour("onnxruntime", "1.32.0")]
    without = checks.device_check("cuda", runtime("onnxruntime", "1.32.0"), flavours, NO_GPU)
    assert (without.ok, without.fix, without.needed) == (None, None, False)
    beside = checks.device_check("cuda", runtime("onnxruntime", "1.32.0"), flavours, ONE_GPU)
    assert (beside.ok, beside.fix) == (None, "pip uninstall -y onnxruntime && pip install 'mtab[gpu]'")


def test_a_plugin_provider(site: Path, install: Callable[..., None]) -> None:
    code = "def get_library_path(): return '/nowhere/libepnone.so'\ndef get_ep_name(): return 'None'\n"
    install(site, "onnxruntime-ep-none", "0.1", "onnxruntime_ep_none", code)
    assert "onnxruntime_ep_none" in {m for p in installed("onnxruntime") for m in p.modules}
    for cuda, ok in ((NO_GPU, None), (ONE_GPU, False)):
        check = checks.plugin_check("onnxruntime_ep_none", cuda)
        assert check == Check("onnxruntime-ep-none", "libepnone.so is missing", ok)


def test_a_provider_that_is_not_there_is_no_failure() -> None:
    check = checks.provider_check("TensorrtExecutionProvider")
    assert check.ok is None
    assert "TensorrtExecutionProvider" in check.found or "CPUExecutionProvider" in check.found


# Libraries


LEAF = Library("Leaf", "leaf", "leaf", "mtab[video]")


def test_a_library_that_works(site: Path, install: Callable[..., None]) -> None:
    install(site, "leaf", "2.0", "leaf", "print('a word of greeting')")
    assert checks.library_check(LEAF, NEEDS, NO_GPU) == Check("Leaf", "2.0", True)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('no leaves\\nin winter')", "ImportError: no leaves in winter"),
        ("raise OSError('libleaf.so.2: cannot open shared object file')", "libleaf.so.2 is missing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "was ended by SIGILL"),
        ("import os; os._exit(3)", "ended with exit code 3"),
    ],
)
def test_a_library_that_is_installed_and_fails(
    site: Path, install: Callable[..., None], code: str, reason: str
) -> None:
    install(site, "leaf", "2.0", "leaf", code)
    check = checks.library_check(LEAF, NEEDS, NO_GPU)
    assert check.found.startswith("2.0: ")
    assert check.found.endswith(reason)
    assert (check.ok, check.fix) == (False, "pip install --force-reinstall --no-deps leaf")


def test_a_library_that_hangs(
    site: Path, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "leaf", "2.0", "leaf", "import time; time.sleep(60)")
    monkeypatch.setattr(probes, "_TIMEOUT", 1.0)
    assert checks.library_check(LEAF, NEEDS, NO_GPU).found == "2.0: no answer in 1 s"


def test_what_lies_in_the_current_folder_is_not_imported(
    site: Path,
    install: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(site, "leaf", "2.0", "leaf", "")
    here = tmp_path_factory.mktemp("here")
    for name in ("json.py", "leaf.py", "mtab.py"):
        (here / name).write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(here)
    assert checks.library_check(LEAF, NEEDS, NO_GPU).ok


def test_a_library_that_is_too_old(site: Path, install: Callable[..., None]) -> None:
    install(site, "av", "13.1.0", "av", "ffmpeg_version_info = '7.0'")
    check = checks.library_check(Library("PyAV", "av", "av", "mtab[video]"), NEEDS, NO_GPU)
    assert check.found == "13.1.0, expected 14 or newer"
    assert (check.ok, check.fix) == (False, "pip install --upgrade 'mtab[video]'")


def test_a_library_that_is_not_installed() -> None:
    check = checks.library_check(LEAF, NEEDS, NO_GPU)
    assert check == Check("Leaf", "not installed", None, "pip install --upgrade 'mtab[video]'")
    needed = Library("Leaf", "leaf", "leaf", "mtab", needed=True)
    check = checks.library_check(needed, NEEDS, NO_GPU)
    assert (check.ok, check.fix, check.needed) == (False, "pip install --upgrade mtab", True)
    for_gpus = Library("Leaf", "leaf", "leaf", "leaf", for_gpus=True)
    assert checks.library_check(for_gpus, NEEDS, NO_GPU).fix is None
    assert checks.library_check(for_gpus, NEEDS, ONE_GPU).fix == "pip install --upgrade leaf"


def test_an_extra_lacks_what_is_absent_or_old() -> None:
    needs = [
        Requirement("numpy", "1.0", "train"),
        Requirement("leaf", None, "train"),
        Requirement("soxr", "99", "train"),
        Requirement("another-leaf", None, "bench"),
    ]
    check = checks.extra_check("train", needs)
    assert check.found == f"lacks leaf, soxr 99 (found {version('soxr')})"
    assert (check.ok, check.fix) == (None, "pip install --upgrade 'mtab[train]'")
    assert checks.extra_check("train", needs[:1]) == Check("mtab[train]", "complete", True)


def test_every_extra_that_is_named_is_one() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [each.bringer for each in checks.LIBRARIES if each.bringer.startswith("mtab[")]
    assert {each.removeprefix("mtab[").removesuffix("]") for each in named} <= set(extras)


# CUDA


def test_gpus() -> None:
    gpus = (Gpu(0, "NVIDIA GeForce RTX 4060 Ti", 2**34, "89"), Gpu(1, "NVIDIA B300", 2**38, "103"))
    assert checks.cuda_checks(Cuda("13.1", gpus), expected=True) == [
        Check("NVIDIA driver", "for CUDA up to 13.1", True),
        Check("GPU cuda:0", "NVIDIA GeForce RTX 4060 Ti, 16.0 GiB, compute capability 8.9 (sm_89)", True),
        Check("GPU cuda:1", "NVIDIA B300, 256.0 GiB, compute capability 10.3 (sm_103)", True),
    ]


def test_a_driver_that_finds_no_gpu() -> None:
    driver, gpu = checks.cuda_checks(Cuda("12.4", (), "cuInit: unknown error (803)"), expected=False)
    assert driver == Check("NVIDIA driver", "for CUDA up to 12.4 (cuInit: unknown error (803))")
    assert gpu == Check("GPU", "none")


def test_no_driver_is_a_gap_where_the_bus_has_a_gpu() -> None:
    none = Cuda(None, problem="libcuda.so.1 is missing")
    assert checks.cuda_checks(none, expected=True)[0] == Check(
        "NVIDIA driver", "none (libcuda.so.1 is missing)", False, checks.NO_DRIVER_FIX
    )
    assert checks.cuda_checks(none, expected=False)[0].fix is None


@pytest.mark.gpu
def test_a_graph_runs_on_the_gpu() -> None:
    if not (found := find_cuda()).gpus:
        pytest.skip("needs an NVIDIA GPU")
    if "CUDAExecutionProvider" not in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip("needs onnxruntime-gpu")
    assert checks.device_check("cuda", runtime("onnxruntime-gpu", "1", "cpu", "cuda"), [], found).ok


# The machine


def test_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    check = checks.cache_check(folder)
    assert check.ok
    assert check.found.startswith(f"{folder}: not made yet, ")
    assert list(tmp_path.iterdir()) == []
    (folder / "graphs").mkdir(parents=True)
    (folder / "graphs" / "a").write_bytes(b"\0" * 3 * 2**20)
    (folder / "b").write_bytes(b"\0" * 2**19)
    assert checks.cache_check(folder).found.startswith(f"{folder}: 3.5 MiB, ")
    assert len(list(folder.rglob("*"))) == 3


def test_a_cache_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = checks.cache_check(tmp_path / "file" / "cache")
    assert (check.ok, check.needed) == (False, False)
    assert check.found == f"{tmp_path / 'file' / 'cache'}: cannot be written to (Not a directory)"
    assert check.fix is not None


def test_facts_of_a_machine_that_says_little() -> None:
    machine = describe_machine(Path(os.devnull), Path(os.devnull))
    machine |= {"instruction_sets": None, "memory": {"total": None, "limit": None}}
    rows = {check.name: check.found for check in checks.machine_checks(machine)}
    assert (rows["instruction sets"], rows["memory"]) == ("unknown", "unknown")
    machine |= {"instruction_sets": ["avx2", "vnni"], "memory": {"total": 64 * 2**30, "limit": 2**31}}
    rows = {check.name: check.found for check in checks.machine_checks(machine)}
    assert rows["instruction sets"] == "avx2 vnni"
    assert rows["memory"] == "64.0 GiB, at most 2.0 GiB of it in this container"
