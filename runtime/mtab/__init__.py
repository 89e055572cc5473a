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


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `mtab --help` and the readers of corpora do not pay for an engine.
    if name in ("AsyncModel", "QueueFullError"):
        from mtab import aio as module
    elif name in ("Failure", "Input", "Model", "Result"):
        from mtab import model as module
    elif name == "Limits":
        from mtab import limits as module
    elif name == "MtabError":
        from mtab import errors as module
    elif name == "load":
        from mtab import loading as module
    else:
        raise AttributeError(f"module 'mtab' has no attribute {name!r}")
    return getattr(module, name)
