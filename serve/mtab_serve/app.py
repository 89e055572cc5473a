"""The routes of a server."""

import asyncio
import math
import multiprocessing
import os
import signal
from collections.abc import Awaitable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mtab.bundle import open_bundle
from mtab.errors import MtabError
from mtab.results import Failure, ResultOptions
from mtab_serve import metrics
from mtab_serve.body import read_body
from mtab_serve.gate import Gate
from mtab_serve.openapi import document, page
from mtab_serve.problems import CLIENT_GONE, Problem, problem_of
from mtab_serve.service import Service

TIMEOUT_HEADER = "X-Request-Timeout"
"""The header with the seconds after which a client waits no longer."""

_PARAMETERS = ("model", "top_k", "abstain", "embedding")


def create_app(service: Service) -> ASGIApp:
    """The whole server as an ASGI application: it opens ``service`` when it starts, and closes it last."""
    routes = [
        Route("/v1/predict", _predict, methods=["POST"]),
        Route("/v1/models", _models),
        Route("/v1/reload", _reload, methods=["POST"]),
        Route("/healthz", _healthz),
        Route("/readyz", _readyz),
        Route("/metrics", _metrics),
        Route("/openapi.json", _openapi),
        Route("/docs", _docs),
    ]
    handlers = {Problem: _problem, HTTPException: _refused, ClientDisconnect: _gone, Exception: _fault}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.service = service
    app.router.redirect_slashes = False
    return Gate(app, service, frozenset(route.path for route in routes))


def _service(request: Request) -> Service:
    return request.app.state.service


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _refused(request: Request, error: Exception) -> Response:
    """What Starlette refuses: a path or a method."""
    assert isinstance(error, HTTPException)
    kind = {404: "path", 405: "method"}.get(error.status_code, "request")
    detail = f"{request.method} {request.url.path}: expected what /openapi.json lists"
    return Problem(error.status_code, kind, detail, error.headers).response()


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _fault(request: Request, error: Exception) -> Response:
    """A fault of ours, of which the log says more."""
    return Problem(500, "internal", "a fault of the server, expected an answer; its log has more").response()


async def _predict(request: Request) -> Response:
    service = _service(request)
    seconds = _timeout(request)
    try:
        # The time that a client allows for covers the sending of its body.
        async with asyncio.timeout(seconds):
            with service.place():
                return await _answered(request, service)
    except TimeoutError:
        raise Problem(504, "deadline", f"no answer within {seconds:g} s, expected one by then") from None


async def _answered(request: Request, service: Service) -> Response:
    options = _options(request)
    served = service.model(request.query_params.get("model"))
    settings = service.settings
    utterances, single = await read_body(request, settings.max_body, settings.read_timeout)
    if len(utterances) > settings.max_queue:
        found = f"{len(utterances)} utterances in a request"
        raise Problem(413, "utterances", f"{found}, expected at most {settings.max_queue}")
    request.state.log = {"model": served.name, "utterances": len(utterances)}
    try:
        outcomes = await _unless_gone(request, served.answer(utterances, options))
    except MtabError as error:
        raise problem_of(error) from None
    if single and isinstance(outcomes[0].answer, Failure):
        raise problem_of(outcomes[0].answer.error)
    records = [outcome.record() for outcome in outcomes]
    return JSONResponse(records[0] if single else records, headers={"X-Model": served.name})


async def _unless_gone(request: Request, answer: Awaitable[Any]) -> Any:
    """The answer, and `ClientDisconnect` as soon as nobody waits for it."""
    answering = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        for task in (answering, gone):
            task.cancel()
        await asyncio.gather(answering, gone, return_exceptions=True)


def _options(request: Request) -> ResultOptions:
    """What the query asks for. Raises `Problem` (400)."""
    query = request.query_params
    if unknown := [key for key in query if key not in _PARAMETERS]:
        raise Problem(400, "query", f"unknown parameter {unknown[0]!r}, expected {', '.join(_PARAMETERS)}")
    try:
        top_k = None if "top_k" not in query else int(query["top_k"])
        abstain = None if "abstain" not in query else float(query["abstain"])
        embedding = {"true": True, "1": True, "false": False, "0": False}[query.get("embedding", "false")]
        return ResultOptions(top_k, abstain, embedding)
    except ValueError as error:
        raise Problem(400, "query", f"{error}, expected top_k as a whole number, abstain as one") from None
    except KeyError as error:
        raise Problem(400, "query", f"embedding is {error}, expected true or false") from None
    except MtabError as error:
        raise Problem(400, "query", str(error)) from None


def _timeout(request: Request) -> float | None:
    """The seconds that a client waits; None: as long as it takes. Raises `Problem` (400)."""
    given = request.headers.get(TIMEOUT_HEADER)
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise Problem(400, "query", f"{TIMEOUT_HEADER} is {given!r}, expected seconds above 0")
    return seconds


async def _models(request: Request) -> Response:
    return JSONResponse({"models": [each.describe() for each in _service(request).models]})


async def _reload(request: Request) -> Response:
    """Let the supervisor replace the workers one by one, each once its successor has opened the bundles."""
    service = _service(request)
    supervisor = multiprocessing.parent_process()
    if service.settings.token is None:
        raise Problem(
            403, "token", "this server has no token, expected one for this call, or SIGHUP to the server"
        )
    if supervisor is None or supervisor.pid is None:
        raise Problem(
            409, "supervisor", "no supervisor runs this worker, expected one that mtab serve started"
        )
    contents = {}
    for name, folder in service.settings.bundles:
        try:
            contents[name] = (await asyncio.to_thread(open_bundle, folder)).content
        except MtabError as error:
            raise Problem(409, "bundle", " ".join(str(error).split())) from None
    os.kill(supervisor.pid, signal.SIGHUP)
    return JSONResponse({"contents": contents}, status_code=202)


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _readyz(request: Request) -> Response:
    if _service(request).draining:
        raise Problem(503, "draining", "this worker is about to end, expected requests before that")
    return JSONResponse({"status": "ready"})


async def _metrics(request: Request) -> Response:
    return Response(await asyncio.to_thread(metrics.exposition), media_type=CONTENT_TYPE_LATEST)


async def _openapi(request: Request) -> Response:
    return JSONResponse(document())


async def _docs(request: Request) -> Response:
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return HTMLResponse(page(), headers={"Content-Security-Policy": policy})
