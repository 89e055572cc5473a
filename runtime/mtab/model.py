"""`load` a bundle, `Model.predict` the emotion of utterances."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from mtab.bundle import Bundle, open_bundle
from mtab.engine import OnnxRuntimeEngine
from mtab.errors import AudioError, BundleError, MtabError, TextError
from mtab.graphs import FUSED
from mtab.preprocess import Features, Preprocessor

Audio = str | Path | np.ndarray
"""A file, or samples of shape (samples,) or (samples, channels)."""


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
    def predict(
        self,
        audio: Audio | None | Sequence[Audio | None],
        text: str | None | Sequence[str | None] = None,
        *,
        sampling_rate: int = 16_000,
        batch_size: int = 8,
    ) -> Result | list[Result]:
        """The emotion of one utterance, or of a list of them in batches of utterances of like length.

        ``sampling_rate`` is that of samples given as arrays. Raises `AudioError` or `TextError`, naming the
        utterance, for input that cannot be used or a modality that this model cannot do without.
        """
        if audio is None or isinstance(audio, (str, Path, np.ndarray)):
            if text is not None and not isinstance(text, str):
                raise MtabError(f"{len(text)} transcripts for one utterance, expected one")
            return self.answer([self._read(audio, text, sampling_rate)])[0]
        texts = [None] * len(audio) if text is None else text
        if isinstance(texts, str) or len(texts) != len(audio):
            found = "one transcript" if isinstance(texts, str) else f"{len(texts)} transcripts"
            raise MtabError(f"{found} for {len(audio)} utterances, expected one each")
        features = [self._read(a, t, sampling_rate) for a, t in zip(audio, texts, strict=True)]
        return self.answer(features, batch_size)

    def _read(self, audio: Audio | None, text: str | None, sampling_rate: int) -> Features:
        features = self.preprocess(audio, text, sampling_rate=sampling_rate)
        self.check(features, str(audio) if isinstance(audio, (str, Path)) else "utterance")
        return features

    def check(self, features: Features, name: str) -> None:
        """Refuse an utterance, ``name`` in the error, with modalities that the model cannot answer from."""
        supported = self.bundle.config.supported_modalities
        if features.modalities in supported:
            return
        expected = "this model answers from " + " or ".join(" and ".join(each) for each in supported)
        if "text" not in features.modalities and any("text" in each for each in supported):
            raise TextError(f"{name}: no transcript, expected one: {expected}")
        raise AudioError(f"{name}: no audio, expected some: {expected}")

    def answer(self, features: Sequence[Features], batch_size: int = 8) -> list[Result]:
        """`predict` for utterances that are preprocessed and checked already."""
        results: list[Result | None] = [None] * len(features)
        for indices in _batches_of_like_length(features, batch_size):
            probabilities = self.run([features[i] for i in indices])["probabilities"]
            for i, row in zip(indices, probabilities, strict=True):
                results[i] = Result(
                    label=self.labels[int(row.argmax())],
                    probabilities=dict(zip(self.labels, row.tolist(), strict=True)),
                    duration=features[i].seconds,
                    modalities=features[i].modalities,
                    text_truncated=features[i].text_truncated,
                )
        return [result for result in results if result is not None]

    def run(self, features: Sequence[Features]) -> dict[str, np.ndarray]:
        """One padded batch through the engine: logits, probabilities (B, C), embeddings (B, E), float32."""
        return self.engine.run(self.preprocess.collate(features))


def _batches_of_like_length(features: Sequence[Features], batch_size: int) -> Iterator[list[int]]:
    def length(i: int) -> tuple[int, int]:
        values, ids = features[i].input_values, features[i].input_ids
        return (0 if values is None else len(values), 0 if ids is None else len(ids))

    order = sorted(range(len(features)), key=length)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def load(bundle: Path | str, device: str = "cpu", threads: int | None = None, verify: bool = True) -> Model:
    """Open a bundle on a device: ``cpu``, ``cuda`` or ``cuda:N``, with ``threads`` (None: one a core).

    Raises `BundleError` or `ConfigError` for a bundle that is incomplete, changed or of another version
    (hashes are not checked unless ``verify``), `EngineError` for a device that cannot be used here.
    """
    opened = open_bundle(bundle, verify)
    graph = opened.manifest.graphs.get(FUSED.name)
    if graph is None:
        found = ", ".join(opened.manifest.graphs) or "none"
        raise BundleError(f"{opened.folder}: graphs are {found}, expected {FUSED.name}")
    engine = OnnxRuntimeEngine(opened.path(graph.file), device, threads)
    return Model(opened, engine, Preprocessor.from_folder(opened.folder))
