"""What this machine can run: each part is tried, and each gap comes with the command that fills it.

A library is tried in a process of its own, since one that is broken, or built for another processor, may end
the process that loads it.
"""

import ctypes
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path
from typing import Any

from mtab import __version__
from mtab.config import from_dict
from mtab.console import table
from mtab.errors import EngineError
from mtab.files import cache_dir
from mtab.machine import describe_machine, usable_cores

# y = x + x over float32 (2,), opset 18, in ONNX's protobuf: the runtime brings no package that writes it.
DOUBLING_GRAPH = (
    b"\x08\x08"  # IR version 8
    b"\x3a\x3a"  # the graph, 58 bytes:
    b'\x0a\x0e\x0a\x01x\x0a\x01x\x12\x01y"\x03Add'  # a node: its inputs, output and operator
    b"\x12\x06doctor"  # the graph's name
    b"\x5a\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x02"  # the input: name, float32, (2,)
    b"\x62\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x02"  # the output
    b"\x42\x04\x0a\x00\x10\x12"  # ONNX's own operators, opset 18
)
# It is no device of this machine.
REMOTE_PROVIDERS = ("AzureExecutionProvider",)
NO_DRIVER_FIX = "install NVIDIA's driver; start a container with --gpus all"

_TIMEOUT = 120.0
_GIB = 2**30
_CUDA_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_MISSING_LIBRARY = re.compile(r"([\w.+-]+\.so[.\d]*): cannot open shared object file")
_REQUIREMENT = re.compile(r"([\w.-]+)(?:.*?>=([\d.]+))?(?:.*extra == ['\"]([\w-]+)['\"])?")
_STATES = {True: "ok", False: "FAILS", None: ""}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    ``ok`` is True for what was tried and works, or is complete, False for what should work and does not, and
    None where there is nothing to judge: a fact, or an option that is not there. ``fix`` is the one command
    that fills the gap. Unless all ``needed`` ones are ok, no bundle runs here.
    """

    name: str
    found: str
    ok: bool | None = None
    fix: str | None = None
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Gpu:
    """``memory`` is in bytes; a ``compute_capability`` is such as "8.9"."""

    name: str
    memory: int
    compute_capability: str


@dataclass(frozen=True, slots=True)
class Cuda:
    """The driver: the newest CUDA that it supports (None without a driver), its GPUs, and what it lacks."""

    version: str | None
    gpus: tuple[Gpu, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """``machine`` is `mtab.machine.describe_machine`'s."""

    can_run: bool
    machine: dict[str, Any]
    cuda: Cuda
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Library:
    """A Python package with its module, and what pip installs to bring it.

    No bundle runs without a ``needed`` one; one ``for_gpus`` is of no use to a machine without a GPU.
    """

    name: str
    package: str
    module: str
    bringer: str
    needed: bool = False
    for_gpus: bool = False


LIBRARIES = (
    Library("TensorRT-RTX", "tensorrt-rtx", "tensorrt_rtx", "mtab[rtx]"),
    Library("TensorRT", "tensorrt", "tensorrt", "tensorrt", for_gpus=True),
    Library("OpenVINO", "openvino", "openvino", "mtab[openvino]"),
    Library("NumPy", "numpy", "numpy", "mtab", needed=True),
    Library("soundfile", "soundfile", "soundfile", "mtab", needed=True),
    Library("soxr", "soxr", "soxr", "mtab", needed=True),
    Library("tokenizers", "tokenizers", "tokenizers", "mtab", needed=True),
    Library("PyAV", "av", "av", "mtab[video]"),
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that mtab or one of its extras needs, from the version ``minimum`` on ("1.24"; None: any)."""

    package: str
    minimum: str | None
    extra: str | None


@dataclass(frozen=True, slots=True)
class Package:
    """An installed one, with its modules of the top level."""

    name: str
    version: str
    modules: frozenset[str]


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the imported ONNX Runtime says of itself.

    ``package`` is the one that its files come from, "" where they do not say; ``devices`` are those of mtab
    that it has a provider for, and ``providers`` its other ones on this machine.
    """

    version: str
    package: str
    build: str
    devices: tuple[str, ...]
    providers: tuple[str, ...]


def examine() -> Report:
    """Try all there is; it takes some seconds and leaves nothing behind."""
    machine = describe_machine()
    cuda = find_cuda()
    needs = requirements(requires("mtab") or ())
    packages = installed("onnxruntime")
    flavours = [package for package in packages if "onnxruntime" in package.modules]
    plugins = [module for p in packages for module in p.modules if module.startswith("onnxruntime_ep_")]
    answer, problem = _in_child(describe_onnxruntime)
    runtime = from_dict(Runtime, answer, "ONNX Runtime") if problem is None else None

    jobs: list[Callable[[], Check]] = []
    if runtime is not None:
        jobs += [partial(device_check, device, runtime, flavours, cuda) for device in ("cpu", "cuda")]
        jobs += [partial(provider_check, name) for name in runtime.providers]
        jobs += [partial(plugin_check, module, cuda) for module in plugins]
    jobs += [partial(library_check, library, needs, cuda) for library in LIBRARIES]
    with ThreadPoolExecutor(usable_cores()) as pool:
        tried = list(pool.map(lambda job: job(), jobs))
    checks = (
        *machine_checks(machine),
        *cuda_checks(cuda, has_nvidia_device()),
        onnxruntime_check(runtime, problem, flavours, needs, cuda),
        *tried,
        torch_check(),
        *(extra_check(extra, needs) for extra in ("train", "export", "bench")),
        cache_check(cache_dir()),
    )
    return Report(all(check.ok for check in checks if check.needed), machine, cuda, checks)


def format_report(report: Report) -> str:
    """The report to read: what there is, what to repair, what could be added, and whether a bundle runs."""
    checks = report.checks
    parts = [table([(check.name, _STATES[check.ok], check.found) for check in checks], ("part", "", "found"))]
    for title, ok in (("to repair", False), ("to add", None)):
        fixes = [(check.name, check.fix) for check in checks if check.ok is ok and check.fix]
        if fixes:
            parts.append(table(fixes, (title, "run")))
    missing = ", ".join(check.name for check in checks if check.needed and not check.ok)
    parts.append(f"No bundle can be run here: {missing}." if missing else "A bundle can be run here.")
    return "\n\n".join(parts)


# The machine


def machine_checks(machine: Mapping[str, Any]) -> list[Check]:
    """Facts of `describe_machine`."""
    cores, memory, sets = machine["cores"], machine["memory"], machine["instruction_sets"]
    found = f"{cores['usable']} usable of {cores['logical']}"
    found += "" if cores["physical"] is None else f", {cores['physical']} physical"
    size = "unknown" if memory["total"] is None else _size(memory["total"])
    size += "" if memory["limit"] is None else f", at most {_size(memory['limit'])} of it in this container"
    return [
        Check("mtab", __version__),
        Check("Python", f"{machine['python']}, {sys.executable}"),
        Check("system", machine["os"]),
        Check("CPU", machine["cpu"]),
        Check("instruction sets", "unknown" if sets is None else " ".join(sets) or "none of those that help"),
        Check("cores", found),
        Check("memory", size),
    ]


def cache_check(folder: Path) -> Check:
    """Whether the cache folder, or the folder where it would be made, takes a file."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"mtab")
    except OSError as error:
        problem = f"{folder}: cannot be written to ({error.strerror})"
        return Check("cache", problem, False, "export MTAB_CACHE=FOLDER, one that you may write to")
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    size = _size(sum(files)) if folder.exists() else "not made yet"
    return Check("cache", f"{folder}: {size}, {_size(shutil.disk_usage(existing).free)} free", True)


# CUDA


def has_nvidia_device(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether the PCI bus shows a device of NVIDIA's; it does in a container too, driver or not."""
    return any(path.read_text().strip() == "0x10de" for path in devices.glob("*/vendor"))


def find_cuda() -> Cuda:
    """The driver of this machine."""
    try:
        return query_cuda(ctypes.CDLL(_CUDA_LIBRARY))
    except OSError as error:
        return Cuda(None, problem=_reason(str(error)))


def query_cuda(library: Any) -> Cuda:
    """The driver behind ``library``, the loaded libcuda."""

    def call(function: str, *arguments: object) -> None:
        if status := getattr(library, function)(*arguments):
            text = ctypes.c_char_p()
            library.cuGetErrorString(status, ctypes.byref(text))
            raise EngineError(f"{function}: {(text.value or b'unknown error').decode()} ({status})")

    def integer(function: str, *arguments: object) -> int:
        value = ctypes.c_int()
        call(function, ctypes.byref(value), *arguments)
        return value.value

    newest, gpus = None, []
    try:
        number = integer("cuDriverGetVersion")
        newest = f"{number // 1000}.{number % 1000 // 10}"
        call("cuInit", 0)
        for index in range(integer("cuDeviceGetCount")):
            device = integer("cuDeviceGet", index)
            name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
            call("cuDeviceGetName", name, len(name), device)
            call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
            major, minor = (integer("cuDeviceGetAttribute", number, device) for number in _CAPABILITY)
            gpus.append(Gpu(name.value.decode(errors="replace"), memory.value, f"{major}.{minor}"))
    except EngineError as error:
        return Cuda(newest, tuple(gpus), str(error))
    return Cuda(newest, tuple(gpus))


def cuda_checks(cuda: Cuda, expected: bool) -> list[Check]:
    """The driver, and a line for each GPU; that neither is there is a gap where they are ``expected``."""
    found = "none" if cuda.version is None else f"for CUDA up to {cuda.version}"
    found += f" ({cuda.problem})" if cuda.problem else ""
    if cuda.problem or not cuda.gpus:
        gap = (False, NO_DRIVER_FIX) if expected else (None, None)
        return [Check("NVIDIA driver", found, *gap), Check("GPU", "none")]
    return [
        Check("NVIDIA driver", found, True),
        *(
            Check(
                f"GPU cuda:{index}",
                f"{gpu.name}, {_size(gpu.memory)}, compute capability {gpu.compute_capability}",
                True,
            )
            for index, gpu in enumerate(cuda.gpus)
        ),
    ]


# ONNX Runtime


def installed(prefix: str) -> list[Package]:
    """The installed packages whose names begin with ``prefix``, in the order of their names."""
    found: dict[str, Package] = {}
    for each in distributions():
        name = each.name.lower().replace("_", "-")
        if name.startswith(prefix):
            files = [path.parts for path in each.files or ()]
            modules = frozenset(parts[0] for parts in files if parts[1:] == ("__init__.py",))
            # The first on the path is the one that is imported.
            found.setdefault(name, Package(name, each.version, modules))
    return [found[name] for name in sorted(found)]


def onnxruntime_check(
    runtime: Runtime | None,
    problem: str | None,
    flavours: Sequence[Package],
    needs: Sequence[Requirement],
    cuda: Cuda,
) -> Check:
    """Whether ONNX Runtime imports, is new enough, and is what is installed, by one flavour alone."""
    names = " and ".join(f"{flavour.name} {flavour.version}" for flavour in flavours)
    minimum = _minimum("onnxruntime", needs)
    if runtime is None:
        found = f"{names or 'not installed'}: {problem}"
    else:
        found = f"{runtime.package} {runtime.version} ({runtime.build})".lstrip()
        ours = [(flavour.name, _numbers(flavour.version)) for flavour in flavours]
        if len(flavours) > 1:
            found = f"{names} are installed over each other; what is imported is {found}"
        elif ours and (runtime.package or ours[0][0], _numbers(runtime.version)) != ours[0]:
            found = f"{names} is installed, but what is imported is {found}"
        elif _older(runtime.version, minimum):
            found += f", expected {minimum} or newer"
        else:
            return Check("ONNX Runtime", found, True, needed=True)
    # Over each other they may still run; a bundle's other needs are then met.
    return Check("ONNX Runtime", found, False, _reinstall(flavours, cuda), needed=runtime is None)


def device_check(device: str, runtime: Runtime, flavours: Sequence[Package], cuda: Cuda) -> Check:
    """Run a graph on a device of mtab's, through mtab's own engine."""
    name, needed = f"device {device}", device == "cpu"
    if device not in runtime.devices:
        fix = _reinstall(flavours, cuda) if cuda.gpus or needed else None
        return Check(name, "this ONNX Runtime has no provider for it", False if needed else None, fix, needed)
    _, problem = _in_child(try_device, device)
    if problem is None:
        return Check(name, "ran a graph", True, needed=needed)
    if needed:
        return Check(name, problem, False, _reinstall(flavours, cuda), needed)
    fix = "pip install 'onnxruntime-gpu[cuda,cudnn]'" if cuda.gpus else None
    return Check(name, problem, False if cuda.gpus else None, fix)


def provider_check(name: str) -> Check:
    """Run a graph on a provider that mtab itself does not use, and which may therefore fail."""
    _, problem = _in_child(try_provider, name)
    return Check(name, problem or "ran a graph", None if problem else True)


def plugin_check(module: str, cuda: Cuda) -> Check:
    """Run a graph on the devices of a plugin provider."""
    answer, problem = _in_child(try_plugin, module)
    if problem is None:
        return Check(module.replace("_", "-"), f"ran a graph on {answer}", True)
    return Check(module.replace("_", "-"), problem, False if cuda.gpus else None)


def _reinstall(flavours: Sequence[Package], cuda: Cuda) -> str:
    install = f"pip install 'mtab[{'gpu' if cuda.gpus else 'cpu'}]'"
    # pip takes an installed flavour for what is asked for, whatever lies over it.
    names = " ".join(flavour.name for flavour in flavours)
    return f"pip uninstall -y {names} && {install}" if names else install


# Other packages


def requirements(lines: Iterable[str]) -> list[Requirement]:
    """What the ``Requires-Dist`` lines of a package's metadata ask for."""
    matches = filter(None, map(_REQUIREMENT.match, lines))
    return [Requirement(*match.groups()) for match in matches]


def library_check(library: Library, needs: Sequence[Requirement], cuda: Cuda) -> Check:
    """Whether a library is installed, new enough, and does what it is there for."""
    install = f"pip install --upgrade {shlex.quote(library.bringer)}"
    found = _version(library.package)
    if found is None:
        useful = cuda.gpus or not library.for_gpus
        ok = False if library.needed else None
        return Check(library.name, "not installed", ok, install if useful else None, library.needed)
    answer, problem = _in_child(try_library, library.module)
    if problem is not None:
        fix = f"pip install --force-reinstall --no-deps {library.package}"
        return Check(library.name, f"{found}: {problem}", False, fix, library.needed)
    minimum = _minimum(library.package, needs)
    if _older(found, minimum):
        return Check(library.name, f"{found}, expected {minimum} or newer", False, install, library.needed)
    return Check(library.name, ", ".join(filter(None, (found, answer))), True, needed=library.needed)


def torch_check() -> Check:
    """Its version alone: mtab never imports torch."""
    found = _version("torch")
    return Check("torch", "not installed" if found is None else f"{found} (not tried: mtab does not use it)")


def extra_check(extra: str, needs: Sequence[Requirement]) -> Check:
    """Whether all packages of an extra are installed and new enough."""
    gaps = []
    for need in needs:
        if need.extra == extra:
            found = _version(need.package)
            if found is None:
                gaps.append(need.package)
            elif _older(found, need.minimum):
                gaps.append(f"{need.package} {need.minimum} (found {found})")
    name, fix = f"mtab[{extra}]", f"pip install --upgrade 'mtab[{extra}]'"
    return Check(name, f"lacks {', '.join(gaps)}", None, fix) if gaps else Check(name, "complete", True)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _minimum(package: str, needs: Sequence[Requirement]) -> str | None:
    return next((need.minimum for need in needs if need.package == package), None)


def _older(found: str, minimum: str | None) -> bool:
    return minimum is not None and _numbers(found) < _numbers(minimum)


def _numbers(release: str) -> tuple[int, ...]:
    """The leading numbers of a version: (1, 24, 1) of "1.24.1+cu130"."""
    match = re.match(r"\d+(\.\d+)*", release)
    return tuple(map(int, match[0].split("."))) if match else ()


# In a process of its own


def _in_child(attempt: Callable[..., Any], *arguments: str) -> tuple[Any, str | None]:
    """What ``attempt`` answers in another process, or None and one line that says why it does not."""
    code = (
        "import json, sys; path, *arguments = sys.argv[1:]; sys.path[:] = json.loads(path)\n"
        f"from mtab.doctor import tell, {attempt.__name__} as attempt; tell(attempt, arguments)"
    )
    # -P: nothing is imported from the folder that the command happens to run in.
    command = [sys.executable, "-P", "-c", code, json.dumps(sys.path), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        return None, f"no answer in {_TIMEOUT:.0f} s"
    if done.returncode < 0:
        return None, f"the process that tried it was ended by {signal.Signals(-done.returncode).name}"
    if done.returncode:
        return None, f"the process that tried it ended with exit code {done.returncode}"
    # The libraries may have printed something before.
    answer, problem = json.loads(done.stdout.splitlines()[-1])
    return answer, problem and _reason(problem, done.stderr)


def tell(attempt: Callable[..., Any], arguments: Sequence[str]) -> None:
    """In the other process: print what ``attempt`` answers, and what it raises in place of that."""
    answer, problem = None, None
    try:
        answer = attempt(*arguments)
    except Exception as error:  # whatever a library may raise
        problem = f"{type(error).__name__}: {error}"
    print(f"\n{json.dumps([answer, problem])}")


def _reason(message: str, log: str = "") -> str:
    """In one line: the shared library that is missing, if ``message`` or ``log`` names it, or the message."""
    if missing := _MISSING_LIBRARY.search(message) or _MISSING_LIBRARY.search(log):
        return f"{missing[1]} is missing"
    return textwrap.shorten(message, 200, placeholder=" ...")


def describe_onnxruntime() -> dict[str, Any]:
    """The fields of a `Runtime`."""
    import onnxruntime

    from mtab.engines.onnxruntime import PROVIDERS

    own = PROVIDERS["onnxruntime"]
    available = onnxruntime.get_available_providers()
    others = set(available) - set(own.values()) - set(REMOTE_PROVIDERS)
    cuda = getattr(onnxruntime, "cuda_version", "")
    return {
        "version": onnxruntime.__version__,
        "package": getattr(onnxruntime, "package_name", ""),
        "build": f"for CUDA {cuda}" if cuda else f"for {onnxruntime.get_device()}",
        "devices": [device for device, provider in own.items() if provider in available],
        "providers": sorted(others),
    }


def try_device(device: str) -> None:
    """Run the graph as mtab runs a bundle's."""
    import numpy as np

    from mtab.engines.onnxruntime import OnnxRuntimeEngine

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "doubling.onnx"
        path.write_bytes(DOUBLING_GRAPH)
        engine = OnnxRuntimeEngine(path, device)
        _require_doubled(engine.run({"x": np.array([1, 2], np.float32)})["y"])


def try_provider(name: str) -> None:
    """Run the graph on an execution provider that ONNX Runtime brings."""
    import onnxruntime

    _run_session(onnxruntime.InferenceSession(DOUBLING_GRAPH, providers=[name], enable_fallback=0), name)


def try_plugin(module: str) -> str:
    """Run the graph on the devices of a plugin execution provider; their number and the provider's name."""
    import onnxruntime

    # Any module that follows ONNX Runtime's guidance for packages of plugins.
    plugin = __import__(module)
    onnxruntime.register_execution_provider_library(module, plugin.get_library_path())
    name = plugin.get_ep_name()
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise EngineError(f"{name} finds no device that it can use")
    options = onnxruntime.SessionOptions()
    options.add_provider_for_devices(devices[:1], {})
    _run_session(onnxruntime.InferenceSession(DOUBLING_GRAPH, options), name)
    return f"{len(devices)} device{'s' if len(devices) > 1 else ''} of {name}"


def _run_session(session: Any, name: str) -> None:
    import numpy as np

    if (used := session.get_providers()[0]) != name:
        raise EngineError(f"ONNX Runtime chose {used}")
    _require_doubled(session.run(None, {"x": np.array([1, 2], np.float32)})[0])


def _require_doubled(found: Any) -> None:
    if found.tolist() != [2, 4]:
        raise EngineError(f"1 + 1 and 2 + 2 are {found.tolist()}")


def try_library(module: str) -> str:
    """Import a library of `LIBRARIES` and use it; what it says of itself."""
    library = __import__(module)
    match module:
        case "soundfile":
            formats = library.available_formats()
            lacks = "" if "MP3" in formats else ", which reads no mp3"
            return f"libsndfile {library.__libsndfile_version__}{lacks}"
        case "soxr":
            return f"libsoxr {library.__libsoxr_version__}"
        case "av":
            return f"FFmpeg {library.ffmpeg_version_info}"
        case "openvino":
            return f"devices {', '.join(library.Core().available_devices)}"
        case "tensorrt_rtx" | "tensorrt":
            library.Builder(library.Logger(library.Logger.ERROR))
            return "makes a builder of engines"
    return ""


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB / 10 else f"{count / 2**20:.1f} MiB"
