"""`mtab doctor` on this machine, on broken installations laid out here, and with GPUs that are acted out."""

import ctypes
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx.reference import ReferenceEvaluator
from packaging.requirements import Requirement as PublishedRequirement

from mtab import doctor
from mtab.cli import main
from mtab.doctor import Check, Cuda, Gpu, Library, Report, Runtime
from mtab.machine import describe_machine

ROOT = Path(__file__).parents[2]
NO_GPU = Cuda(None)
ONE_GPU = Cuda("13.1", (Gpu("NVIDIA GeForce RTX 4060 Ti", 16 * 2**30, "8.9"),))
NEEDS = doctor.requirements(["onnxruntime>=1.24; extra == 'cpu'", "soxr>=0.5", "av>=14; extra == 'video'"])


def install(site: Path, package: str, release: str, module: str, code: str | None = None) -> None:
    """A package as pip leaves it: its metadata, and its module unless another one's is to be found."""
    folder = site / f"{package.replace('-', '_')}-{release}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {release}\n")
    (folder / "RECORD").write_text(f"{module}/__init__.py,,\n{folder.name}/METADATA,,\n")
    if code is not None:
        (site / module).mkdir()
        (site / module / "__init__.py").write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def only_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the other libraries, which take their time."""
    monkeypatch.setattr(doctor, "LIBRARIES", ())


def examined() -> tuple[int, dict[str, Check], str]:
    """Exit code, checks by their names, and the last line of the page."""
    report = doctor.examine()
    done = CliRunner().invoke(main, ["doctor"])
    assert done.stderr == ""
    return done.exit_code, {check.name: check for check in report.checks}, done.stdout.splitlines()[-1]


# This machine


def test_this_machine_as_json() -> None:
    done = CliRunner().invoke(main, ["doctor", "--json"])
    assert (done.exit_code, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["can_run"] is True
    assert report["machine"] == describe_machine()
    checks = {check["name"]: check for check in report["checks"]}
    assert len(checks) == len(report["checks"])
    assert set(checks["NumPy"]) == {"name", "found", "ok", "fix", "needed"}
    for name in ("NumPy", "soundfile", "soxr", "tokenizers"):
        assert checks[name]["ok"], name
        assert checks[name]["found"].startswith(version(name.lower()))
    assert checks["device cpu"] == {
        "name": "device cpu",
        "found": "ran a graph",
        "ok": True,
        "fix": None,
        "needed": True,
    }
    assert checks["torch"]["found"].startswith(version("torch"))
    assert checks["cache"]["ok"]


def test_as_it_is_typed() -> None:
    """One page, and nothing heavy in the process of the command itself."""
    heavy = ("torch", "onnxruntime", "openvino", "tensorrt_rtx", "av", "soundfile", "numpy")
    code = (
        "import atexit, sys; from mtab.cli import main\n"
        f"atexit.register(lambda: print([name for name in {heavy!r} if name in sys.modules]))\n"
        "main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    page, *_, last = done.stdout.split("\n\n")
    assert last == "A bundle can be run here.\n[]\n"
    names = [line.partition("  ")[0] for line in page.splitlines()]
    assert len(names) == len(set(names)) < 50


def test_help_does_not_load_it() -> None:
    code = "from mtab.cli import main; main(['doctor', '--help'], standalone_mode=False)"
    code += "\nimport sys; assert 'mtab.doctor' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_graph_doubles() -> None:
    model = onnx.load_from_string(doctor.DOUBLING_GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    (answer,) = ReferenceEvaluator(model).run(None, {"x": np.array([1.5, -2], np.float32)})
    np.testing.assert_array_equal(answer, np.array([3, -4], np.float32))


# ONNX Runtime


@pytest.mark.usefixtures("only_onnxruntime")
def test_two_flavours_over_each_other(site: Path) -> None:
    """The metadata of both, and the module of one."""
    install(site, "onnxruntime-gpu", "1.20.1", "onnxruntime")
    here = version("onnxruntime")
    code, checks, last = examined()
    # What is imported still runs.
    assert (code, last) == (0, "A bundle can be run here.")
    assert checks["device cpu"].ok
    assert checks["ONNX Runtime"].found.startswith(
        f"onnxruntime {here} and onnxruntime-gpu 1.20.1 are installed over each other; "
        f"what is imported is onnxruntime {here}"
    )
    fix = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'mtab[cpu]'"
    assert checks["ONNX Runtime"].fix == fix


def flavour(name: str, release: str) -> doctor.Package:
    return doctor.Package(name, release, frozenset({"onnxruntime"}))


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
def test_an_installation_that_is_not_one(
    imported: Runtime, flavours: list[doctor.Package], found: str
) -> None:
    names = " ".join(each.name for each in flavours)
    for cuda, extra in ((NO_GPU, "cpu"), (ONE_GPU, "gpu")):
        check = doctor.onnxruntime_check(imported, None, flavours, NEEDS, cuda)
        fix = f"pip uninstall -y {names} && pip install 'mtab[{extra}]'"
        assert check == Check("ONNX Runtime", found, False, fix)


@pytest.mark.parametrize("release", ["1.24.0", "1.24", "1.100.0", "1.32.0+cu13"])
@pytest.mark.parametrize("says", ["onnxruntime-gpu", ""])
def test_an_installation_that_is_one(release: str, says: str) -> None:
    flavours = [flavour("onnxruntime-gpu", release)]
    assert doctor.onnxruntime_check(runtime(says, release), None, flavours, NEEDS, ONE_GPU).ok


def test_no_onnxruntime() -> None:
    check = doctor.onnxruntime_check(None, "ModuleNotFoundError: No module named 'x'", [], NEEDS, NO_GPU)
    assert check.found == "not installed: ModuleNotFoundError: No module named 'x'"
    assert (check.ok, check.needed, check.fix) == (False, True, "pip install 'mtab[cpu]'")


@pytest.mark.usefixtures("only_onnxruntime")
def test_an_onnxruntime_that_does_not_import(site: Path) -> None:
    reason = "libpatience.so.1: cannot open shared object file: No such file or directory"
    install(site, "onnxruntime", "1.32.0", "onnxruntime", f"raise ImportError({reason!r})")
    code, checks, last = examined()
    assert (code, last) == (1, "No bundle can be run here: ONNX Runtime.")
    assert checks["ONNX Runtime"].found == "onnxruntime 1.32.0: libpatience.so.1 is missing"
    assert checks["ONNX Runtime"].fix == "pip uninstall -y onnxruntime && pip install 'mtab[cpu]'"


FAKE_ONNXRUNTIME = """
import sys
__version__ = "1.32.0"
package_name = "onnxruntime"
def get_available_providers(): return ["CPUExecutionProvider"]
def get_device(): return "CPU"
class SessionOptions:
    def add_session_config_entry(self, *_): pass
class InferenceSession:
    def __init__(self, *_, **__):
        print("log: error: libcublasLt.so.13: cannot open shared object file: No such", file=sys.stderr)
        raise RuntimeError("it is said below")
"""


@pytest.mark.usefixtures("only_onnxruntime")
def test_an_onnxruntime_that_imports_and_runs_nothing(site: Path) -> None:
    install(site, "onnxruntime", "1.32.0", "onnxruntime", FAKE_ONNXRUNTIME)
    code, checks, last = examined()
    assert (code, last) == (1, "No bundle can be run here: device cpu.")
    assert checks["ONNX Runtime"].ok
    fix = "pip uninstall -y onnxruntime && pip install 'mtab[cpu]'"
    assert checks["device cpu"] == Check("device cpu", "libcublasLt.so.13 is missing", False, fix, True)


def test_a_device_without_a_provider_is_a_gap_where_there_is_a_gpu() -> None:
    flavours = [flavour("onnxruntime", "1.32.0")]
    without = doctor.device_check("cuda", runtime("onnxruntime", "1.32.0"), flavours, NO_GPU)
    assert (without.ok, without.fix, without.needed) == (None, None, False)
    beside = doctor.device_check("cuda", runtime("onnxruntime", "1.32.0"), flavours, ONE_GPU)
    assert (beside.ok, beside.fix) == (None, "pip uninstall -y onnxruntime && pip install 'mtab[gpu]'")


def test_a_plugin_provider(site: Path) -> None:
    code = "def get_library_path(): return '/nowhere/libepnone.so'\ndef get_ep_name(): return 'None'\n"
    install(site, "onnxruntime-ep-none", "0.1", "onnxruntime_ep_none", code)
    assert "onnxruntime_ep_none" in {m for p in doctor.installed("onnxruntime") for m in p.modules}
    for cuda, ok in ((NO_GPU, None), (ONE_GPU, False)):
        check = doctor.plugin_check("onnxruntime_ep_none", cuda)
        assert check == Check("onnxruntime-ep-none", "libepnone.so is missing", ok)


def test_a_provider_that_is_not_there_is_no_failure() -> None:
    check = doctor.provider_check("TensorrtExecutionProvider")
    assert check.ok is None
    assert "TensorrtExecutionProvider" in check.found or "CPUExecutionProvider" in check.found


# Libraries


LEAF = Library("Leaf", "leaf", "leaf", "mtab[video]")


def test_a_library_that_works(site: Path) -> None:
    install(site, "leaf", "2.0", "leaf", "print('a word of greeting')")
    assert doctor.library_check(LEAF, NEEDS, NO_GPU) == Check("Leaf", "2.0", True)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('no leaves\\nin winter')", "ImportError: no leaves in winter"),
        ("raise OSError('libleaf.so.2: cannot open shared object file')", "libleaf.so.2 is missing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "was ended by SIGILL"),
        ("import os; os._exit(3)", "ended with exit code 3"),
    ],
)
def test_a_library_that_is_installed_and_fails(site: Path, code: str, reason: str) -> None:
    install(site, "leaf", "2.0", "leaf", code)
    check = doctor.library_check(LEAF, NEEDS, NO_GPU)
    assert check.found.startswith("2.0: ")
    assert check.found.endswith(reason)
    assert (check.ok, check.fix) == (False, "pip install --force-reinstall --no-deps leaf")


def test_a_library_that_hangs(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "leaf", "2.0", "leaf", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "_TIMEOUT", 1.0)
    assert doctor.library_check(LEAF, NEEDS, NO_GPU).found == "2.0: no answer in 1 s"


def test_what_lies_in_the_current_folder_is_not_imported(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "leaf", "2.0", "leaf", "")
    here = tmp_path_factory.mktemp("here")
    for name in ("json.py", "leaf.py", "mtab.py"):
        (here / name).write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(here)
    assert doctor.library_check(LEAF, NEEDS, NO_GPU).ok


def test_a_library_that_is_too_old(site: Path) -> None:
    install(site, "av", "13.1.0", "av", "ffmpeg_version_info = '7.0'")
    check = doctor.library_check(Library("PyAV", "av", "av", "mtab[video]"), NEEDS, NO_GPU)
    assert check.found == "13.1.0, expected 14 or newer"
    assert (check.ok, check.fix) == (False, "pip install --upgrade 'mtab[video]'")


def test_a_library_that_is_not_installed() -> None:
    check = doctor.library_check(LEAF, NEEDS, NO_GPU)
    assert check == Check("Leaf", "not installed", None, "pip install --upgrade 'mtab[video]'")
    needed = Library("Leaf", "leaf", "leaf", "mtab", needed=True)
    check = doctor.library_check(needed, NEEDS, NO_GPU)
    assert (check.ok, check.fix, check.needed) == (False, "pip install --upgrade mtab", True)
    for_gpus = Library("Leaf", "leaf", "leaf", "leaf", for_gpus=True)
    assert doctor.library_check(for_gpus, NEEDS, NO_GPU).fix is None
    assert doctor.library_check(for_gpus, NEEDS, ONE_GPU).fix == "pip install --upgrade leaf"


def test_an_extra_lacks_what_is_absent_or_old() -> None:
    needs = [
        doctor.Requirement("numpy", "1.0", "train"),
        doctor.Requirement("leaf", None, "train"),
        doctor.Requirement("soxr", "99", "train"),
        doctor.Requirement("another-leaf", None, "bench"),
    ]
    check = doctor.extra_check("train", needs)
    assert check.found == f"lacks leaf, soxr 99 (found {version('soxr')})"
    assert (check.ok, check.fix) == (None, "pip install --upgrade 'mtab[train]'")
    assert doctor.extra_check("train", needs[:1]) == Check("mtab[train]", "complete", True)


def test_requirements_are_read_as_packaging_reads_them() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    own = [line for lines in extras.values() for line in lines]
    published = [*(requires("mtab") or ()), *own, "a-b[c]>=2.1; extra == 'd'", "a.b>1,>=1.4.2"]
    for line, found in zip(published, doctor.requirements(published), strict=True):
        expected = PublishedRequirement(line)
        assert found.package == expected.name
        minimum = [each.version for each in expected.specifier if each.operator == ">="]
        assert [found.minimum] == (minimum or [None])
        extra = str(expected.marker).split('"')[1] if expected.marker else None
        assert found.extra == extra


def test_every_extra_that_is_named_is_one() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [each.bringer for each in doctor.LIBRARIES if each.bringer.startswith("mtab[")]
    assert {each.removeprefix("mtab[").removesuffix("]") for each in named} <= set(extras)


# CUDA


class FakeCuda:
    """The C functions of a driver with some GPUs: they write where they are pointed and return a status."""

    NO_DEVICE = 100

    def __init__(self, driver: int, *gpus: tuple[bytes, int, int, int], init: int = 0) -> None:
        self.driver, self.gpus, self.init, self.ready = driver, gpus, init, False

    def cuDriverGetVersion(self, number) -> int:
        number._obj.value = self.driver
        return 0

    def cuInit(self, flags: int) -> int:
        self.ready = not self.init
        return self.init if flags == 0 else 1

    def cuGetErrorString(self, status: int, text) -> int:
        text._obj.value = b"no CUDA-capable device is detected" if status == self.NO_DEVICE else None
        return 0

    def cuDeviceGetCount(self, count) -> int:
        count._obj.value = len(self.gpus)
        return 0 if self.ready else 3

    def cuDeviceGet(self, device, index: int) -> int:
        # A handle that is not the index.
        device._obj.value = 40 + index
        return 0

    def cuDeviceGetName(self, buffer, size: int, device: int) -> int:
        buffer.value = self.gpus[device - 40][0][: size - 1]
        return 0

    def cuDeviceTotalMem_v2(self, memory, device: int) -> int:
        assert ctypes.sizeof(memory._obj) == 8
        memory._obj.value = self.gpus[device - 40][1]
        return 0

    def cuDeviceGetAttribute(self, value, attribute: int, device: int) -> int:
        # As cuda.h numbers them.
        value._obj.value = self.gpus[device - 40][{75: 2, 76: 3}[attribute]]
        return 0


def test_gpus() -> None:
    memory = 17_175_674_880
    library = FakeCuda(
        13010, (b"NVIDIA GeForce RTX 4060 Ti", memory, 8, 9), (b"NVIDIA H100", 8 * memory, 9, 0)
    )
    cuda = doctor.query_cuda(library)
    assert cuda == Cuda(
        "13.1",
        (Gpu("NVIDIA GeForce RTX 4060 Ti", memory, "8.9"), Gpu("NVIDIA H100", 8 * memory, "9.0")),
    )
    assert doctor.cuda_checks(cuda, expected=True) == [
        Check("NVIDIA driver", "for CUDA up to 13.1", True),
        Check("GPU cuda:0", "NVIDIA GeForce RTX 4060 Ti, 16.0 GiB, compute capability 8.9", True),
        Check("GPU cuda:1", "NVIDIA H100, 128.0 GiB, compute capability 9.0", True),
    ]


@pytest.mark.parametrize(
    ("init", "problem"),
    [
        (100, "cuInit: no CUDA-capable device is detected (100)"),
        (803, "cuInit: unknown error (803)"),
    ],
)
def test_a_driver_that_finds_no_gpu(init: int, problem: str) -> None:
    cuda = doctor.query_cuda(FakeCuda(12040, init=init))
    assert cuda == Cuda("12.4", (), problem)
    driver, gpu = doctor.cuda_checks(cuda, expected=False)
    assert driver == Check("NVIDIA driver", f"for CUDA up to 12.4 ({problem})")
    assert gpu == Check("GPU", "none")


def test_no_driver_is_a_gap_where_the_bus_has_a_gpu(tmp_path: Path) -> None:
    for slot, vendor in (("0000:00:01.0", "0x8086"), ("0000:01:00.0", "0x10de")):
        (tmp_path / slot).mkdir()
        (tmp_path / slot / "vendor").write_text(f"{vendor}\n")
        assert doctor.has_nvidia_device(tmp_path) is (vendor == "0x10de")
    assert not doctor.has_nvidia_device(tmp_path / "none")
    none = Cuda(None, problem="libcuda.so.1 is missing")
    assert doctor.cuda_checks(none, expected=True)[0] == Check(
        "NVIDIA driver", "none (libcuda.so.1 is missing)", False, doctor.NO_DRIVER_FIX
    )
    assert doctor.cuda_checks(none, expected=False)[0].fix is None


@pytest.mark.gpu
def test_the_gpu_is_the_one_that_torch_sees() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    seen = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found = doctor.find_cuda()
    assert found.problem is None
    assert [(gpu.name, gpu.memory, gpu.compute_capability) for gpu in found.gpus] == [
        (gpu.name, gpu.total_memory, f"{gpu.major}.{gpu.minor}") for gpu in seen
    ]
    if "CUDAExecutionProvider" not in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip("needs onnxruntime-gpu")
    assert doctor.device_check("cuda", runtime("onnxruntime-gpu", "1", "cpu", "cuda"), [], found).ok


# The cache


def test_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    check = doctor.cache_check(folder)
    assert check.ok
    assert check.found.startswith(f"{folder}: not made yet, ")
    assert list(tmp_path.iterdir()) == []
    (folder / "graphs").mkdir(parents=True)
    (folder / "graphs" / "a").write_bytes(b"\0" * 3 * 2**20)
    (folder / "b").write_bytes(b"\0" * 2**19)
    assert doctor.cache_check(folder).found.startswith(f"{folder}: 3.5 MiB, ")
    assert len(list(folder.rglob("*"))) == 3


def test_a_cache_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = doctor.cache_check(tmp_path / "file" / "cache")
    assert (check.ok, check.needed) == (False, False)
    assert check.found == f"{tmp_path / 'file' / 'cache'}: cannot be written to (Not a directory)"
    assert check.fix is not None


# The page


def test_the_page() -> None:
    checks = (
        Check("CPU", "of sand"),
        Check("ONNX Runtime", "broken", False, "pip install it", needed=True),
        Check("GPU", "idle", None, "plug it in"),
        Check("soxr", "1.0", True, needed=True),
    )
    text = doctor.format_report(Report(False, {}, NO_GPU, checks))
    assert text.splitlines() == [
        "part                 found",
        "------------  -----  -------",
        "CPU                  of sand",
        "ONNX Runtime  FAILS  broken",
        "GPU                  idle",
        "soxr          ok     1.0",
        "",
        "to repair     run",
        "------------  --------------",
        "ONNX Runtime  pip install it",
        "",
        "to add  run",
        "------  ----------",
        "GPU     plug it in",
        "",
        "No bundle can be run here: ONNX Runtime.",
    ]


def test_facts_of_a_machine_that_says_little() -> None:
    machine = describe_machine(Path(os.devnull), Path(os.devnull))
    machine |= {"instruction_sets": None, "memory": {"total": None, "limit": None}}
    rows = {check.name: check.found for check in doctor.machine_checks(machine)}
    assert (rows["instruction sets"], rows["memory"]) == ("unknown", "unknown")
    machine |= {"instruction_sets": ["avx2", "vnni"], "memory": {"total": 64 * 2**30, "limit": 2**31}}
    rows = {check.name: check.found for check in doctor.machine_checks(machine)}
    assert rows["instruction sets"] == "avx2 vnni"
    assert rows["memory"] == "64.0 GiB, at most 2.0 GiB of it in this container"
