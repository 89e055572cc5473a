"""mtab: speech-and-text emotion recognition without torch.

>>> import mtab
>>> model = mtab.load("bundle")                                      # doctest: +SKIP
>>> model.predict("clip.wav", text="I never said that!")             # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtab.aio import AsyncModel as AsyncModel
    from mtab.errors import MtabError as MtabError
    from mtab.errors import QueueFullError as QueueFullError
    from mtab.inputs import Input as Input
    from mtab.limits import Limits as Limits
    from mtab.loading import load as load
    from mtab.model import Model as Model
    from mtab.reasons import Explanation as Explanation
    from mtab.results import Failure as Failure
    from mtab.results import Result as Result
    from mtab.timeline.building import TimelineOptions as TimelineOptions
    from mtab.timeline.live import Live as Live
    from mtab.timeline.timeline import Timeline as Timeline

__version__ = "0.1.0"
__all__ = [
    "AsyncModel",
    "Explanation",
    "Failure",
    "Input",
    "Limits",
    "Live",
    "Model",
    "MtabError",
    "QueueFullError",
    "Result",
    "Timeline",
    "TimelineOptions",
    "__version__",
    "load",
]
# Imported on first use, so that `mtab --help` and the readers of corpora do not pay for an engine.
_MODULES = {
    "AsyncModel": "aio",
    "Explanation": "reasons",
    "Failure": "results",
    "Input": "inputs",
    "Limits": "limits",
    "Live": "timeline.live",
    "Model": "model",
    "MtabError": "errors",
    "QueueFullError": "errors",
    "Result": "results",
    "Timeline": "timeline.timeline",
    "TimelineOptions": "timeline.building",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mtab' has no attribute {name!r}")
    return getattr(import_module(f"mtab.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
