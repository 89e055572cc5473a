"""Where Ray Serve finds mtab: ``serve run mtab.ray:app bundle=DIR``, with the extra ``ray``."""

from typing import Any

from mtab.plugins import plugin

_NAMES = ("app", "deployment")


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return plugin(f"ray.{name}")
