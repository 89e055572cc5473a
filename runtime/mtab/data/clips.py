"""Which clips a model has learned from, by hash: so that what it is judged on can be told from them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtab.config import load_config, to_dict
from mtab.files import write_json

CLIPS = "training_clips.json"
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class TrainingClips:
    """``training_clips.json``: the `clip_hash` of every clip that trained a model, or the one it began as."""

    clips: tuple[str, ...]


def clip_hash(values: np.ndarray) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a clip as the model hears it.

    ``values`` are float32 (samples,), decoded, at 16 kHz and normalised: a copy in another lossless format
    has the same hash.
    """
    return hashlib.sha256(values.tobytes()).hexdigest()[:_DIGITS]


def read_clips(folder: Path) -> frozenset[str] | None:
    """The hashes in a run folder or a bundle; None where it has none. Raises `ConfigError` for a bad file."""
    path = folder / CLIPS
    return frozenset(load_config(TrainingClips, path).clips) if path.is_file() else None


def add_clips(folder: Path, hashes: Iterable[str]) -> None:
    """Add hashes to those in a run folder."""
    known = (read_clips(folder) or frozenset()).union(hashes)
    write_json(folder / CLIPS, to_dict(TrainingClips(tuple(sorted(known)))))
