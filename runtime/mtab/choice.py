"""The engine that `mtab.tune` found fastest for a bundle on this machine, in the user's cache."""

import hashlib
import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mtab.bundle import Bundle
from mtab.config import load_config, to_dict
from mtab.errors import ConfigError
from mtab.files import cache_dir, write_json
from mtab.machine import processor_key, usable_cores
from mtab.types import Precision

_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, slots=True)
class Choice:
    """How to run a bundle, in the terms of `mtab.load`; ``threads`` None: what the engine takes by itself."""

    engine: str
    device: str
    precision: Precision
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads is {self.threads}, expected 1 or more")


def tuned_choice(bundle: Bundle) -> Choice | None:
    """What `store_choice` stored for a bundle of this content on this machine; None if nothing.

    The machine is its processor, the cores that this process may use, and the versions of the engines.
    """
    with suppress(OSError, ConfigError):
        return load_config(Choice, choice_file(bundle))
    return None


def store_choice(bundle: Bundle, choice: Choice) -> Path:
    """Make ``choice`` what ``engine="auto"`` stands for; the file that says so. Raises `OSError`."""
    path = choice_file(bundle)
    write_json(path, to_dict(choice))
    return path


def require_cache(bundle: Bundle) -> None:
    """Raise `OSError` where `store_choice` would: better before the minutes of measuring than after."""
    folder = choice_file(bundle).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def choice_file(bundle: Bundle) -> Path:
    """Where the choice for a bundle on this machine is stored, or would be."""
    parts = [bundle.content, processor_key(), usable_cores(), *map(_version, _PACKAGES)]
    return cache_dir() / "tuning" / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.json"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
