"""What the server answers, as an OpenAPI document, and the page that shows it."""

import html
from functools import cache
from typing import Any

from mtab import __version__

_JSON = "application/json"


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_STRING = {"type": "string"}
_NUMBER = {"type": "number"}
_FIGURES = {"type": "object", "additionalProperties": _NUMBER}

_SCHEMAS = {
    "Utterance": {
        "type": "object",
        "description": "A clip, its transcript, or both.",
        "properties": {
            "audio": {
                "type": ["string", "null"],
                "contentEncoding": "base64",
                "description": "A file's content.",
            },
            "text": {"type": ["string", "null"], "description": "What is said."},
            "utterance": {"type": ["string", "null"], "description": "What errors and answers call it."},
        },
        "additionalProperties": False,
    },
    "Answer": _object(
        ("utterance", "label", "probabilities", "duration", "modalities", "text_truncated"),
        utterance=_STRING,
        label={**_STRING, "description": 'The likeliest class, or "unknown" below abstain.'},
        probabilities=_FIGURES,
        dimensions=_FIGURES,
        duration={"type": ["number", "null"], "description": "Seconds of audio that were used."},
        modalities=_array({"enum": ["audio", "text"]}),
        text_truncated={"type": "boolean"},
        embedding=_array(_NUMBER),
        timings=_object(
            ("read", "wait", "compute", "batch"),
            read={**_NUMBER, "description": "Seconds of decoding and preprocessing."},
            wait={**_NUMBER, "description": "Seconds of waiting for the engine."},
            compute={**_NUMBER, "description": "Seconds in the engine."},
            batch={"type": "integer", "description": "Utterances that were computed at once."},
        ),
    ),
    "Failure": _object(("utterance", "error"), utterance=_STRING, error=_STRING),
    "Problem": _object(
        ("type", "title", "status", "kind", "detail"),
        type=_STRING,
        title=_STRING,
        status={"type": "integer"},
        kind={**_STRING, "description": "A word for what went wrong."},
        detail={**_STRING, "description": "What was found, and what was expected."},
    ),
    "Model": _object(
        (
            *("name", "content", "labels", "dimensions", "modalities"),
            *("engine", "device", "precision", "streams", "batch_size"),
        ),
        name=_STRING,
        content={**_STRING, "description": "The hash of the bundle."},
        labels=_array(_STRING),
        dimensions=_array(_STRING),
        modalities=_array(_array(_STRING)),
        engine=_STRING,
        device=_STRING,
        precision=_STRING,
        streams={"type": "integer", "description": "How many batches are computed at once."},
        batch_size={"type": "integer", "description": "The most utterances that make a batch."},
    ),
}

_REFUSALS = {
    400: "The request is not what its type promises, or a parameter has no such value.",
    401: "The token is missing or another.",
    403: "The server has no token, and this call needs one.",
    404: "There is no such path or model.",
    405: "There is no such method here.",
    408: "The body was not there in time.",
    409: "The bundle cannot be used, or nothing supervises the worker.",
    413: "The body is too large, or holds too many utterances.",
    415: "The body is of another content type, or encoded.",
    421: "The request was made to another host than this machine.",
    422: "The clip or the transcript cannot be used.",
    429: "All places for requests are taken; Retry-After says when to try again.",
    500: "A fault of the server.",
    503: "The queue is full, or the worker is about to end.",
    504: "There was no answer within X-Request-Timeout.",
}


def _operation(
    summary: str, answers: dict[int, dict[str, Any]], refusals: tuple[int, ...], **more: Any
) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": _schema("Problem")}}
    refused = {
        str(status): {"description": _REFUSALS[status], "content": problem}
        for status in sorted({*refusals, 421, 500})
    }
    given = {str(status): answer for status, answer in answers.items()}
    return {"summary": summary, **more, "responses": {**given, **refused}}


def _answer(description: str, schema: dict[str, Any], kind: str = _JSON) -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _parameter(name: str, where: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": where, "schema": schema, "description": description}


_PREDICT = _operation(
    "The emotion of an utterance, or of each in a list.",
    {
        200: _answer(
            "An answer; of a list an answer, or why there is none, for each.",
            {"anyOf": [_schema("Answer"), _array({"anyOf": [_schema("Answer"), _schema("Failure")]})]},
        )
    },
    (400, 401, 404, 408, 413, 415, 422, 429, 503, 504),
    operationId="predict",
    parameters=[
        _parameter("model", "query", _STRING, "The bundle's name. Without it, the first one."),
        _parameter("top_k", "query", {"type": "integer", "minimum": 1}, "The number of classes to answer."),
        _parameter(
            "abstain",
            "query",
            {"type": "number", "minimum": 0, "maximum": 1},
            'The probability below which the label is "unknown".',
        ),
        _parameter("embedding", "query", {"type": "boolean"}, "Whether to answer what the classifier sees."),
        _parameter(
            "X-Request-Timeout",
            "header",
            {"type": "number", "exclusiveMinimum": 0},
            "The seconds that you wait.",
        ),
    ],
    requestBody={
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": "A clip and its transcript; several of each make a list.",
                    "properties": {
                        "audio": {"type": "string", "contentMediaType": "application/octet-stream"},
                        "text": _STRING,
                    },
                    "additionalProperties": False,
                }
            },
            _JSON: {"schema": {"anyOf": [_schema("Utterance"), _array(_schema("Utterance"))]}},
        },
    },
)


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, 3.1."""
    status = _object(("status",), status=_STRING)
    models = _object(("models",), models=_array(_schema("Model")))
    contents = _object(("contents",), contents={"type": "object", "additionalProperties": _STRING})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mtab serve",
            "version": __version__,
            "description": "Emotions in speech and text. A label is a guess about how speech sounds.",
        },
        "security": [{}, {"token": []}],
        "paths": {
            "/v1/predict": {"post": _PREDICT},
            "/v1/models": {"get": _operation("The bundles.", {200: _answer("The bundles.", models)}, (401,))},
            "/v1/reload": {
                "post": _operation(
                    "Open the bundles again, without losing a request.",
                    {202: _answer("The hashes of the bundles that the next workers open.", contents)},
                    (401, 403, 409),
                )
            },
            "/healthz": {"get": _operation("Alive?", {200: _answer("It is.", status)}, (), security=[])},
            "/readyz": {
                "get": _operation(
                    "Ready for requests?", {200: _answer("It is.", status)}, (503,), security=[]
                )
            },
            "/metrics": {
                "get": _operation(
                    "Figures for Prometheus.",
                    {200: _answer("Its text format.", _STRING, "text/plain")},
                    (401,),
                )
            },
            "/openapi.json": {
                "get": _operation(
                    "This document.", {200: _answer("OpenAPI 3.1.", {"type": "object"})}, (401,)
                )
            },
            "/docs": {
                "get": _operation("It to read.", {200: _answer("A page.", _STRING, "text/html")}, (401,))
            },
        },
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 50rem; margin: 0 auto; padding: 1rem; }
h2 { font: 600 1.1rem ui-monospace, monospace; margin: 2rem 0 .5rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: .3rem .6rem .3rem 0;
  vertical-align: top; overflow-wrap: anywhere; }
td:first-child { font-family: ui-monospace, monospace; width: 12rem; }
pre { overflow-x: auto; padding: .6rem; background: color-mix(in srgb, currentColor 7%, transparent); }
"""

_EXAMPLE = """curl -F audio=@clip.wav -F text="I never said that!" "http://127.0.0.1:8000/v1/predict?top_k=2"
curl -F audio=@a.wav -F text="What a joy!" -F audio=@b.wav -F text="Turn left." http://127.0.0.1:8000/v1/predict"""


def page() -> str:
    """The document as a page to read, with nothing from elsewhere."""
    described = document()
    sections = []
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            rows = [(each["name"], each["description"]) for each in operation.get("parameters", ())]
            rows += [(status, each["description"]) for status, each in operation["responses"].items()]
            sections.append(
                f"<h2>{method.upper()} {html.escape(path)}</h2><p>{html.escape(operation['summary'])}</p>"
                + _table(rows)
            )
    shapes = [
        f"<h2>{name}</h2>" + _table([(key, _described(value)) for key, value in schema["properties"].items()])
        for name, schema in described["components"]["schemas"].items()
    ]
    info = described["info"]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{info['title']}</title><style>{_STYLE}</style><body>"
        f"<h1>{info['title']} {info['version']}</h1>"
        f'<p>{info["description"]} <a href="openapi.json">The same as an OpenAPI document</a>.</p>'
        f"<pre>{html.escape(_EXAMPLE)}</pre>{''.join(sections)}<h1>Shapes</h1>{''.join(shapes)}"
    )


def _described(schema: dict[str, Any]) -> str:
    if "properties" in schema:
        return "; ".join(f"{key}: {_described(value)}" for key, value in schema["properties"].items())
    kinds = schema.get("type", schema.get("enum", ""))
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    return ". ".join(filter(None, (kind, schema.get("description", ""))))


def _table(rows: list[tuple[str, str]]) -> str:
    cells = (f"<tr><td>{html.escape(key)}<td>{html.escape(value)}" for key, value in rows)
    return f"<table>{''.join(cells)}</table>"
