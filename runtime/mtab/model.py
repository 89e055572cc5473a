"""`load` a bundle, `Model.predict` the emotion of utterances."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.bundle import CONFIG, Bundle, open_bundle
from mtab.engine import OnnxRuntimeEngine
from mtab.errors import AudioError, BundleError, MtabError, TextError
from mtab.graphs import FUSED
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE, Features, Preprocessor

Audio = str | Path | np.ndarray
"""A file, or samples of shape (samples,) or (samples, channels)."""
_CLIP = (str, Path, np.ndarray)


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one utterance.

    ``duration`` is in seconds, of the audio that was used (None without audio); ``modalities`` are those that
    the answer rests on; ``text_truncated`` says that the transcript's end did not fit the text encoder.
    """

    label: str
    probabilities: dict[str, float]
    duration: float | None
    modalities: tuple[str, ...]
    text_truncated: bool = False

    @property
    def score(self) -> float:
        """The probability of ``label``."""
        return self.probabilities[self.label]


class Model:
    """A bundle on an engine. Safe to use from many threads at once."""

    def __init__(self, bundle: Bundle, engine: OnnxRuntimeEngine, preprocess: Preprocessor) -> None:
        self.bundle = bundle
        self.engine = engine
        self.preprocess = preprocess

    def __repr__(self) -> str:
        graph = self.bundle.manifest.graphs[FUSED.name]
        supported = " or ".join("+".join(each) for each in self.bundle.config.supported_modalities)
        return (
            f"Model({str(self.bundle.folder)!r}, engine={self.engine.name!r}, device={self.engine.device!r}, "
            f"precision={graph.dtype!r}, inputs={supported!r}, labels={', '.join(self.labels)!r})"
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return self.bundle.config.labels

    @overload
    def predict(
        self, audio: Audio | None, text: str | None = None, *, sampling_rate: int = ..., batch_size: int = ...
    ) -> Result: ...
    @overload
    def predict(
        self,
        audio: Sequence[Audio | None],
        text: Sequence[str | None] | None = None,
        *,
        sampling_rate: int = ...,
        batch_size: int = ...,
    ) -> list[Result]: ...
    @overload
    def predict(
        self, audio: None, text: Sequence[str | None], *, sampling_rate: int = ..., batch_size: int = ...
    ) -> list[Result]: ...
    def predict(
        self,
        audio: Audio | Sequence[Audio | None] | None,
        text: str | Sequence[str | None] | None = None,
        *,
        sampling_rate: int = SAMPLE_RATE,
        batch_size: int = 8,
    ) -> Result | list[Result]:
        """The emotion of one utterance, or of a list of them, in the list's order.

        ``audio`` is a file, or an array (samples,) or (samples, channels) at ``sampling_rate`` Hz; ``text``
        is its transcript. Of a list, up to ``batch_size`` utterances of like length are computed at once; no
        batch changes an answer. Without ``audio`` a list of texts is a list of utterances.

        Raises `AudioError` or `TextError`, naming the file or the utterance's number (from 0), for input that
        cannot be used or a modality that this model cannot do without; `MtabError` if there is not a
        transcript for each; `EngineError` if the engine fails, as for want of memory.
        """
        if (audio is None or isinstance(audio, _CLIP)) and (text is None or isinstance(text, str)):
            return self.answer([self.read(audio, text, sampling_rate=sampling_rate)])[0]
        features = [
            self.read(a, t, sampling_rate=sampling_rate, name=_name(a, f"utterance {i}"))
            for i, (a, t) in enumerate(_pairs(audio, text))
        ]
        return self.answer(features, batch_size)

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
        """Preprocess one utterance, for `answer`; of ``audio`` the part from ``start`` to ``end`` seconds.

        Raises `AudioError` and `TextError` as `predict`; ``name`` is the utterance's there.
        """
        name = name or _name(audio, "utterance")
        try:
            features = self.preprocess(audio, text, sampling_rate=sampling_rate, start=start, end=end)
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
        supported = self.bundle.config.supported_modalities
        if features.modalities in supported:
            return
        expected = "this model answers from " + " or ".join(" and ".join(each) for each in supported)
        if "text" not in features.modalities and any("text" in each for each in supported):
            raise TextError(f"{name}: no transcript, expected one: {expected}")
        raise AudioError(f"{name}: no audio, expected some: {expected}")

    def answer(self, features: Sequence[Features], batch_size: int = 8) -> list[Result]:
        """`predict` for utterances that `read` has prepared."""
        if batch_size < 1:
            raise MtabError(f"batches of {batch_size} utterances, expected 1 or more")
        results: dict[int, Result] = {}
        for indices in _batches_of_like_length(features, batch_size):
            probabilities = self.run([features[i] for i in indices])["probabilities"]
            for i, row in zip(indices, probabilities, strict=True):
                results[i] = self._result(features[i], row)
        return [results[i] for i in range(len(features))]

    def _result(self, features: Features, probabilities: np.ndarray) -> Result:
        return Result(
            label=self.labels[int(probabilities.argmax())],
            probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
            duration=features.seconds,
            modalities=features.modalities,
            text_truncated=features.text_truncated,
        )

    def run(self, features: Sequence[Features]) -> dict[str, np.ndarray]:
        """One padded batch of B through the engine, float32, in the order of ``features``.

        ``logits`` and ``probabilities`` (B, classes), ``embeddings`` (B, width). Raises `EngineError`.
        """
        return self.engine.run(self.preprocess.collate(features))


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


def _batches_of_like_length(features: Sequence[Features], batch_size: int) -> Iterator[list[int]]:
    def length(i: int) -> tuple[int, int]:
        values, ids = features[i].input_values, features[i].input_ids
        return (0 if values is None else len(values), 0 if ids is None else len(ids))

    order = sorted(range(len(features)), key=length)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def load(bundle: Path | str, device: str = "cpu", threads: int | None = None, verify: bool = True) -> Model:
    """Open a bundle on a device: ``cpu``, ``cuda`` or ``cuda:N``, with ``threads`` (None: one a core).

    The hashes of its files are checked unless not ``verify``; nothing is ever written to it.

    Raises `BundleError` or `ConfigError` for a bundle that is incomplete, changed, of another version or at
    odds with itself, `EngineError` for a device that cannot be used here and a graph that cannot be read.
    """
    opened = open_bundle(bundle, verify)
    graph = opened.manifest.graphs.get(FUSED.name)
    if graph is None:
        found = ", ".join(opened.manifest.graphs) or "none"
        raise BundleError(f"{opened.folder}: graphs are {found}, expected {FUSED.name}")
    config = opened.config
    for name in (CONFIG_FILE, TOKENIZER_FILE) if "text" in config.modalities else (CONFIG_FILE,):
        opened.path(name)
    preprocess = Preprocessor.from_folder(opened.folder)
    if preprocess.config.modalities != config.modalities:
        found = f"modalities are {list(preprocess.config.modalities)}"
        raise BundleError(
            f"{opened.path(CONFIG_FILE)}: {found}, expected {list(config.modalities)} as in {CONFIG}"
        )
    engine = OnnxRuntimeEngine(opened.path(graph.file), device, threads)
    sizes = {"classes": len(config.labels), "embedding": config.embedding_size}
    engine.require(FUSED.of(config.modalities, sizes))
    return Model(opened, engine, preprocess)
