"""A server's processes: workers behind one socket, and a supervisor that replaces them."""

import os
import signal
import socket
import tempfile
import threading
import time
from functools import partial
from types import FrameType

from prometheus_client import multiprocess
from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from mtab.bundle import open_bundle
from mtab.errors import MtabError
from mtab.progress import say
from mtab_serve import metrics
from mtab_serve.app import create_app
from mtab_serve.connections import Protocol, allow_connections, listen, refuse_connections
from mtab_serve.gate import log_to_streams
from mtab_serve.service import Service
from mtab_serve.settings import Settings

_START_SECONDS, _HUNG_SECONDS = 300, 60
"""What a worker may take to open its bundles; and to show a sign of life, before it is replaced."""

_LAST_CALL = 0.3
"""Seconds before the workers take no more connections, in which nobody new can connect."""

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
    allow_connections()
    listener = listen(host, port)
    with tempfile.TemporaryDirectory(prefix="mtab-serve-") as folder:
        os.environ[metrics.DIRECTORY] = folder
        config = Config(
            partial(_worker, settings),
            factory=True,
            workers=workers,
            http=Protocol,
            loop="asyncio",
            ws="none",
            lifespan="on",
            log_config=_LOGGING,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_worker_healthcheck=_HUNG_SECONDS,
        )
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        names = ", ".join(name for name, _ in settings.bundles)
        ready = f"Serving {names} at {address}, described at {address}/docs"
        supervisor = Supervisor(config, listener, settings.drain, ready)
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise MtabError("no worker could begin, expected one that opens the bundles; see above")


class Supervisor(Multiprocess):
    """Keeps the workers alive, and replaces each by a new one on SIGHUP, once that is ready."""

    def __init__(self, config: Config, listener: socket.socket, drain: float, ready: str) -> None:
        """``drain`` is for how many seconds workers go on when they are to end; ``ready`` is what to say."""
        super().__init__(config, [listener])
        self.drain = drain
        self.ready = ready

    def init_processes(self) -> None:
        """Start the workers, and say so once all can answer."""
        super().init_processes()
        if all(process.wait_until_ready(_START_SECONDS, self.should_exit) for process in self.processes):
            say(self.ready)

    def keep_subprocess_alive(self) -> None:
        """Start a worker in the place of each that died, without its figures of now."""
        for process in self.processes:
            # While we hold the worker's own end too, its death does not end the waiting for a sign of life.
            process.child_conn.close()
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            multiprocess.mark_process_dead(pid)

    def restart_all(self) -> None:
        """Put a new worker in the place of each, with time for it to open its bundles."""
        self.config.timeout_worker_healthcheck = _START_SECONDS
        super().restart_all()
        self.config.timeout_worker_healthcheck = _HUNG_SECONDS

    def terminate_all(self) -> None:
        """Let the workers end, and nobody connect whom none of them would hear."""
        super().terminate_all()
        time.sleep(max(0.0, self.drain - _LAST_CALL))
        for each in self.sockets:
            refuse_connections(each)


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
