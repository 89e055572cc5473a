"""The connections of a server: how they are made, what they may take, and how no more are made."""

import asyncio
import ctypes
import errno
import os
import resource
import socket
import struct
import sys

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mtab.errors import MtabError

_HEAD_SECONDS = 10
"""Within which the head of a request must be there."""

_SO_ATTACH_FILTER = 26
"""Of Linux; Python has no name for it."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `MtabError` for an address that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        # Python's own text names the address once more.
        reason = os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else error
        found = f"{host}:{port}: {reason}"
        raise MtabError(f"{found}, expected an address of this machine that is free") from None
    # asyncio sets it for sockets that name their protocol alone, and every answer would wait 40 ms for the
    # client's acknowledgement. Connections inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def allow_connections() -> None:
    """Let this process and its workers hold as many connections as the system lets them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def refuse_connections(listener: socket.socket) -> None:
    """Let connections that are there be accepted, and no new one be made.

    A connection that is made just before a listener is closed is reset, and its request lost. A filter that
    drops all packets for the listener lets a client try again until the listener is closed, and hear then
    that nobody listens.
    """
    if sys.platform == "linux":
        keep_nothing = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K
        drop = ctypes.create_string_buffer(keep_nothing)
        program = struct.pack("HP", 1, ctypes.addressof(drop))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


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
