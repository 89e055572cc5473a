"""What stands before every route: who may ask, one line of the log, and no trace to a client."""

import hmac
import json
import logging
import re
import sys
import time
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtab.errors import MtabError
from mtab_serve import metrics
from mtab_serve.problems import CLIENT_GONE, Problem
from mtab_serve.service import Service

OPEN = ("/healthz", "/readyz")
"""What anybody may ask: whether the server is to be sent requests."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

log = logging.getLogger("mtab.serve")
access = logging.getLogger("mtab.access")


class Gate:
    """The outermost application: opens and closes the service, and guards what is ``inner``."""

    def __init__(self, inner: ASGIApp, service: Service, paths: frozenset[str]) -> None:
        """``paths`` are those of the routes, by which requests are counted."""
        self.inner = inner
        self.service = service
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or the server's own beginning and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.service.open()
        except MtabError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.service.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        begun, name, status = time.monotonic(), _request_id(headers), CLIENT_GONE
        state = scope.setdefault("state", {})
        state["read"] = "content-length" not in headers and "transfer-encoding" not in headers

        async def received() -> Message:
            message = await receive()
            state["read"] = not message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                answered["X-Request-Id"] = name
                answered["Cache-Control"] = "no-store"
                answered["X-Content-Type-Options"] = "nosniff"
                if self.service.draining:
                    answered["Connection"] = "close"
            await send(message)

        try:
            self._require_allowed(scope)
            await self.inner(scope, received, sent)
        except Problem as problem:
            await problem.response()(scope, received, sent)
        except Exception:
            # The client has been told that there was a fault.
            log.exception("request %s", name)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            seconds = time.monotonic() - begun
            metrics.REQUESTS.labels(path, scope["method"], status).inc()
            metrics.REQUEST_SECONDS.labels(path).observe(seconds)
            client = scope.get("client")
            access.info(
                json.dumps(
                    {
                        "time": round(time.time(), 3),
                        "request": name,
                        "client": client[0] if client else None,
                        "method": scope["method"],
                        "path": scope["path"],
                        "status": status,
                        "seconds": round(seconds, 4),
                        **state.get("log", {}),
                    }
                )
            )

    def _require_allowed(self, scope: Scope) -> None:
        if scope["path"] in OPEN:
            return
        headers, token = Headers(scope=scope), self.service.settings.token
        if token is None:
            # A page in this machine's browser may be made to believe that we are its own server.
            host = urlsplit(f"//{headers.get('host', '')}").hostname
            if host not in _LOOPBACK:
                found = f"request to {host or 'no host'}"
                raise Problem(421, "host", f"{found}, expected one to {', '.join(_LOOPBACK)}")
        else:
            kind, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode(), token.encode())
            if kind.lower() != "bearer" or not right:
                found = "another token" if given else "no token"
                expected = "expected Authorization: Bearer and the server's"
                raise Problem(401, "token", f"{found}, {expected}", {"WWW-Authenticate": "Bearer"})


def _request_id(headers: Headers) -> str:
    """What a proxy calls the request, else a name of our own."""
    given = headers.get("x-request-id", "")
    return given if re.fullmatch(r"[\w.:-]{1,64}", given, re.ASCII) else uuid.uuid4().hex[:12]


def log_to_streams() -> None:
    """Write what the server says to stderr, and a JSON object for each request to stdout."""
    for logger, stream, line in (
        (log, sys.stderr, "%(levelname)s: %(message)s"),
        (access, sys.stdout, "%(message)s"),
    ):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter(line))
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
