"""A timeline as a page of its own: the recording to play, its waveform, segments, words and attention."""

import base64
import html
import io
import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from mtab.audio import SAMPLE_RATE
from mtab.audio.streaming import open_audio
from mtab.files import write_text
from mtab.timeline.attention import attend
from mtab.timeline.timeline import Timeline

if TYPE_CHECKING:
    from mtab.model import Model

PEAK_SECONDS = 0.05
"""What a bar of the waveform stands for at the finest."""

# Mono speech as telephones and podcasts have it: 2 h are about 30 MB in the page.
_COMPRESSION = 0.7
_BAR = round(PEAK_SECONDS * SAMPLE_RATE)


def write_page(timeline: Timeline, audio: Any, path: Path, model: "Model") -> None:
    """Write a page that needs nothing else: HTML with the recording as mp3 in it, whole or not at all.

    ``audio`` is the recording of ``timeline``, which is decoded again; with the attention of ``model`` where
    its bundle has the graph for it. Raises `AudioError` and `EngineError` as `mtab.Model.timeline`.
    """
    sound = io.BytesIO()
    peaks: list[np.ndarray] = []
    with (
        open_audio(audio) as stream,
        soundfile.SoundFile(
            sound,
            "w",
            SAMPLE_RATE,
            1,
            format="MP3",
            bitrate_mode="VARIABLE",
            compression_level=_COMPRESSION,
        ) as encoded,
    ):
        attended = attend(timeline, _heard(stream.blocks, timeline.duration, encoded, peaks), model)
    values = timeline.to_dict() | {
        "shares": timeline.shares,
        "model": model.bundle.manifest.training.title,
        "sound": "audio/mpeg",
        "peaks": _bars(peaks),
        "peak_seconds": PEAK_SECONDS,
        "attention": [
            {"start": start, "end": end, "values": np.round(found, 3).tolist()}
            for start, end, found in attended.stretches
        ],
    }
    for segment, shares in zip(values["segments"], attended.words, strict=True):
        for word, share in zip(segment["words"], shares, strict=True):
            if share is not None:
                word["attention"] = round(share, 4)
    page = Template(files("mtab.timeline").joinpath("page.html").read_text(encoding="utf-8"))
    content = page.substitute(
        title=html.escape(f"{timeline.recording}: emotions over time"),
        sound=base64.b64encode(sound.getvalue()).decode(),
        # Nothing in it may end the script.
        data=json.dumps(values, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
    )
    write_text(path, content)


def _heard(
    blocks: Iterable[np.ndarray], seconds: float, encoded: soundfile.SoundFile, peaks: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Encode the first ``seconds`` of the blocks, and their peaks, as they pass."""
    left = round(seconds * SAMPLE_RATE)
    rest = np.zeros(0, np.float32)
    for block in blocks:
        block = block[:left]
        left -= len(block)
        encoded.write(np.clip(block, -1, 1))
        samples = np.concatenate([rest, np.abs(block)])
        whole = len(samples) - len(samples) % _BAR
        rest = samples[whole:]
        peaks.append(samples[:whole].reshape(-1, _BAR).max(axis=1))
        yield block
        if not left:
            break
    if len(rest):
        peaks.append(rest.max(keepdims=True))


def _bars(peaks: list[np.ndarray]) -> list[int]:
    """The peaks as shares of the highest, in whole percent."""
    if not peaks:
        return []
    heights = np.concatenate(peaks)
    return np.round(100 * heights / max(float(heights.max(initial=0)), 1e-9)).astype(int).tolist()
