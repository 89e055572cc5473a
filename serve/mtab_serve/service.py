"""The bundles that a server serves, and the places for requests: what its routes share."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mtab_serve.problems import Problem, busy
from mtab_serve.served import Served
from mtab_serve.settings import Settings

log = logging.getLogger("mtab.serve")


class Service:
    """What a worker holds. ``draining`` is set once it is to end: it answers, and asks for no more."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.draining = False
        self._models: dict[str, Served] = {}
        self._busy = 0

    async def open(self) -> None:
        """Open the bundles and warm their engines. Raises what `mtab.load` does."""
        for name, folder in self.settings.bundles:
            self._models[name] = await asyncio.to_thread(Served, name, folder, self.settings)
            log.info("%s: %s", name, self._models[name].engine)

    async def close(self) -> None:
        """Answer what was accepted, and take no more."""
        for each in self._models.values():
            await asyncio.to_thread(each.model.close)

    @property
    def models(self) -> list[Served]:
        """What is served, the first for requests that name none; none before `open`."""
        return list(self._models.values())

    def model(self, name: str | None) -> Served:
        """The bundle of that name. Raises `Problem` (404)."""
        if name is None:
            return self.models[0]
        try:
            return self._models[name]
        except KeyError:
            expected = ", ".join(self._models)
            raise Problem(404, "model", f"no model {name!r}, expected one of {expected}") from None

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place for a request. Raises `Problem` (429) where all are taken."""
        most = self.settings.max_concurrency
        if self._busy >= most:
            raise busy(f"{self._busy} requests are in work, expected fewer than {most}; try again later")
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
