"""Servers: `mtab serve` as a process of its own, and its application within this one."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from mtab_bench.serving import ServerProcess
from mtab_serve.app import create_app
from mtab_serve.service import Service
from mtab_serve.settings import Settings

MTAB = Path(sys.executable).with_name("mtab")
LONG = 60.0
"""Far more than any of this takes."""


class Server(NamedTuple):
    """`mtab serve` under way; its output goes to ``log``."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def workers(self) -> list[int]:
        """The processes that answer."""
        return ServerProcess(self.url, self.process.pid).workers()

    def stop(self) -> int:
        """End it as a service manager does: its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LONG)


@contextmanager
def serving(log: Path, *arguments: object, **environment: str) -> Iterator[Server]:
    """``mtab serve`` with these arguments at a free port, as soon as it says that it serves."""
    command = [str(MTAB), "serve", *map(str, arguments), "--port", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | environment)
    try:
        until = time.monotonic() + LONG
        while not (found := re.search(r"^Serving .* at (http://\S+), ", log.read_text(), re.MULTILINE)):
            assert process.poll() is None and time.monotonic() < until, log.read_text()  # noqa: PT018
            time.sleep(0.05)
        yield Server(process, found[1], log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(LONG)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@contextmanager
def within(bundle: Path, **settings: Any) -> Iterator[tuple[str, Service]]:
    """The application on a thread of this process: its address and what it holds."""
    service = Service(Settings((("tones", str(bundle)),), threads=1, **settings))
    config = uvicorn.Config(create_app(service), port=0, lifespan="on", ws="none", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + LONG
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < until
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", service
    finally:
        server.should_exit = True
        thread.join(LONG)
