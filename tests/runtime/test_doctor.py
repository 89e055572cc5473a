"""`mtab doctor` as a whole: on this machine, on broken installations laid out here, and its report."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from mtab.cli import main
from mtab.cuda import Cuda
from mtab.doctor import report
from mtab.doctor.checks import Check
from mtab.doctor.report import Report
from mtab.machine import describe_machine


@pytest.fixture
def only_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the other libraries, which take their time."""
    monkeypatch.setattr(report, "LIBRARIES", ())


def examined() -> tuple[int, dict[str, Check], str]:
    """Exit code, checks by their names, and the last line of the page."""
    checks = report.examine().checks
    done = CliRunner().invoke(main, ["doctor"])
    assert done.stderr == ""
    return done.exit_code, {check.name: check for check in checks}, done.stdout.splitlines()[-1]


def test_this_machine_as_json() -> None:
    done = CliRunner().invoke(main, ["doctor", "--json"])
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["can_run"] is True
    assert found["machine"] == describe_machine()
    checks = {check["name"]: check for check in found["checks"]}
    assert len(checks) == len(found["checks"])
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


@pytest.mark.usefixtures("only_onnxruntime")
def test_two_flavours_over_each_other(site: Path, install: Callable[..., None]) -> None:
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


@pytest.mark.usefixtures("only_onnxruntime")
def test_an_onnxruntime_that_does_not_import(site: Path, install: Callable[..., None]) -> None:
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
def test_an_onnxruntime_that_imports_and_runs_nothing(site: Path, install: Callable[..., None]) -> None:
    install(site, "onnxruntime", "1.32.0", "onnxruntime", FAKE_ONNXRUNTIME)
    code, checks, last = examined()
    assert (code, last) == (1, "No bundle can be run here: device cpu.")
    assert checks["ONNX Runtime"].ok
    fix = "pip uninstall -y onnxruntime && pip install 'mtab[cpu]'"
    assert checks["device cpu"] == Check("device cpu", "libcublasLt.so.13 is missing", False, fix, True)


def test_the_page() -> None:
    checks = (
        Check("CPU", "of sand"),
        Check("ONNX Runtime", "broken", False, "pip install it", needed=True),
        Check("GPU", "idle", None, "plug it in"),
        Check("soxr", "1.0", True, needed=True),
    )
    text = report.format_report(Report(False, {}, Cuda(None), checks))
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
