"""What a server serves, how, and what it takes in."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mtab.errors import ConfigError, MtabError
from mtab.limits import BATCH_SECONDS, MAX_CHARACTERS, MAX_SECONDS, Limits
from mtab.types import Precision, TunedFor

MAX_BODY = 32 * 2**20
"""Bytes of a request's body: ten minutes of speech in 16-bit mono at 16 kHz, in base64."""
MAX_CONCURRENCY = 64
MAX_QUEUE = 256
READ_TIMEOUT = 30.0
DRAIN = 1.0
TOKEN = "MTAB_TOKEN"
"""The variable with the token that requests carry."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server serves, how, and what it takes in.

    ``bundles`` are names and folders, the first for requests that name none. ``max_body`` is in bytes, of one
    request; ``max_concurrency`` requests are in work at once in each worker, and ``max_queue`` utterances
    wait for each bundle. A body must be there within ``read_timeout`` seconds. After SIGTERM a worker takes
    requests for ``drain`` seconds more. Requests carry the ``token`` (None: none is needed, and only requests
    that name this machine by a loopback address are answered).
    """

    bundles: tuple[tuple[str, str], ...]
    device: str = "auto"
    engine: str = "auto"
    precision: Precision | Literal["auto"] = "auto"
    threads: int | None = None
    tuned_for: TunedFor = "latency"
    batch_size: int | None = None
    batch_seconds: float = BATCH_SECONDS
    max_latency: float = 0.01
    max_seconds: float = MAX_SECONDS
    max_characters: float = MAX_CHARACTERS
    max_body: int = MAX_BODY
    max_concurrency: int = MAX_CONCURRENCY
    max_queue: int = MAX_QUEUE
    read_timeout: float = READ_TIMEOUT
    drain: float = DRAIN
    token: str | None = field(default=None, repr=False)

    @property
    def limits(self) -> Limits:
        """What one utterance may hold."""
        return Limits(self.max_seconds, self.max_characters)


def named_bundles(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Each of ``[NAME=]BUNDLE`` with its name, which is its folder's where none is given.

    Raises `ConfigError` for names that are empty or not apart.
    """
    named = []
    for each in given:
        name, equals, folder = each.partition("=")
        named.append((name, folder) if equals else (Path(each).resolve().name, each))
    names = [name for name, _ in named]
    if "" in names or len(set(names)) < len(names):
        found = ", ".join(map(repr, names))
        raise ConfigError(f"bundles named {found}, expected NAME=BUNDLE with a name for each")
    return tuple(named)


def token_from_environment() -> str | None:
    """The token in the variable `TOKEN`; None where there is none. Raises `MtabError` for what is none."""
    token = os.environ.get(TOKEN)
    return None if token is None else _checked_token(token, TOKEN)


def read_token(path: Path) -> str:
    """The token in a file. Raises `MtabError` for what is none."""
    return _checked_token(path.read_text(encoding="utf-8").strip(), str(path))


def _checked_token(token: str, where: str) -> str:
    if not (token and token.isascii() and token.isprintable() and " " not in token):
        raise MtabError(f"{where}: holds no token, expected printable ASCII without a space")
    return token
