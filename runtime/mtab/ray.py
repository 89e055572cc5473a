"""Ray: where Ray Serve finds mtab (``serve run mtab.ray:app bundle=DIR``), and a cluster to work on.

The extra ``ray`` installs what it needs.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mtab.errors import MtabError
from mtab.plugins import plugin

_NAMES = ("app", "deployment")


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return plugin(f"ray.{name}")


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A cluster for as long as the context lasts: at an ``address``, or ``local`` for one of this machine.

    Raises `MtabError` if there is none.
    """
    import ray

    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        options["include_dashboard"] = False
        # Workers are what this machine is to do, and no work beside it.
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        found = " ".join(str(error).split())
        raise MtabError(f"--ray {address}: {found}, expected local, auto or a cluster's address") from None
    try:
        yield
    finally:
        ray.shutdown()


def cause_of(error: Exception) -> MtabError:
    """What a task or an actor failed of, in one line."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, MtabError):
        return cause
    return MtabError(f"the cluster: {' '.join(str(cause).split())[:500]}")
