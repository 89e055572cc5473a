"""mtab: speech-and-text emotion recognition without torch.

>>> import mtab
>>> model = mtab.load("bundle")                                      # doctest: +SKIP
>>> model.predict("clip.wav", text="I never said that!")             # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtab.aio import AsyncModel as AsyncModel
    from mtab.aio import QueueFullError as QueueFullError
    from mtab.errors import MtabError as MtabError
    from mtab.limits import Limits as Limits
    from mtab.loading import load as load
    from mtab.model import Failure as Failure
    from mtab.model import Input as Input
    from mtab.model import Model as Model
    from mtab.model import Result as Result

__version__ = "0.1.0"
__all__ = [
    "AsyncModel",
    "Failure",
    "Input",
    "Limits",
    "Model",
    "MtabError",
    "QueueFullError",
    "Result",
    "__version__",
    "load",
]


_MODULES = {
    "AsyncModel": "aio",
    "Failure": "model",
    "Input": "model",
    "Limits": "limits",
    "Model": "model",
    "MtabError": "errors",
    "QueueFullError": "aio",
    "Result": "model",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `mtab --help` and the readers of corpora do not pay for an engine.
    import importlib

    if name in _MODULES:
        return getattr(importlib.import_module(f"mtab.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'mtab' has no attribute {name!r}")
