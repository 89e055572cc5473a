"""mtab: speech-and-text emotion recognition without torch.

>>> import mtab
>>> model = mtab.load("bundle")                                      # doctest: +SKIP
>>> model.predict("clip.wav", text="I never said that!")             # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtab.errors import MtabError as MtabError
    from mtab.model import Model as Model
    from mtab.model import Result as Result
    from mtab.model import load as load

__version__ = "0.1.0"
__all__ = ["Model", "MtabError", "Result", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `mtab --help` and the readers of corpora do not pay for an engine.
    import importlib

    if name == "MtabError":
        return importlib.import_module("mtab.errors").MtabError
    if name in ("Model", "Result", "load"):
        return getattr(importlib.import_module("mtab.model"), name)
    raise AttributeError(f"module 'mtab' has no attribute {name!r}")
