"""`examine`: all that is tried on this machine, and the report of it to read."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import requires
from typing import Any

from mtab.config import from_dict
from mtab.console import table
from mtab.cuda import Cuda, find_cuda, has_nvidia_device
from mtab.doctor.checks import (
    LIBRARIES,
    Check,
    cache_check,
    cuda_checks,
    device_check,
    extra_check,
    library_check,
    machine_checks,
    onnxruntime_check,
    plugin_check,
    provider_check,
    torch_check,
)
from mtab.doctor.probes import Runtime, describe_onnxruntime, in_child
from mtab.files import cache_dir
from mtab.machine import describe_machine, usable_cores
from mtab.packages import installed, requirements

_STATES = {True: "ok", False: "FAILS", None: ""}


@dataclass(frozen=True, slots=True)
class Report:
    """``machine`` is `mtab.machine.describe_machine`'s."""

    can_run: bool
    machine: dict[str, Any]
    cuda: Cuda
    checks: tuple[Check, ...]


def examine() -> Report:
    """Try all there is; it takes some seconds and leaves nothing behind."""
    machine = describe_machine()
    cuda = find_cuda()
    needs = requirements(requires("mtab") or ())
    packages = installed("onnxruntime")
    flavours = [package for package in packages if "onnxruntime" in package.modules]
    plugins = [module for p in packages for module in p.modules if module.startswith("onnxruntime_ep_")]
    answer, problem = in_child(describe_onnxruntime)
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
