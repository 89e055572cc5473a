"""A server's processes: workers behind one socket, and a supervisor that replaces them."""

import asyncio
import os
import resource
import signal
import socket
import tempfile
import threading
from functools import partial
from types import FrameType

import h11
from prometheus_client import multiprocess
from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors import Multiprocess

from mtab.bundle import open_bundle
from mtab.errors import MtabError
from mtab.progress import say
from mtab_serve import metrics
from mtab_serve.app import create_app
from mtab_serve.gate import log_to_streams
from mtab_serve.service import Service
from mtab_serve.settings import Settings

_START_SECONDS = 300
"""What a worker may take to open its bundles."""

_HEAD_SECONDS = 10
"""Within which the head of a request must be there."""

_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False}},
}


def run(settings: Settings, host: str, port: int, workers: int) -> None:
    """Serve until a signal ends it. SIGHUP opens the bundles again in new workers.

    Raises `MtabError` for a bundle that cannot be opened, an address that cannot be had, and if no worker
    could begin.
    """
    for _, folder in settings.bundles:
        open_bundle(folder)
    _allow_files()
    listener = _listen(host, port)
    with tempfile.TemporaryDirectory(prefix="mtab-serve-") as folder:
        os.environ[metrics.DIRECTORY] = folder
        config = Config(
            partial(_worker, settings),
            factory=True,
            workers=workers,
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=_LOGGING,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_worker_healthcheck=_START_SECONDS,
        )
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        names = ", ".join(name for name, _ in settings.bundles)
        supervisor = Supervisor(
            config, listener, f"Serving {names} at {address}, described at {address}/docs"
        )
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise MtabError("no worker could begin, expected one that opens the bundles; see above")


class Supervisor(Multiprocess):
    """Keeps the workers alive, and replaces each by a new one on SIGHUP, once that is ready."""

    def __init__(self, config: Config, listener: socket.socket, ready: str) -> None:
        super().__init__(config, [listener])
        self.ready = ready

    def init_processes(self) -> None:
        """Start the workers, and say so once all can answer."""
        super().init_processes()
        if all(process.wait_until_ready(_START_SECONDS, self.should_exit) for process in self.processes):
            say(self.ready)

    def keep_subprocess_alive(self) -> None:
        """Start a worker in the place of each that died, without its figures of now."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            multiprocess.mark_process_dead(pid)

    def terminate_all(self) -> None:
        """End the workers, and leave nobody waiting at a socket that only we hold open."""
        for each in self.sockets:
            each.close()
        super().terminate_all()


class Protocol(H11Protocol):
    """HTTP/1.1 in which the head of a request must be there in time."""

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head that has begun, and no longer for one that is whole."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._due is None:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._due = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


def _worker(settings: Settings) -> ASGIApp:
    """The application of a worker, in whose main thread this is called."""
    log_to_streams()
    service = Service(settings)
    end = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: FrameType | None) -> None:
        assert callable(end)
        if service.draining:
            end(number, frame)
        service.draining = True
        timer = threading.Timer(settings.drain, end, (number, frame))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGTERM, drain)
    # The supervisor answers these, and a terminal sends them to all of its group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return create_app(service)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MtabError(
            f"{host}:{port}: {reason}, expected an address of this machine that is free"
        ) from None


def _allow_files() -> None:
    """Let this process and its workers hold as many connections as the system lets them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
