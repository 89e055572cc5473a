"""Why an utterance got its answer: what the model attends to, and what the answer loses without a part."""

import dataclasses
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.batching import in_batches, length_of
from mtab.bundle import MANIFEST, Bundle, ReasonsEntry
from mtab.engines.base import Engine
from mtab.engines.opening import open_reasons
from mtab.errors import EngineError, MtabError
from mtab.limits import BatchLimits
from mtab.preprocess import Features, Preprocessor
from mtab.results import Result, ResultOptions
from mtab.words import without, words_of

if TYPE_CHECKING:
    from mtab.model import Model

STRETCH_SECONDS = 0.25
"""The longest stretch of sound that is taken out at once, unless there were more than `MAX_STRETCHES`."""

MAX_STRETCHES = 40


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the transcript: ``text`` from character ``start`` to ``end``.

    ``occlusion`` is how much less likely the answer is without it (negative: likelier). ``attention`` is the
    share, 0 to 1, of the speech-to-text attention that goes to it, mean over the frames; ``peak`` the second
    of the frame that the word attends to most. ``tab_attention``, 0 to 1, is the temporal-aware block's,
    which runs over the text where there is no audio. None: not asked for, or not to be had.
    """

    text: str
    start: int
    end: int
    occlusion: float | None = None
    attention: float | None = None
    peak: float | None = None
    tab_attention: float | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of sound, from ``start`` to ``end`` seconds of what was answered.

    ``occlusion`` is how much less likely the answer is with silence in its place (negative: likelier).
    """

    start: float
    end: float
    occlusion: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What speaks for an answer, as far as it can be had.

    ``result`` is what `mtab.Model.predict` answers; ``words`` are those of the transcript that the text
    encoder saw, ``sounds`` the stretches of the clip. With audio, attention is over time: ``times`` float64
    (frames,), the centre of each frame in seconds; ``tab_attention`` float32 (frames,), 0 to 1, the
    temporal-aware block's, mean over its features; ``speech_to_text`` float32 (frames, words), the share of
    each frame's attention that each word gets, mean over heads: special tokens get the rest. They are None
    where there is nothing to attend to, the model has no such part, or its bundle no graph of it.
    ``samples`` are the clip, float32 (n,) at 16 kHz (None without audio).
    """

    result: Result
    words: tuple[Word, ...] = ()
    sounds: tuple[Stretch, ...] = ()
    times: np.ndarray | None = field(default=None, repr=False, compare=False)
    tab_attention: np.ndarray | None = field(default=None, repr=False, compare=False)
    speech_to_text: np.ndarray | None = field(default=None, repr=False, compare=False)
    samples: np.ndarray | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """All but the ``result`` and the ``samples``, as plain JSON values."""
        return {
            "words": [dataclasses.asdict(word) for word in self.words],
            "sounds": [dataclasses.asdict(stretch) for stretch in self.sounds],
        } | {
            name: None if values is None else values.tolist()
            for name in ("times", "tab_attention", "speech_to_text")
            for values in [getattr(self, name)]
        }


class Attention:
    """The graph of reasons of a bundle on the CPU: opened when it is needed, anew in a forked process."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._opening = threading.Lock()
        self._engine: Engine | None = None
        self._process = 0

    @property
    def entry(self) -> ReasonsEntry | None:
        """What the bundle says of the graph, None if it has none."""
        return self._bundle.manifest.reasons

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Those of `mtab.graphs.REASONS` that the model has, none without the graph.

        Raises `EngineError` as `mtab.engines.base.Engine.run`, and if the graph cannot be opened.
        """
        if self.entry is None:
            return {}
        with self._opening:
            if self._engine is None or self._process != os.getpid():
                self._engine, self._process = open_reasons(self._bundle, self.entry), os.getpid()
            engine = self._engine
        return engine.run(inputs)


def explain(
    model: "Model",
    attention: Attention,
    samples: np.ndarray | None,
    text: str | None,
    features: Features,
    occlusion: bool,
    limits: BatchLimits,
) -> Explanation:
    """What `mtab.Model.explain` answers for ``samples`` at 16 kHz with ``text``, read as ``features``."""
    if attention.entry is None and not occlusion:
        found = f"{MANIFEST}: has no graph of reasons, and occlusion is off"
        raise MtabError(f"{model.bundle.folder / found}, expected one of the two")
    (result,) = model.answer([features])
    if features.input_ids is None:
        text = None
    words, shares = _words(model.preprocess, text)
    attended = _attend(attention, model.preprocess, features)
    words = _attending(words, shares, attended)
    sounds: tuple[Stretch, ...] = ()
    if occlusion:
        spans = stretches(features.seconds or 0.0)
        losses = _losses(
            model, result, _occluded(model.preprocess, features, text, words, samples, spans), limits
        )
        words = tuple(dataclasses.replace(word, occlusion=next(losses)) for word in words)
        sounds = tuple(Stretch(*span, next(losses)) for span in spans)
    to_text = attended.speech_to_text
    return Explanation(
        ResultOptions().apply(result),
        words,
        sounds,
        attended.times,
        None if attended.times is None else attended.tab,
        None if to_text is None else to_text @ shares,
        samples,
    )


def stretches(seconds: float) -> list[tuple[float, float]]:
    """Equal stretches of a clip, from and to a second; none of a clip without length."""
    count = min(MAX_STRETCHES, math.ceil(seconds / STRETCH_SECONDS))
    return [(seconds * i / count, seconds * (i + 1) / count) for i in range(count)]


class _Attended(NamedTuple):
    """Attention of one utterance without padding, float32; None for what there is not.

    ``tab`` (frames,), without audio (tokens,); ``speech_to_text`` (frames, tokens), ``text_to_speech``
    (tokens, frames); ``times`` (frames,) the centre of each frame in seconds.
    """

    times: np.ndarray | None = None
    tab: np.ndarray | None = None
    speech_to_text: np.ndarray | None = None
    text_to_speech: np.ndarray | None = None


def _attend(attention: Attention, preprocess: Preprocessor, features: Features) -> _Attended:
    if attention.entry is None:
        return _Attended()
    found = attention.run(preprocess.collate([features]))
    tokens = 0 if features.input_ids is None else len(features.input_ids)
    frames, times = 0, None
    if features.input_values is not None and attention.entry.hop is not None:
        field, hop = preprocess.config.min_samples, attention.entry.hop
        frames = (len(features.input_values) - field) // hop + 1
        times = (np.arange(frames) * hop + field / 2) / SAMPLE_RATE
    tab = found.get("tab_attention")
    if tab is not None:
        tab = tab[0, : frames or tokens]
    # Where a modality is missing, a model has something that stands for it: nothing to attend to.
    if not (frames and tokens and "speech_to_text_attention" in found):
        return _Attended(times, tab)
    to_text, to_speech = (found[f"{name}_attention"][0] for name in ("speech_to_text", "text_to_speech"))
    return _Attended(times, tab, to_text[:frames, :tokens], to_speech[:tokens, :frames])


def _words(preprocess: Preprocessor, text: str | None) -> tuple[tuple[Word, ...], np.ndarray]:
    """The words that the text encoder saw, and the share of each token in each, float32 (tokens, words)."""
    if text is None or preprocess.tokenizer is None:
        return (), np.zeros((0, 0), np.float32)
    spans = preprocess.tokenizer.spans(text)
    words = tuple(
        Word(text[start:end], start, end) for start, end in words_of(text) if start < spans.max(initial=0)
    )
    starts, ends = (np.array([getattr(word, name) for word in words]) for name in ("start", "end"))
    # A token that reaches into several words is shared by its characters.
    common = np.minimum(spans[:, 1:], ends) - np.maximum(spans[:, :1], starts)
    common = common.clip(min=0).astype(np.float32)
    return words, common / np.maximum(common.sum(axis=1, keepdims=True), 1)


def _attending(words: Sequence[Word], shares: np.ndarray, attended: _Attended) -> tuple[Word, ...]:
    """The words with the attention to and of each."""
    found: list[Word] = []
    for word, share in zip(words, shares.T, strict=True):
        # No token is left of a character that the tokenizer drops.
        weights = share / share.sum() if share.any() else None
        peak = tab = None
        if weights is not None and attended.text_to_speech is not None and attended.times is not None:
            peak = float(attended.times[(weights @ attended.text_to_speech).argmax()])
        if weights is not None and attended.tab is not None and attended.times is None:
            tab = float(weights @ attended.tab)
        to_text = attended.speech_to_text
        attention = None if to_text is None else float((to_text @ share).mean())
        found.append(dataclasses.replace(word, attention=attention, peak=peak, tab_attention=tab))
    return tuple(found)


def _occluded(
    preprocess: Preprocessor,
    features: Features,
    text: str | None,
    words: Sequence[Word],
    samples: np.ndarray | None,
    spans: Sequence[tuple[float, float]],
) -> Iterator[Features]:
    """The utterance without each word, then with silence in the place of each stretch."""
    for word in words:
        assert text is not None
        assert preprocess.tokenizer is not None
        ids, truncated = preprocess.tokenizer(without(text, word.start, word.end))
        yield dataclasses.replace(features, input_ids=ids, text_truncated=truncated)
    for start, end in spans:
        assert samples is not None
        silenced = samples.copy()
        silenced[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 0
        yield dataclasses.replace(features, input_values=preprocess.values(silenced))


def _losses(
    model: "Model", result: Result, occluded: Iterable[Features], limits: BatchLimits
) -> Iterator[float]:
    """How much less likely the label of ``result`` is for each."""
    for answer in in_batches(occluded, length_of, model.answer_each, limits, model.engine.streams):
        if isinstance(answer, EngineError):
            raise answer
        yield result.probabilities[result.label] - answer.probabilities[result.label]
