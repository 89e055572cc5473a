"""What a server serves, how, and what it takes in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mtab.limits import BATCH_SECONDS, BATCH_SIZE, MAX_CHARACTERS, MAX_SECONDS, Limits
from mtab.types import Precision

MAX_BODY = 32 * 2**20
"""Bytes of a request's body: ten minutes of speech in 16-bit mono at 16 kHz, in base64."""
MAX_CONCURRENCY = 64
MAX_QUEUE = 256
READ_TIMEOUT = 30.0
DRAIN = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server serves, how, and what it takes in.

    ``bundles`` are names and folders, the first for requests that name none. ``max_body`` is in bytes, of one
    request; ``max_concurrency`` requests are in work at once in each worker, and ``max_queue`` utterances
    wait for each bundle. A body must be there within ``read_timeout`` seconds. After SIGTERM a worker takes
    requests for ``drain`` seconds more. Requests carry the ``token`` (None: none is needed, and only requests
    that name this machine by a loopback address are answered).
    """

    bundles: tuple[tuple[str, Path], ...]
    device: str = "auto"
    engine: str = "auto"
    precision: Precision | Literal["auto"] = "auto"
    threads: int | None = None
    batch_size: int = BATCH_SIZE
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
