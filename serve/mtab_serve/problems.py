"""Why a request has no answer, as a problem object (RFC 9457)."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from mtab.errors import AudioError, MemoryLimitError, MtabError, QueueFullError, TextError

CLIENT_GONE = 499
"""What logs and metrics show for a client that went away; nobody is left to be sent it."""

RETRY_SECONDS = "1"

# How long, and how much, the rest of a body is read after a refusal.
_LINGER_SECONDS = 5.0
_LINGER_BYTES = 2**33


class Problem(Exception):
    """A request is refused: the status, and what was found and what was expected.

    ``kind`` is a word for what went wrong, in the body and in the metrics; ``headers`` go with the response.
    """

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> "Refusal":
        """The problem object as a response."""
        content = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "kind": self.kind,
            "detail": self.detail,
        }
        return Refusal(content, self.status, self.headers)


class Refusal(JSONResponse):
    """A problem object. Where the request's body is not read yet, its rest is read and forgotten.

    A connection that is closed before its client has sent all may lose it the response. ``state.read`` tells
    whether the body is read.
    """

    media_type = "application/problem+json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["state"].get("read", False):
            return await super().__call__(scope, receive, send)
        self.headers["Connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await _forget_body(receive)
        await send({"type": "http.response.body", "body": b""})


async def _forget_body(receive: Receive) -> None:
    left = _LINGER_BYTES
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message["body"])
    except TimeoutError:
        return


def problem_of(error: MtabError) -> Problem:
    """What a client is told of an utterance's or a model's error."""
    detail = " ".join(str(error).split())
    match error:
        case AudioError():
            return Problem(422, "audio", detail)
        case TextError():
            return Problem(422, "text", detail)
        case MemoryLimitError():
            return Problem(422, "memory", detail)
        case QueueFullError():
            return Problem(503, "queue", detail, {"Retry-After": RETRY_SECONDS})
        case _:
            return Problem(500, "engine", detail)


def busy(detail: str) -> Problem:
    """There is no place for a request now."""
    return Problem(429, "busy", detail, {"Retry-After": RETRY_SECONDS})
