"""What `mtab.tune` found fastest for a bundle on this machine, for one purpose, in the user's cache."""

import functools
import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mtab.bundle import Bundle
from mtab.config import load_config, to_dict
from mtab.errors import ConfigError, EngineError
from mtab.files import cache_dir, write_json
from mtab.limits import BATCH_SIZE
from mtab.machine import processor_key, usable_cores
from mtab.types import OperatorKind, Precision, TunedFor

_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, slots=True)
class Choice:
    """How to run a bundle, in the terms of `mtab.load`; ``threads`` None: what the engine takes by itself.

    Of int8 what is ``unquantized`` is computed as the graph is that OpenVINO makes it of.

    Of many utterances ``batch_size`` make a batch at most, and as many batches as there are ``streams`` are
    computed at once: the threads are shared among these.
    """

    engine: str
    device: str
    precision: Precision
    threads: int | None = None
    streams: int = 1
    batch_size: int = BATCH_SIZE
    unquantized: tuple[OperatorKind, ...] = ()

    def __post_init__(self) -> None:
        for name in ("threads", "streams", "batch_size"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise ValueError(f"{name} is {number}, expected 1 or more")

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {self.threads} thread{'s' * (self.threads > 1)}"
        computes = arithmetic(self.precision, self.unquantized)
        return f"{self.engine} on {self.device} in {computes}{threads}{self.batches}"

    @property
    def batches(self) -> str:
        """What follows in a text where the batches are other than usual."""
        if (self.streams, self.batch_size) == (1, BATCH_SIZE):
            return ""
        return f", batches of {self.batch_size}, {self.streams} at once"


def arithmetic(precision: Precision, unquantized: Sequence[OperatorKind]) -> str:
    """A precision and what is not in it, to read."""
    names = " and ".join(kind.replace("_", "-") for kind in unquantized)
    return f"{precision} but for {names}" if names else precision


@dataclass(frozen=True, slots=True)
class StoredChoice:
    """A choice, and the ``versions`` of the engines that it was made among (None: not installed)."""

    choice: Choice
    versions: dict[str, str | None]


def tuned_choice(bundle: Bundle, tuned_for: TunedFor = "latency") -> Choice | None:
    """What `store_choice` stored for a bundle of this content on this machine; None if nothing.

    The machine is its processor and the cores that this process may use. A file that holds no choice, and
    one that was made among other versions of the engines, is ignored with a note.
    """
    path = choice_file(bundle, tuned_for)
    try:
        stored = load_config(StoredChoice, path)
    except (OSError, ConfigError) as error:
        if path.exists():
            note(f"{error}; ignored: tune the bundle again, or forget its choice with mtab tune --reset")
        return None
    for package, now in _versions().items():
        if (before := stored.versions.get(package)) != now:
            change = f"{package} was {before or 'not installed'} and is {now or 'not installed'}"
            note(f"{path}: {change} since mtab tune chose {stored.choice}; ignored: tune the bundle again")
            return None
    return stored.choice


def store_choice(bundle: Bundle, choice: Choice, tuned_for: TunedFor = "latency") -> Path:
    """Make ``choice`` what ``engine="auto"`` stands for; the file that says so. Raises `OSError`."""
    path = choice_file(bundle, tuned_for)
    write_json(path, to_dict(StoredChoice(choice, _versions())))
    return path


def forget_choice(bundle: Bundle, tuned_for: TunedFor = "latency") -> bool:
    """Delete what is stored for a bundle, whatever it is; whether there was anything. Raises `OSError`."""
    path = choice_file(bundle, tuned_for)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


@functools.cache
def note(line: str) -> None:
    """Say once what is no error, on stderr unless the program's logging says otherwise."""
    logging.getLogger("mtab").warning(line)


def require_cache(bundle: Bundle, tuned_for: TunedFor) -> None:
    """Raise what `store_choice` would: better before the minutes of measuring than after."""
    folder = choice_file(bundle, tuned_for).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def choice_file(bundle: Bundle, tuned_for: TunedFor = "latency") -> Path:
    """Where the choice for a bundle on this machine is stored, or would be.

    Raises `EngineError` for what nothing is tuned for.
    """
    if tuned_for not in get_args(TunedFor):
        expected = " or ".join(map(repr, get_args(TunedFor)))
        raise EngineError(f"tuned_for is {tuned_for!r}, expected {expected}")
    parts = [bundle.content, processor_key(), usable_cores()]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return cache_dir() / "tuning" / (f"{key}.json" if tuned_for == "latency" else f"{key}-{tuned_for}.json")


def _versions() -> dict[str, str | None]:
    from mtab.packages import installed_version

    return {package: installed_version(package) for package in _PACKAGES}
