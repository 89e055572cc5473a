"""What a forked process inherits of engines: objects whose threads are not there, of which none may end.

ONNX Runtime and OpenVINO wait for their threads where a session or the process ends, and a fork copies no
threads: what a child inherits is therefore never freed, and its exit leaves out the libraries' own end.
"""

import ctypes
import os
import weakref
from typing import Any

_live: weakref.WeakSet[Any] = weakref.WeakSet()


def watch(engine: object) -> None:
    """Keep ``engine`` from waiting for ever in processes that are forked from this one."""
    _live.add(engine)


def _keep_inherited() -> None:
    for engine in list(_live):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
    libc = ctypes.CDLL(None)
    if _live and hasattr(libc, "on_exit"):
        # Called with the exit status, after Python has ended and before what was registered earlier.
        libc.on_exit(libc._exit, None)
    _live.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_inherited)
