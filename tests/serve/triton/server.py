"""A real Triton server on loopback, from the wheel of NVIDIA's PyTriton."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

STUB = "triton_python_backend_stub"


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, and the file that it writes its log to."""

    grpc: str
    http: str
    log: Path


def require_environment() -> Path:
    """The virtual environment that ``MTAB_TRITON`` names; its Python is of the version of this one.

    NumPy is older than 2 in it, which the wheel's backend does not understand: no environment of mtab's own.
    """
    named = os.environ.get("MTAB_TRITON")
    if named is None:
        pytest.skip(
            "no tritonserver: MTAB_TRITON names no environment with nvidia-pytriton, numpy<2, mtab[cpu]"
        )
    return Path(named)


@contextmanager
def serving(repository: Path, work: Path) -> Iterator[Server]:
    """A server of a repository, ready, until the end of the block."""
    environment = require_environment()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / f"python{version}" / "site-packages"
    home = packages / "pytriton" / "tritonserver"
    backend = work / "backends" / "python"
    shutil.copytree(home / "backends" / "python", backend)
    shutil.copy(home / "python_backend_stubs" / version / STUB, backend / STUB)
    (backend / STUB).chmod(0o755)
    shutil.copy(home / "bin" / "tritonserver", work / "tritonserver")
    (work / "tritonserver").chmod(0o755)
    libraries = f"{sys.base_prefix}/lib:{packages / 'nvidia_pytriton.libs'}"
    grpc, http = _free_ports()
    variables = os.environ | {
        "LD_LIBRARY_PATH": libraries,
        # Its Python is isolated: it takes the packages of the environment that it finds first.
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
    }
    command = [
        str(work / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={work / 'backends'}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc}",
        "--http-address=127.0.0.1",
        f"--http-port={http}",
        "--allow-metrics=false",
        "--exit-timeout-secs=10",
    ]
    log = work / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=variables, stdout=stream, stderr=subprocess.STDOUT)
    try:
        _wait(process, log)
        yield Server(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{http}", log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once it listens; fail with the end of its log if it never does."""
    end = time.monotonic() + 90
    while "Started HTTPService" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"no server ({process.returncode}):\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)
