"""`Model.predict` and `Model.stream`: the emotion of utterances, from a bundle on an engine."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict, TypeVar, Unpack, overload

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.batching import Length, in_batches
from mtab.bundle import Bundle, GraphEntry
from mtab.engines.base import Engine
from mtab.errors import AudioError, EngineError, MtabError, TextError
from mtab.limits import BATCH_SECONDS, BATCH_SIZE, BatchLimits, Limits
from mtab.preprocess import Features, Preprocessor, require_supported

Audio = str | Path | np.ndarray
"""A file, or samples of shape (samples,) or (samples, channels)."""
_CLIP = (str, Path, np.ndarray)

UNKNOWN = "unknown"
"""The label of an answer that is not sure enough."""


class Input(NamedTuple):
    """One utterance to answer: a clip with its transcript, as `Model.predict` takes them.

    Of ``audio`` the part from ``start`` to ``end`` seconds counts. ``name`` is what errors call the utterance
    (None: its file, or its number).
    """

    audio: Audio | None
    text: str | None = None
    start: float | None = None
    end: float | None = None
    sampling_rate: int = SAMPLE_RATE
    name: str | None = None


Utterance = Audio | tuple[Audio | None, str | None] | Input
"""What `Model.stream` takes: a clip, a clip with its transcript, or an `Input`."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one utterance.

    ``label`` is the likeliest class, or `UNKNOWN` where that is less likely than was asked for;
    ``probabilities`` are by class, in the model's order, of ``top_k`` in falling order. ``duration`` is in
    seconds, of the audio that was used (None without audio); ``modalities`` are those that the answer rests
    on; ``text_truncated`` says that the transcript's end did not fit the text encoder. ``embedding`` is
    float32 (width,), what the classifier sees, where it was asked for.
    """

    label: str
    probabilities: dict[str, float]
    duration: float | None
    modalities: tuple[str, ...]
    text_truncated: bool = False
    embedding: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def score(self) -> float:
        """The probability of the likeliest class."""
        return max(self.probabilities.values())


@dataclass(frozen=True, slots=True)
class Failure:
    """What stands in the place of an utterance's `Result` where it has none: its name and the reason."""

    name: str
    error: MtabError


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """What of an answer is wanted; see `Model.predict`."""

    top_k: int | None = None
    abstain: float | None = None
    return_embedding: bool = False

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise MtabError(f"top_k is {self.top_k}, expected 1 or more")
        if self.abstain is not None and not 0 <= self.abstain <= 1:
            raise MtabError(f"abstain is {self.abstain}, expected a probability from 0 to 1")

    def apply(self, result: Result) -> Result:
        """Of a result that holds everything, what is wanted."""
        probabilities = result.probabilities
        if self.top_k is not None:
            falling = sorted(probabilities.items(), key=lambda each: each[1], reverse=True)
            probabilities = dict(falling[: self.top_k])
        unsure = self.abstain is not None and result.score < self.abstain
        return dataclasses.replace(
            result,
            label=UNKNOWN if unsure else result.label,
            probabilities=probabilities,
            embedding=result.embedding if self.return_embedding else None,
        )


class _Options(TypedDict, total=False):
    top_k: int | None
    abstain: float | None
    return_embedding: bool
    batch_size: int
    batch_seconds: float


class Model:
    """A bundle on an engine. Safe to use from many threads at once.

    ``limits`` are what one utterance may hold; assign others where they are too small or too large.
    """

    def __init__(self, bundle: Bundle, graph: GraphEntry, engine: Engine, preprocess: Preprocessor) -> None:
        self.bundle = bundle
        self.graph = graph
        self.engine = engine
        self.preprocess = preprocess
        self.limits = Limits()

    def __repr__(self) -> str:
        supported = " or ".join("+".join(each) for each in self.bundle.config.supported_modalities)
        return (
            f"Model({str(self.bundle.folder)!r}, engine={self.engine.name!r}, device={self.engine.device!r}, "
            f"precision={self.engine.precision!r}, modalities={supported!r}, "
            f"inputs={', '.join(self.engine.inputs)!r}, labels={', '.join(self.labels)!r}, "
            f"size='{self.size / 1e6:.1f} MB')"
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return self.bundle.config.labels

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
        sampling_rate: int = ...,
        **options: Unpack[_Options],
    ) -> Result: ...
    @overload
    def predict(
        self,
        audio: Sequence[Audio | None],
        text: Sequence[str | None] | None = None,
        *,
        sampling_rate: int = ...,
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
        sampling_rate: int = ...,
        on_error: Literal["raise", "skip"],
        **options: Unpack[_Options],
    ) -> list[Result | Failure]: ...
    def predict(
        self,
        audio: Audio | Sequence[Audio | None] | None,
        text: str | Sequence[str | None] | None = None,
        *,
        sampling_rate: int = SAMPLE_RATE,
        top_k: int | None = None,
        abstain: float | None = None,
        return_embedding: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
        batch_size: int = BATCH_SIZE,
        batch_seconds: float = BATCH_SECONDS,
    ) -> Result | Failure | Sequence[Result | Failure]:
        """The emotion of one utterance, or of a list of them, in the list's order.

        ``audio`` is a file, or an array (samples,) or (samples, channels) at ``sampling_rate`` Hz; ``text``
        is its transcript. Without ``audio`` a list of texts is a list of utterances.

        Of the probabilities only the ``top_k`` highest are kept; where even the highest is below ``abstain``,
        the label is ``"unknown"``; with ``return_embedding`` results hold what the classifier sees. For
        ``on_error``, ``batch_size`` and ``batch_seconds`` see `stream`.

        Raises `AudioError` or `TextError`, naming the file or the utterance's number (from 0), for input that
        cannot be used or is beyond ``limits``, or a modality that this model cannot do without; `MtabError`
        if there is not a transcript for each; `EngineError` if the engine fails, as for want of memory.
        """
        single = False
        if (audio is None or isinstance(audio, _CLIP)) and (text is None or isinstance(text, str)):
            single = True
            inputs = [Input(audio, text, sampling_rate=sampling_rate, name=_name(audio, "utterance"))]
        else:
            inputs = [Input(a, t, sampling_rate=sampling_rate) for a, t in _pairs(audio, text)]
        answers = self.stream(
            inputs,
            top_k=top_k,
            abstain=abstain,
            return_embedding=return_embedding,
            on_error=on_error,
            batch_size=batch_size,
            batch_seconds=batch_seconds,
        )
        return next(answers) if single else list(answers)

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
        on_error: Literal["raise", "skip"] = "raise",
        batch_size: int = BATCH_SIZE,
        batch_seconds: float = BATCH_SECONDS,
    ) -> Iterator[Result] | Iterator[Result | Failure]:
        """`predict` for any number of utterances: their results one by one, in order, as they are asked for.

        Each is a clip, a pair of clip and transcript, or an `Input`. Utterances of like length are computed
        at once, up to ``batch_size`` of them and, padding included, ``batch_seconds`` of speech; no batch
        changes an answer. For that, up to 32 batches' worth of utterances is read ahead and held, never
        more, however slowly results are taken; nothing is read before the first one is asked for.

        An utterance without an answer raises in its turn, after the results before it; with ``on_error``
        ``"skip"`` it is a `Failure`, and the others have their results.
        """
        if on_error not in ("raise", "skip"):
            raise MtabError(f"on_error is {on_error!r}, expected 'raise' or 'skip'")
        options = ResultOptions(top_k, abstain, return_embedding)
        limits = BatchLimits(batch_size, batch_seconds)
        return self._stream(utterances, options, limits, skip=on_error == "skip")

    def _stream(
        self, utterances: Iterable[Utterance], options: ResultOptions, limits: BatchLimits, skip: bool
    ) -> Iterator[Result | Failure]:
        def compute(batch: list[_Read]) -> list[Result | Failure]:
            features = [each.found for each in batch if isinstance(each.found, Features)]
            answers = iter(self.answer_each(features))
            outcomes = [next(answers) if isinstance(each.found, Features) else each.found for each in batch]
            return [
                options.apply(outcome) if isinstance(outcome, Result) else Failure(each.name, outcome)
                for each, outcome in zip(batch, outcomes, strict=True)
            ]

        for answer in in_batches(self._read_each(utterances, skip), _Read.length, compute, limits):
            if isinstance(answer, Failure) and not skip:
                raise answer.error
            yield answer

    def _read_each(self, utterances: Iterable[Utterance], skip: bool) -> "Iterator[_Read]":
        """What was read of each utterance; unless ``skip``, none after the first that cannot be used."""
        for i, each in enumerate(utterances):
            if isinstance(each, _CLIP):
                given = Input(each)
            else:
                given = each if isinstance(each, Input) else Input(each[0], each[1])
            audio, text, start, end, sampling_rate, name = given
            name = name or _name(audio, f"utterance {i}")
            found: Features | MtabError
            try:
                found = self.read(audio, text, sampling_rate=sampling_rate, start=start, end=end, name=name)
            except (AudioError, TextError) as error:
                found = _bare(error)
            yield _Read(name, found)
            if isinstance(found, MtabError) and not skip:
                return

    def read(
        self,
        audio: Audio | None,
        text: str | None,
        *,
        sampling_rate: int = SAMPLE_RATE,
        start: float | None = None,
        end: float | None = None,
        name: str | None = None,
    ) -> Features:
        """Preprocess one utterance, for `answer`; the parameters are those of `Input`.

        Raises `AudioError` and `TextError` as `predict`.
        """
        name = name or _name(audio, "utterance")
        try:
            features = self.preprocess(
                audio, text, sampling_rate=sampling_rate, start=start, end=end, limits=self.limits
            )
        except (AudioError, TextError) as error:
            if str(error).startswith(f"{name}:"):
                raise
            raise type(error)(f"{name}: {error}") from None
        self.check(features, name)
        return features

    def check(self, features: Features, name: str) -> None:
        """Refuse an utterance, ``name`` in the error, with modalities that the model cannot answer from.

        Raises `TextError` for want of a transcript and `AudioError` for want of audio.
        """
        try:
            require_supported(features, self.bundle.config.supported_modalities)
        except (AudioError, TextError) as error:
            raise type(error)(f"{name}: {error}") from None

    def answer(self, features: Sequence[Features]) -> list[Result]:
        """The results, with everything in them, of one batch of utterances that `read` has prepared.

        Raises `EngineError`.
        """
        outputs = self.run(features)
        return [
            Result(
                label=self.labels[int(probabilities.argmax())],
                probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
                duration=each.seconds,
                modalities=each.modalities,
                text_truncated=each.text_truncated,
                # A copy: a part would keep the whole batch's in memory.
                embedding=embedding.copy(),
            )
            for each, probabilities, embedding in zip(
                features, outputs["probabilities"], outputs["embeddings"], strict=True
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
                return [_bare(error)]
            return [answer for each in features for answer in self.answer_each([each])]

    def run(self, features: Sequence[Features]) -> dict[str, np.ndarray]:
        """One padded batch of B through the engine, float32, in the order of ``features``.

        ``logits`` and ``probabilities`` (B, classes), ``embeddings`` (B, width). Raises `EngineError`.
        """
        return self.engine.run(self.preprocess.collate(features))


E = TypeVar("E", bound=MtabError)


def _bare(error: E) -> E:
    """An error to keep: without the frames that it came through, which would keep the audio in them."""
    error.__context__ = None
    return error.with_traceback(None)


class _Read(NamedTuple):
    """An utterance as it was read, or why it could not be."""

    name: str
    found: Features | MtabError

    def length(self) -> Length:
        return length_of(self.found) if isinstance(self.found, Features) else Length()


def length_of(features: Features) -> Length:
    """How long an utterance is, for `mtab.batching`."""
    ids = features.input_ids
    return Length(features.seconds or 0.0, 0 if ids is None else len(ids))


def _pairs(
    audio: Audio | Sequence[Audio | None] | None, text: str | Sequence[str | None] | None
) -> Iterable[tuple[Audio | None, str | None]]:
    """Each clip with its transcript, where one of both may be missing altogether."""
    if isinstance(audio, _CLIP) or isinstance(text, str):
        raise MtabError("one of audio and text is a list, expected both or neither")
    audios = [None] * len(text or ()) if audio is None else audio
    texts = [None] * len(audios) if text is None else text
    if len(audios) != len(texts):
        raise MtabError(f"{len(texts)} transcripts for {len(audios)} clips, expected one each")
    return zip(audios, texts, strict=True)


def _name(audio: Audio | None, otherwise: str) -> str:
    # As errors write it: without a leading "./".
    return str(Path(audio)) if isinstance(audio, (str, Path)) else otherwise
