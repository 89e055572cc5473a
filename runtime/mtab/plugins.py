"""What packages beside the runtime add to it, found by the entry points of the group ``mtab``.

The runtime imports none of them; they may be left out of an installation.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mtab.errors import MtabError


def plugin(name: str) -> Any:
    """The object that is registered as ``name``. Raises `MtabError` where none is."""
    for found in _registered():
        if found.name == name:
            return found.load()
    raise MtabError(f"nothing is registered as {name!r}, expected an installation of the whole of mtab")


def plugin_names(kind: str) -> list[str]:
    """What is registered with a name that begins with ``kind`` and a point, without these."""
    names = (found.name.partition(".") for found in _registered())
    return sorted(rest for first, _, rest in names if first == kind)


def _registered() -> list[EntryPoint]:
    return list(entry_points(group="mtab"))
