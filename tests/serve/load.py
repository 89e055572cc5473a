"""Clients that ask a server over and over from threads, and keep account of what becomes of each request."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Load:
    """What became of the requests; ``answers`` are the answers' bodies."""

    asked: int = 0
    answers: list[dict[str, Any]] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)

    def answered(self) -> int:
        """How many have an answer by now."""
        return len(self.answers)


@contextmanager
def load(
    url: str,
    body: dict[str, Any],
    clients: int = 8,
    keep_alive: bool = True,
    headers: dict[str, str] | None = None,
) -> Iterator[Load]:
    """Ask from so many threads until the context ends.

    A connection that the server refuses was not accepted: its request is no request. One that breaks off
    counts as lost.
    """
    found = Load()
    lock = threading.Lock()

    def ask() -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if keep_alive else 0)
        with httpx.Client(base_url=url, timeout=60, limits=limits, headers=headers) as client:
            while not found.ended.is_set():
                try:
                    answer = client.post("/v1/predict", json=body)
                except httpx.ConnectError:
                    outcome, values = "refused", None
                    time.sleep(0.01)
                except httpx.TransportError as error:
                    outcome, values = type(error).__name__, None
                else:
                    outcome = str(answer.status_code)
                    values = answer.json() if answer.status_code == 200 else None
                with lock:
                    found.asked += outcome != "refused"
                    found.outcomes[outcome] += 1
                    if values is not None:
                        found.answers.append(values)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        found.ended.set()
        for thread in threads:
            thread.join(60)
