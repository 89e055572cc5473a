"""Emotions of speech while it is spoken: a window that slides over what was heard so far."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mtab.audio import SAMPLE_RATE, as_array, is_array, require_rate
from mtab.audio.samples import to_mono
from mtab.errors import AudioError, MtabError
from mtab.inputs import Input
from mtab.results import Failure, Result
from mtab.text import checked_text
from mtab.timeline.buffer import Buffer

if TYPE_CHECKING:
    from mtab.model import Model


@dataclass(frozen=True, slots=True)
class Update:
    """What the stretch from ``start`` to ``end`` seconds of a stream is answered with.

    ``result`` is what `mtab.Model.predict` answers for these samples and the text that came while they did,
    or a `Failure` with its error, as before the first words for a model that needs them.
    """

    start: float
    end: float
    result: Result | Failure


class Live:
    """A stream of speech, and of text where there is any. Not for several threads at once.

    >>> live = model.live(sample_rate=48_000)              # doctest: +SKIP
    >>> for chunk in microphone:                           # doctest: +SKIP
    ...     for update in live.accept(chunk):
    ...         print(update.end, update.result.label)
    >>> live.finish().result                               # doctest: +SKIP
    """

    def __init__(
        self,
        model: "Model",
        *,
        sample_rate: float = SAMPLE_RATE,
        window: float = 4.0,
        hop: float = 0.5,
        max_seconds: float = 60.0,
    ) -> None:
        """The parameters are those of `mtab.Model.live`."""
        require_rate(sample_rate)
        least = model.preprocess.config.min_samples / SAMPLE_RATE
        if not least <= window <= model.limits.seconds:
            raise MtabError(f"window is {window:g} s, expected {least:g} to {model.limits.seconds:g}")
        if not 0.01 <= hop <= model.limits.seconds:
            raise MtabError(f"hop is {hop:g} s, expected 0.01 to {model.limits.seconds:g}")
        if not window <= max_seconds <= model.limits.seconds:
            found = f"max_seconds is {max_seconds:g}"
            raise MtabError(f"{found}, expected {window:g} (the window) to {model.limits.seconds:g}")
        self.model = model
        self.sample_rate = sample_rate
        self._window, self._hop, self._most = (
            max(1, round(each * sample_rate)) for each in (window, hop, max_seconds)
        )
        self._buffer = Buffer()
        self._texts: list[tuple[int, str]] = []
        self._next = self._hop
        self._finished = False

    @property
    def seconds(self) -> float:
        """How much was heard."""
        return self._buffer.end / self.sample_rate

    def accept(
        self,
        samples: Any = None,
        text: str | None = None,
        sample_rate: float | None = None,
        latest_only: bool = False,
    ) -> Iterator[Update]:
        """Take a chunk of samples, (n,) or (n, channels) of any length, and what was said by its end.

        Its updates, one for each hop that it completes: computed as they are asked for, each over the last
        ``window`` seconds or, at the beginning, over all there is. The chunk is taken at once, whether they
        are asked for or not. With ``latest_only`` a chunk has one at most, its last: who hands on all that
        has come meanwhile never falls behind, however slow the model is.

        Raises `AudioError` for samples that `mtab.Model.predict` refuses, or of another ``sample_rate`` than
        the stream's, and `TextError` for a text that is none; then nothing of the chunk is taken, and the
        stream goes on with the next one.
        """
        self._require_open()
        chunk = None if samples is None else self._checked(samples, sample_rate)
        said = None if text is None else checked_text(text)
        if chunk is not None:
            self._buffer.append(chunk)
        heard = self._buffer.end
        if said is not None and said.strip():
            self._texts.append((heard, said.strip()))
        # Put together at once: what they need may be let go of before they are asked for.
        hops = range(self._next, heard + 1, self._hop)
        self._next += len(hops) * self._hop
        due = [
            self._utterance(max(0, end - self._window), end) for end in (hops[-1:] if latest_only else hops)
        ]
        oldest = heard - self._most
        self._buffer.forget(oldest)
        self._texts = [(at, text) for at, text in self._texts if at >= oldest]
        return map(self._answer, due)

    def finish(self) -> Update:
        """The answer for all that was heard or, of a longer stream, for its last ``max_seconds``.

        ``start`` is 0 in the first case: then the result is that of `mtab.Model.predict` for the whole clip.
        Raises `AudioError` if nothing was heard or less than the model takes, `TextError` if it lacks a
        transcript that it needs, `EngineError` if the engine fails.
        """
        self._require_open()
        heard = self._buffer.end
        if not heard and not self._texts:
            raise AudioError("stream: nothing was heard, expected samples or text")
        update = self._answer(self._utterance(max(0, heard - self._most), heard))
        if isinstance(update.result, Failure):
            raise update.result.error
        self._finished = True
        return update

    def _require_open(self) -> None:
        if self._finished:
            raise MtabError("the stream is finished, expected a new one for more")

    def _checked(self, samples: Any, rate: float | None) -> np.ndarray:
        where = f"stream at {self.seconds:.2f} s"
        if rate is not None and rate != self.sample_rate:
            found = f"a chunk has {rate:g} Hz"
            raise AudioError(f"{where}: {found}, expected {self.sample_rate:g} Hz as before it")
        if not is_array(samples):
            raise AudioError(f"{where}: a chunk is {type(samples).__name__}, expected an array of samples")
        chunk = as_array(samples)
        if chunk.ndim and not len(chunk):
            return np.zeros(0, np.float32)
        try:
            # A copy: the caller may fill its array anew before the samples are asked for.
            return to_mono(chunk, self.sample_rate).copy()
        except AudioError as error:
            raise AudioError(f"{where}: a chunk {error}") from None

    def _utterance(self, first: int, last: int) -> Input:
        """The stretch from ``first`` to ``last`` samples, with its text."""
        start, end = first / self.sample_rate, last / self.sample_rate
        samples = self._buffer.take(first, last) if last > first else None
        # What comes before the first sample is of the first stretch.
        said = [text for at, text in self._texts if first < at <= last or at == first == 0]
        name = f"stream from {start:.2f} to {end:.2f} s"
        return Input(samples, " ".join(said) or None, start, end, self.sample_rate, name)

    def _answer(self, utterance: Input) -> Update:
        start, end = utterance.start or 0.0, utterance.end or 0.0
        [result] = self.model.stream([utterance._replace(start=None, end=None)], on_error="skip")
        return Update(start, end, result)
