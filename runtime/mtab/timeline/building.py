"""From a recording of any length to its timeline, decoded and answered as it comes, in bounded memory."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mtab.audio import SAMPLE_RATE, name_of
from mtab.audio.streaming import AudioStream, open_audio
from mtab.errors import AudioError, DataError, MtabError, TextError
from mtab.inputs import Input
from mtab.results import UNKNOWN, Failure, Result
from mtab.timeline.buffer import Buffer, cut_spans
from mtab.timeline.regions import PIECE_SECONDS, Region, as_regions, pieces_of
from mtab.timeline.speech import SPEECH, SpeechFinder, SpeechOptions, silero
from mtab.timeline.timeline import Gap, Segment, Timeline
from mtab.timeline.transcript import END_TOLERANCE, Cue, Word, as_transcript
from mtab.timeline.windows import average, cut_windows
from mtab.transcribe import Recognise, as_transcriber
from mtab.words import joined

if TYPE_CHECKING:
    from mtab.model import Model


@dataclass(frozen=True, slots=True)
class TimelineOptions:
    """How speech becomes segments; all in seconds.

    A stretch of speech that is longer than ``window`` is judged in windows that share ``overlap`` (None: half
    of one); where several cover a time, their probabilities are averaged. Neighbours of the same label and
    speaker are one segment, also over a pause of up to ``merge``; segments that were given are never joined.
    Below the probability ``abstain`` the label is "unknown".
    """

    window: float = 5.0
    overlap: float | None = None
    merge: float = 0.5
    abstain: float | None = None
    speech: SpeechOptions = SPEECH

    def __post_init__(self) -> None:
        if not 0.1 <= self.window <= PIECE_SECONDS:
            raise MtabError(f"window is {self.window:g} s, expected 0.1 to {PIECE_SECONDS:g}")
        if not 0 <= self.shared <= 0.9 * self.window:
            found = f"overlap is {self.shared:g} s with a window of {self.window:g}"
            raise MtabError(f"{found}, expected 0 to nine tenths of the window")
        if not self.merge >= 0:
            raise MtabError(f"merge is {self.merge:g} s, expected 0 or more")
        if self.abstain is not None and not 0 <= self.abstain <= 1:
            raise MtabError(f"abstain is {self.abstain:g}, expected a probability from 0 to 1")

    @property
    def shared(self) -> float:
        """The overlap that is meant."""
        return self.window / 2 if self.overlap is None else self.overlap


@dataclass(slots=True, eq=False)
class _Piece:
    """A stretch of speech with its samples.

    ``region`` numbers the one that it is of, and ``line`` what it may be joined to: the speech that was found
    is one line, each segment that was given another. ``last`` tells that no piece of its line follows.
    """

    region: int
    line: int
    last: bool
    start: int
    samples: np.ndarray
    speaker: str | None
    words: tuple[Word, ...]
    windows: list[tuple[int, int]] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)
    failed: list[tuple[tuple[int, int], MtabError]] = field(default_factory=list)
    answered: list[tuple[int, int]] = field(default_factory=list)
    modalities: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        return self.start + len(self.samples)


@dataclass(slots=True, eq=False)
class _Run:
    """A segment that may still grow; ``row`` is the mean by time over ``weight`` samples."""

    region: int
    start: int
    end: int
    row: np.ndarray
    weight: int
    label: str
    speaker: str | None
    words: list[Word]
    modalities: tuple[str, ...]


class TimelineBuilder:
    """Makes a timeline: iterate over it to get segments, and gaps, as they are found.

    ``position`` is the second up to which the recording is answered, ``seconds`` its length where its file
    tells it. `timeline` gives what there is, also after an interruption.
    """

    def __init__(
        self,
        model: "Model",
        audio: Any,
        transcript: Any = None,
        *,
        segments: Any = None,
        transcribe: Recognise | str | None = None,
        sampling_rate: float = SAMPLE_RATE,
        options: TimelineOptions | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        name: str | None = None,
    ) -> None:
        """The parameters are those of `mtab.Model.timeline`; so are the errors of what is read at once."""
        self.name = name or name_of(audio)
        self.model = model
        self.options = options or TimelineOptions()
        self.position = 0.0
        self.seconds: float | None = None
        self._audio, self._rate = audio, sampling_rate
        self._on_error: Literal["raise", "skip"] = on_error
        self._transcribe = None if transcribe is None else as_transcriber(transcribe)
        self._transcript = None if transcript is None else as_transcript(transcript)
        if self._transcript is not None and transcribe is not None:
            raise MtabError(f"{self.name}: a transcript and transcribe, expected one of them")
        self._regions: tuple[Region, ...] | None = None
        if segments is not None:
            self._regions = as_regions(segments, self.name)
            self._segments_from = "segments"
        elif self._transcript is not None and not self._transcript.is_words:
            self._regions = tuple(
                Region(cue.start, cue.end, cue.speaker, cue.timed_words()) for cue in self._transcript.cues
            )
            self._segments_from = "cues"
        else:
            self._finder = SpeechFinder(silero(), self.options.speech)
            self._segments_from = "speech"
        self._found: list[Segment] = []
        self._open: dict[int, _Run] = {}
        self._gaps: list[Gap] = []
        self._complete = False

    def __iter__(self) -> Iterator[Segment | Gap]:
        with open_audio(self._audio, self._rate) as stream:
            self.seconds = stream.seconds
            if stream.seconds is not None:
                self._require_within(stream.seconds)
            for piece in self._answered(self._pieces(stream)):
                gaps = list(self._gaps_in(piece))
                self.position = max(self.position, piece.end / SAMPLE_RATE)
                self._gaps += gaps
                yield from gaps
                for run in self._runs(piece):
                    before = self._open.get(piece.line)
                    joins = before is not None and self._joins(before, run)
                    self._open[piece.line] = _joined(before, run) if before and joins else run
                    if before is not None and not joins:
                        yield self._close(before)
                if piece.last and piece.line in self._open:
                    yield self._close(self._open.pop(piece.line))
            for line in list(self._open):
                yield self._close(self._open.pop(line))
            self.position = self.seconds or self.position
        self._complete = True

    @property
    def has_speakers(self) -> bool:
        """Whether every segment will have one."""
        return self._regions is not None and all(region.speaker is not None for region in self._regions)

    def timeline(self) -> Timeline:
        """What was found so far, in the order of time."""
        source = self._transcript or self._transcribe
        unfinished = map(self._segment, self._open.values())
        return Timeline(
            recording=self.name,
            duration=self.position,
            complete=self._complete,
            labels=self.model.labels,
            dimensions=self.model.dimensions,
            segments_from=self._segments_from,
            text_from=None if source is None else source.name,
            segments=tuple(sorted([*self._found, *unfinished], key=lambda each: (each.start, each.end))),
            failures=tuple(self._gaps),
        )

    def _require_within(self, seconds: float) -> None:
        if self._transcript is not None:
            self._transcript.require_within(seconds)
        for region in self._regions or ():
            if region.end > seconds + END_TOLERANCE or region.start >= seconds:
                found = f"{seconds:.2f} s long"
                raise DataError(
                    f"{self.name}: {found}, expected at least {region.end:.2f} s: "
                    f"a segment is from {region.start:.2f} to {region.end:.2f} s"
                )

    def _pieces(self, stream: AudioStream) -> Iterator[_Piece]:
        if self._regions is None:
            yield from self._found_speech(stream)
        else:
            yield from self._given_speech(stream, self._regions)

    def _found_speech(self, stream: AudioStream) -> Iterator[_Piece]:
        buffer = Buffer()
        count = 0

        def pieces(found: Iterator[tuple[int, int]]) -> Iterator[_Piece]:
            nonlocal count
            for start, end in found:
                yield self._piece(count, start, buffer.take(start, end), None, None)
                count += 1

        for block in self._blocks(stream):
            buffer.append(block)
            yield from pieces(self._finder.push(block))
            buffer.forget(self._finder.needed_from)
        yield from pieces(self._finder.finish())

    def _given_speech(self, stream: AudioStream, regions: Sequence[Region]) -> Iterator[_Piece]:
        # Segments may overlap.
        parts = sorted((span, number) for number, region in enumerate(regions) for span in pieces_of(region))
        samples = cut_spans(self._blocks(stream), [span for span, _ in parts])
        ends = {number: span for span, number in parts}
        for (span, number), found in zip(parts, samples, strict=True):
            speaker, words = regions[number][2:]
            yield self._piece(number, span[0], found, speaker, words, span == ends[number])

    def _blocks(self, stream: AudioStream) -> Iterator[np.ndarray]:
        """The recording's blocks; at their end its length is known, and what must be within it is checked."""
        samples = 0
        for block in stream.blocks:
            samples += len(block)
            yield block
        self.seconds = samples / SAMPLE_RATE
        self._require_within(self.seconds)

    def _piece(
        self,
        region: int,
        start: int,
        samples: np.ndarray,
        speaker: str | None,
        words: tuple[Word, ...] | None,
        last: bool = False,
    ) -> _Piece:
        seconds = start / SAMPLE_RATE, (start + len(samples)) / SAMPLE_RATE
        if words is None and self._transcript is not None:
            words = self._transcript.words(*seconds, speaker)
        line = 0 if self._regions is None else region
        piece = _Piece(region, line, last, start, samples, speaker, words or ())
        if self._transcribe is not None:
            try:
                piece.words = _placed(self._transcribe(samples), *seconds)
            except TextError as error:
                # No window: nothing of it is answered.
                piece.failed.append(((start, piece.end), error))
                return piece
        size, overlap = (round(each * SAMPLE_RATE) for each in (self.options.window, self.options.shared))
        piece.windows = cut_windows(start, piece.end, size, overlap)
        return piece

    def _answered(self, pieces: Iterator[_Piece]) -> Iterator[_Piece]:
        """Pieces with the answers for their windows, which are computed in batches over several pieces."""
        waiting: deque[_Piece] = deque()

        def utterances() -> Iterator[Input]:
            for piece in pieces:
                waiting.append(piece)
                for first, last in piece.windows:
                    text = joined(word.text for word in piece.words if first <= _middle(word) < last)
                    samples = piece.samples[first - piece.start : last - piece.start]
                    yield Input(samples, text or None, name=self._place(first, last))

        place = 0
        for answer in self.model.stream(utterances(), on_error="skip"):
            while not waiting[0].windows:
                yield waiting.popleft()
            piece = waiting[0]
            if isinstance(answer, Failure):
                piece.failed.append((piece.windows[place], answer.error))
            else:
                piece.rows.append(_row(answer))
                piece.answered.append(piece.windows[place])
                piece.modalities = _modalities(piece.modalities, answer.modalities)
            place += 1
            if place == len(piece.windows):
                place = 0
                yield waiting.popleft()
        yield from waiting

    def _gaps_in(self, piece: _Piece) -> Iterator[Gap]:
        """What of a piece no window has an answer for; its error is raised unless errors are skipped.

        A window without words, as over a pause, is no gap where others cover it.
        """
        reached = piece.start
        bounds = [*piece.answered, (piece.end, piece.end)]
        for first, last in bounds:
            if first > reached:
                window, error = next(
                    each for each in piece.failed if each[0][0] < first and reached < each[0][1]
                )
                reason = str(error).removeprefix(f"{self._place(*window)}: ").removeprefix("audio array: ")
                if self._on_error == "raise":
                    raise type(error)(f"{self._place(reached, first)}: {reason}")
                yield Gap(reached / SAMPLE_RATE, first / SAMPLE_RATE, reason, piece.speaker)
            reached = max(reached, last)
        for _, error in piece.failed:
            if not isinstance(error, AudioError | TextError) and self._on_error == "raise":
                raise error

    def _place(self, first: int, last: int) -> str:
        """What errors call a stretch."""
        return f"{self.name}: {first / SAMPLE_RATE:.2f} to {last / SAMPLE_RATE:.2f} s"

    def _runs(self, piece: _Piece) -> Iterator[_Run]:
        for first, last, row in average(piece.answered, piece.rows):
            words = [word for word in piece.words if first <= _middle(word) < last]
            label = self._label(row)
            yield _Run(
                piece.region, first, last, row, last - first, label, piece.speaker, words, piece.modalities
            )

    def _label(self, row: np.ndarray) -> str:
        probabilities = row[: len(self.model.labels)]
        best = int(probabilities.argmax())
        sure = self.options.abstain is None or probabilities[best] >= self.options.abstain
        return self.model.labels[best] if sure else UNKNOWN

    def _joins(self, run: _Run, following: _Run) -> bool:
        if (run.label, run.speaker) != (following.label, following.speaker):
            return False
        if run.region == following.region:
            return following.start <= run.end
        # What somebody has given as segments stays as it is.
        pause = (following.start - run.end) / SAMPLE_RATE
        return self._regions is None and pause <= self.options.merge

    def _close(self, run: _Run) -> Segment:
        segment = self._segment(run)
        self._found.append(segment)
        return segment

    def _segment(self, run: _Run) -> Segment:
        labels, dimensions = self.model.labels, self.model.dimensions
        probabilities, rated = np.split(run.row, [len(labels)])
        return Segment(
            start=run.start / SAMPLE_RATE,
            end=run.end / SAMPLE_RATE,
            label=run.label,
            probabilities=dict(zip(labels, probabilities.tolist(), strict=True)),
            speaker=run.speaker,
            text=joined(word.text for word in run.words) or None,
            words=tuple(run.words),
            modalities=run.modalities,
            dimensions=dict(zip(dimensions, rated.tolist(), strict=True)) or None,
        )


def _row(result: Result) -> np.ndarray:
    """What is averaged over windows."""
    return np.array([*result.probabilities.values(), *(result.dimensions or {}).values()])


def _joined(run: _Run, following: _Run) -> _Run:
    weight = run.weight + following.weight
    row = (run.row * run.weight + following.row * following.weight) / weight
    return _Run(
        following.region,
        run.start,
        max(run.end, following.end),
        row,
        weight,
        run.label,
        run.speaker,
        run.words + following.words,
        _modalities(run.modalities, following.modalities),
    )


def _modalities(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for each in ("audio", "text") if each in some + others)


def _placed(found: "str | Sequence[Word]", start: float, end: float) -> tuple[Word, ...]:
    if isinstance(found, str):
        return Cue(start, end, found).timed_words()
    return tuple(Word(start + word.start, start + word.end, word.text) for word in found)


def _middle(word: Word) -> float:
    """In samples."""
    return (word.start + word.end) / 2 * SAMPLE_RATE
