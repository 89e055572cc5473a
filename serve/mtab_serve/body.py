"""What a request asks about: utterances from a multipart form or from JSON, within limits."""

import asyncio
import binascii
import json
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from mtab_serve.problems import Problem

_KEYS = ("audio", "text", "utterance")


class Asked(NamedTuple):
    """An utterance of a request: what it is called, a clip's content and its transcript."""

    name: str
    audio: bytes | None
    text: str | None


class Body(NamedTuple):
    """The utterances of a request; a ``single`` one is no list."""

    utterances: list[Asked]
    single: bool


async def read_body(request: Request, max_body: int, seconds: float) -> Body:
    """Read what a request asks about, of at most ``max_body`` bytes, in so many seconds.

    Raises `Problem` for a body that is too large (413), too slow (408), of another content type (415) or not
    what its type promises (400), and `starlette.requests.ClientDisconnect` where it ends early.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if encoding := request.headers.get("content-encoding"):
        raise Problem(415, "encoding", f"content encoding {encoding}, expected none")
    if kind not in ("multipart/form-data", "application/json"):
        found = f"content type {kind}" if kind else "no content type"
        raise Problem(415, "content_type", f"{found}, expected multipart/form-data or application/json")
    stream = _limited(request, max_body)
    try:
        async with asyncio.timeout(seconds):
            if kind == "application/json":
                content = b"".join([chunk async for chunk in stream])
                return await asyncio.to_thread(_from_json, content)
            parser = MultiPartParser(request.headers, stream, max_part_size=max_body)
            parser.spool_max_size = max_body  # no clip touches the disk
            return await _from_form(await parser.parse())
    except TimeoutError:
        raise Problem(408, "slow", f"no whole body within {seconds:g} s, expected it by then") from None
    except MultiPartException as error:
        raise Problem(400, "form", f"{error.message} Expected multipart/form-data") from None


async def _limited(request: Request, max_body: int) -> AsyncGenerator[bytes, None]:
    received = 0
    declared = request.headers.get("content-length", "0")
    if int(declared) > max_body:
        raise _too_large(declared, max_body)
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_body:
            raise _too_large(f"more than {max_body}", max_body)
        yield chunk


def _too_large(found: str, max_body: int) -> Problem:
    return Problem(413, "body", f"body of {found} bytes, expected at most {max_body}")


def _from_json(content: bytes) -> Body:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem(400, "json", f"body is no JSON ({reason}), expected an object or a list") from None
    if isinstance(value, list):
        if not value:
            raise Problem(400, "json", "body is an empty list, expected an utterance or more")
        return Body([_asked(each, f"utterance {i}") for i, each in enumerate(value)], single=False)
    return Body([_asked(value, "utterance")], single=True)


def _asked(value: Any, name: str) -> Asked:
    if not isinstance(value, dict):
        raise Problem(400, "json", f"{name}: is {_type(value)}, expected an object with audio or text")
    if unknown := [key for key in value if key not in _KEYS]:
        raise Problem(400, "json", f"{name}: unknown key {unknown[0]!r}, expected {', '.join(_KEYS)}")
    for key, each in value.items():
        if each is not None and not isinstance(each, str):
            raise Problem(400, "json", f"{name}: {key} is {_type(each)}, expected a string")
    audio, text, name = value.get("audio"), value.get("text"), value.get("utterance") or name
    if audio is None and text is None:
        raise Problem(400, "json", f"{name}: neither audio nor text, expected one of both or both")
    try:
        content = None if audio is None else binascii.a2b_base64(audio, strict_mode=True)
    except ValueError as error:
        raise Problem(
            400, "json", f"{name}: audio is no base64 ({error}), expected a file's content"
        ) from None
    return Asked(name, content, text)


def _type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


async def _from_form(form: FormData) -> Body:
    unknown = next((key for key in form if key not in ("audio", "text")), None)
    if unknown is not None:
        raise Problem(400, "form", f"unknown field {unknown!r}, expected audio and text")
    clips, texts = form.getlist("audio"), form.getlist("text")
    for clip in clips:
        if not isinstance(clip, UploadFile):
            raise Problem(400, "form", "audio is a text, expected a file with a name")
    for text in texts:
        if not isinstance(text, str):
            raise Problem(400, "form", "text is a file, expected a text")
    if not clips and not texts:
        raise Problem(400, "form", "neither audio nor text, expected one of both or both")
    if clips and texts and len(clips) != len(texts):
        raise Problem(400, "form", f"{len(texts)} texts for {len(clips)} clips, expected one each or none")
    asked = []
    for i in range(max(len(clips), len(texts))):
        clip = clips[i] if clips else None
        name = f"utterance {i}" if max(len(clips), len(texts)) > 1 else "utterance"
        content = None
        if isinstance(clip, UploadFile):
            content, name = await clip.read(), clip.filename or name
            await clip.close()
        # A form has no other way to leave one out of several.
        asked.append(Asked(name, content, str(texts[i]) or None if texts else None))
    return Body(asked, single=len(asked) == 1)
