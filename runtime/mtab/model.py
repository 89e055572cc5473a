"""`Model.predict` and `Model.stream`: the emotion of utterances, from a bundle on an engine."""

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

import numpy as np

from mtab.answering import answers, bare, named, naming
from mtab.audio import SAMPLE_RATE
from mtab.bundle import Bundle, GraphEntry
from mtab.engines.base import Engine
from mtab.errors import BundleError, EngineError, MemoryLimitError, MtabError
from mtab.inputs import Audio, Input, Utterance, is_many, name_or, paired, require_many
from mtab.limits import BATCH_SECONDS, BATCH_SIZE, BatchLimits, Limits
from mtab.preprocess import Features, Preprocessor, require_supported
from mtab.reasons import Attention, Explanation, explain
from mtab.results import Failure, Result, ResultOptions
from mtab.types import Dimension

if TYPE_CHECKING:
    from mtab.timeline.building import TimelineOptions
    from mtab.timeline.live import Live
    from mtab.timeline.regions import Segmented
    from mtab.timeline.timeline import Timeline
    from mtab.timeline.transcript import Transcribed
    from mtab.transcribe import Recognise, Transcriber


class _Options(TypedDict, total=False):
    top_k: int | None
    abstain: float | None
    return_embedding: bool
    transcribe: "Recognise | str | None"
    batch_size: int | None
    batch_seconds: float


class Model:
    """A bundle on an engine. Safe to use from many threads at once, in forked processes, and to pickle.

    ``limits`` are what one utterance may hold; assign others where they are too small or too large.
    ``batch_size`` is how many utterances make a batch where a call does not say it.
    """

    def __init__(
        self,
        bundle: Bundle,
        graph: GraphEntry,
        engine: Engine,
        preprocess: Preprocessor,
        load: "Callable[[], Model] | None" = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        """``load`` opens the bundle again in the same way, for a forked process and for a pickled model."""
        self.bundle = bundle
        self.graph = graph
        self.engine = engine
        self.preprocess = preprocess
        self.limits = Limits()
        self.batch_size = batch_size
        self._attention = Attention(bundle)
        self._load = load
        self._process = os.getpid()
        self._opening = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._load is None:
            raise MtabError(f"{self.bundle.folder}: not of mtab.load, expected such a model to pickle")
        return _opened_again, (self._load, self.bundle.content, self.limits)

    def __repr__(self) -> str:
        supported = " or ".join("+".join(each) for each in self.bundle.config.supported_modalities)
        return (
            f"Model({str(self.bundle.folder)!r}, engine={self.engine.name!r}, device={self.engine.device!r}, "
            f"precision={self.engine.precision!r}, streams={self.engine.streams}, "
            f"batch_size={self.batch_size}, modalities={supported!r}, "
            f"inputs={', '.join(self.engine.inputs)!r}, labels={', '.join(self.labels)!r}, "
            f"size='{self.size / 1e6:.1f} MB')"
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return self.bundle.config.labels

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions that it answers beside the classes, in the order of the output; often none."""
        return tuple(self.bundle.config.deviations)

    @property
    def size(self) -> int:
        """The bytes of the graph and its weights, as the bundle has them."""
        return self.bundle.size(self.graph.file)

    @overload
    def predict(
        self,
        audio: Audio | None,
        text: str | None = None,
        *,
        sampling_rate: float = ...,
        **options: Unpack[_Options],
    ) -> Result: ...
    @overload
    def predict(
        self,
        audio: Sequence[Audio | None],
        text: Sequence[str | None] | None = None,
        *,
        sampling_rate: float = ...,
        on_error: Literal["raise"] = ...,
        **options: Unpack[_Options],
    ) -> list[Result]: ...
    @overload
    def predict(
        self,
        audio: None,
        text: Sequence[str | None],
        *,
        on_error: Literal["raise"] = ...,
        **options: Unpack[_Options],
    ) -> list[Result]: ...
    @overload
    def predict(
        self,
        audio: Sequence[Audio | None] | None,
        text: Sequence[str | None] | None = None,
        *,
        sampling_rate: float = ...,
        on_error: Literal["raise", "skip"],
        **options: Unpack[_Options],
    ) -> list[Result | Failure]: ...
    def predict(
        self,
        audio: Audio | Sequence[Audio | None] | None,
        text: str | Sequence[str | None] | None = None,
        *,
        sampling_rate: float = SAMPLE_RATE,
        top_k: int | None = None,
        abstain: float | None = None,
        return_embedding: bool = False,
        transcribe: "Recognise | str | None" = None,
        on_error: Literal["raise", "skip"] = "raise",
        batch_size: int | None = None,
        batch_seconds: float = BATCH_SECONDS,
    ) -> Result | Failure | Sequence[Result | Failure]:
        """The emotion of one utterance, or of a list of them, in the list's order.

        ``audio`` is a path, a file's content as bytes, a file opened with ``"rb"``, or an array (or a tensor)
        (samples,) or (samples, channels) at ``sampling_rate`` Hz; ``text`` is its transcript. Without
        ``audio`` a list of texts is a list of utterances. Any iterable counts as a list.

        Of the probabilities only the ``top_k`` highest are kept; where even the highest is below ``abstain``,
        the label is ``"unknown"``; with ``return_embedding`` results hold what the classifier sees. A clip
        without a text gets that of ``transcribe``, which is what `mtab.transcribe.as_transcriber` takes. For
        ``on_error``, ``batch_size`` and ``batch_seconds`` see `stream`.

        Raises `AudioError` or `TextError`, naming the file or the utterance's number (from 0), for input that
        cannot be used or is beyond ``limits``, or a modality that this model cannot do without; `MtabError`
        if there is not a transcript for each; `EngineError` if the engine fails, as for want of memory.
        """
        single = not is_many(audio) and not is_many(text)
        pairs: list[tuple[Any, Any]] = [(audio, text)] if single else paired(audio, text)
        inputs = [Input(a, t, sampling_rate=sampling_rate) for a, t in pairs]
        if single:
            inputs = [each._replace(name=name_or(each, "utterance")) for each in inputs]
        results = self.stream(
            inputs,
            top_k=top_k,
            abstain=abstain,
            return_embedding=return_embedding,
            transcribe=transcribe,
            on_error=on_error,
            batch_size=batch_size,
            batch_seconds=batch_seconds,
        )
        return next(results) if single else list(results)

    @overload
    def stream(
        self,
        utterances: Iterable[Utterance],
        *,
        on_error: Literal["raise"] = ...,
        **options: Unpack[_Options],
    ) -> Iterator[Result]: ...
    @overload
    def stream(
        self,
        utterances: Iterable[Utterance],
        *,
        on_error: Literal["raise", "skip"],
        **options: Unpack[_Options],
    ) -> Iterator[Result | Failure]: ...
    def stream(
        self,
        utterances: Iterable[Utterance],
        *,
        top_k: int | None = None,
        abstain: float | None = None,
        return_embedding: bool = False,
        transcribe: "Recognise | str | None" = None,
        on_error: Literal["raise", "skip"] = "raise",
        batch_size: int | None = None,
        batch_seconds: float = BATCH_SECONDS,
    ) -> Iterator[Result] | Iterator[Result | Failure]:
        """`predict` for any number of utterances: their results one by one, in order, as they are asked for.

        Each is a clip, a pair of clip and transcript, or an `Input`. Utterances of like length are computed
        at once, up to ``batch_size`` of them (None: the model's) and, padding included, ``batch_seconds`` of
        speech; no batch changes an answer. For that, up to 32 batches' worth of utterances is read ahead and
        held, never more, however slowly results are taken; nothing is read before the first one is asked for.
        Of a model whose engine has several ``streams`` so many batches are computed at once, ahead of results
        that are asked for by as many again.

        An utterance without an answer raises in its turn, after the results before it; with ``on_error``
        ``"skip"`` it is a `Failure`, and the others have their results. Raises `MtabError` at once if
        ``utterances`` is one utterance or no iterable.
        """
        require_many(utterances)
        if on_error not in ("raise", "skip"):
            raise MtabError(f"on_error is {on_error!r}, expected 'raise' or 'skip'")
        options = ResultOptions(top_k, abstain, return_embedding)
        limits = self.batch_limits(batch_size, batch_seconds)
        transcriber = _transcriber(transcribe)
        return answers(self, utterances, options, limits, transcriber, skip=on_error == "skip")

    def timeline(
        self,
        audio: Audio,
        transcript: "Transcribed | None" = None,
        *,
        segments: "Segmented | None" = None,
        transcribe: "Recognise | str | None" = None,
        sampling_rate: float = SAMPLE_RATE,
        options: "TimelineOptions | None" = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> "Timeline":
        """The emotions of a recording of any length, over time; decoded as a stream, in bounded memory.

        ``segments`` are who speaks when, as a diarisation has it: a file (RTTM, CSV, JSON) or a list of
        (start, end) or (start, end, speaker) in seconds. Without them the cues of ``transcript`` are the
        segments and, where there is none or it has words alone, Silero's detector finds the speech, which the
        extra ``vad`` installs. ``transcript`` is a file (SRT, WebVTT, JSON with times) or a list of cues; in
        its place ``transcribe`` is asked for each stretch of speech, of 30 s at most. For ``options`` see
        `mtab.timeline.TimelineOptions`.

        A stretch without an answer, as without words for a model that needs them, raises; with ``on_error``
        ``"skip"`` it is among the timeline's ``failures``. Raises `AudioError` for a recording that cannot be
        used, `TextError` and `DataError` for a transcript and segments that are none, whose times run
        backwards, or that reach beyond the recording, `MtabError` without a detector, `EngineError` as
        `predict`.
        """
        from mtab.timeline.building import TimelineBuilder

        builder = TimelineBuilder(
            self,
            audio,
            transcript,
            segments=segments,
            transcribe=transcribe,
            sampling_rate=sampling_rate,
            options=options,
            on_error=on_error,
        )
        for _ in builder:
            pass
        return builder.timeline()

    def live(
        self,
        *,
        sample_rate: float = SAMPLE_RATE,
        window: float = 4.0,
        hop: float = 0.5,
        max_seconds: float = 60.0,
    ) -> "Live":
        """A stream of speech to answer while it is spoken: see `mtab.timeline.live.Live`.

        Chunks come at ``sample_rate`` Hz. An update is the answer for the last ``window`` seconds, every
        ``hop`` seconds: of bounded cost and delay, and not what the whole clip would get. `Live.finish`
        answers for the whole, up to ``max_seconds``, as `predict` does.

        Raises `AudioError` for a rate that no recording has, and `MtabError` for seconds that do not fit one
        another or the limits.
        """
        from mtab.timeline.live import Live

        return Live(self, sample_rate=sample_rate, window=window, hop=hop, max_seconds=max_seconds)

    def explain(
        self,
        audio: Audio | None,
        text: str | None = None,
        *,
        sampling_rate: float = SAMPLE_RATE,
        start: float | None = None,
        end: float | None = None,
        name: str | None = None,
        transcribe: "Recognise | str | None" = None,
        occlusion: bool = True,
        batch_size: int | None = None,
        batch_seconds: float = BATCH_SECONDS,
    ) -> Explanation:
        """What speaks for the answer of one utterance: what is attended to, and what it loses without a part.

        The utterance is given as to `read`, ``transcribe`` as to `predict`. Each word is left out once, and
        each stretch of sound of a quarter of a second (or a fortieth of the clip) is silenced once: as many
        more answers of this model, in batches as those of `predict`; not unless ``occlusion``. Attention
        comes from the bundle's graph of reasons, in float32 on the CPU whatever the engine of this model; it
        is opened at the first call and kept, with the weights in memory once more. A bundle without that
        graph gives the rest.

        Raises as `predict`; `MemoryLimitError` before anything is computed that does not fit; `MtabError`
        if the bundle has no such graph and ``occlusion`` is off, which leaves nothing to say.
        """
        limits = self.batch_limits(batch_size, batch_seconds)
        name = name or name_or(Input(audio), "utterance")
        transcriber = _transcriber(transcribe)
        samples = None
        if audio is not None and (self.preprocess.listens or transcriber is not None):
            with naming(name):
                samples = self.preprocess.samples(
                    audio, sampling_rate=sampling_rate, start=start, end=end, limits=self.limits
                )
        features = self.read(samples, text, name=name, transcriber=transcriber)
        samples = samples if self.preprocess.listens else None
        text = text if features.transcript is None else features.transcript
        try:
            return explain(self, self._attention, samples, text, features, occlusion, limits)
        except MemoryLimitError as error:
            raise named(error, name) from None

    def batch_limits(self, batch_size: int | None, batch_seconds: float) -> BatchLimits:
        """What one batch may hold; without a ``batch_size`` (None) the model's. Raises `MtabError`."""
        return BatchLimits(self.batch_size if batch_size is None else batch_size, batch_seconds)

    def read(
        self,
        audio: Audio | None,
        text: str | None,
        *,
        sampling_rate: float = SAMPLE_RATE,
        start: float | None = None,
        end: float | None = None,
        name: str | None = None,
        transcriber: "Transcriber | None" = None,
    ) -> Features:
        """Preprocess one utterance, for `answer`; the parameters are those of `Input`.

        A clip without a ``text`` gets that of the ``transcriber``. Raises `AudioError` and `TextError` as
        `predict`.
        """
        name = name or name_or(Input(audio), "utterance")
        where: dict[str, Any] = {"sampling_rate": sampling_rate, "start": start, "end": end}
        with naming(name):
            if transcriber is None or text is not None or audio is None:
                features = self.preprocess(audio, text, **where, limits=self.limits)
            else:
                samples = self.preprocess.samples(audio, **where, limits=self.limits)
                said = transcriber.text_of(samples)
                features = self.preprocess(samples, said, limits=self.limits)
                features = dataclasses.replace(features, transcript=said, text_from=transcriber.name)
            require_supported(features, self.bundle.config.supported_modalities)
        return features

    def answer(self, features: Sequence[Features]) -> list[Result]:
        """The results, with everything in them, of one batch of utterances that `read` has prepared.

        Raises `EngineError`.
        """
        outputs = self.run(features)
        dimensions = outputs["dimensions"] if self.dimensions else np.empty((len(features), 0))
        return [
            Result(
                label=self.labels[int(probabilities.argmax())],
                probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
                duration=each.seconds,
                modalities=each.modalities,
                text_truncated=each.text_truncated,
                # A copy: a part would keep the whole batch's in memory.
                embedding=embedding.copy(),
                dimensions=dict(zip(self.dimensions, ratings.tolist(), strict=True)) or None,
                transcript=each.transcript,
                text_from=each.text_from,
            )
            for each, probabilities, embedding, ratings in zip(
                features, outputs["probabilities"], outputs["embeddings"], dimensions, strict=True
            )
        ]

    def answer_each(self, features: Sequence[Features]) -> list[Result | EngineError]:
        """`answer`, where an utterance that the engine fails on has the error for an answer.

        A batch that fails, as for want of memory, is computed again one by one.
        """
        if not features:
            return []
        try:
            return [*self.answer(features)]
        except EngineError as error:
            if len(features) == 1:
                return [bare(error)]
            return [answer for each in features for answer in self.answer_each([each])]

    def run(self, features: Sequence[Features]) -> dict[str, np.ndarray]:
        """One padded batch of B through the engine, float32, in the order of ``features``.

        ``logits`` and ``probabilities`` (B, classes), ``embeddings`` (B, width), and ``dimensions`` (B,
        dimensions) of a model that has them. Raises `EngineError`, before anything is computed if the batch
        needs more memory than there is.
        """
        if self._process != os.getpid():
            self._open_after_fork()
        return self.engine.run(self.preprocess.collate(features))

    def _open_after_fork(self) -> None:
        """Give a forked process an engine of its own: a fork copies none of its threads."""
        with self._opening:
            if self._process == os.getpid():
                return
            if self._load is None or self.engine.device != "cpu":
                found = f"opened on {self.engine.device} before this process was forked"
                raise EngineError(f"{self.bundle.folder}: {found}, expected mtab.load after that")
            self.engine = _opened_again(self._load, self.bundle.content, self.limits).engine
            self._process = os.getpid()


def _transcriber(transcribe: "Recognise | str | None") -> "Transcriber | None":
    if transcribe is None:
        return None
    # Imported on use, for it brings the readers of transcripts and corpora.
    from mtab.transcribe import as_transcriber

    return as_transcriber(transcribe)


def _opened_again(load: Callable[[], Model], content: str, limits: Limits) -> Model:
    """A model as it was; `BundleError` if its bundle is another by now."""
    model = load()
    if model.bundle.content != content:
        raise BundleError(f"{model.bundle.folder}: changed since it was opened, expected the same bundle")
    model.limits = limits
    return model
