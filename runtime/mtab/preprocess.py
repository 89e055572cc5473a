"""From a clip and its transcript to the model's input: the one way in training, export, runtime and bench."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mtab.audio import (
    SAMPLE_RATE,
    Source,
    as_array,
    cut,
    is_array,
    is_source,
    load_audio,
    name_of,
    normalize,
    require_at_most,
    require_rate,
    require_times,
    to_mono_16k,
)
from mtab.config import load_config
from mtab.errors import AudioError, ConfigError, TextError
from mtab.limits import NO_LIMITS, Limits
from mtab.text import Tokenizer, checked_text

CONFIG_FILE = "preprocessor_config.json"
TOKENIZER_FILE = "tokenizer.json"

# Beyond this samples are on the scale of whole numbers, which only `normalize` makes up for.
_MAX_UNNORMALIZED = 64.0


@dataclass(frozen=True, slots=True)
class PreprocessorConfig:
    """``preprocessor_config.json``: the keys of transformers' feature extractor, and ours.

    ``min_samples`` is what the audio encoder needs for one frame, in samples at 16 kHz; ``max_tokens`` what
    the text encoder takes, special tokens included.
    """

    feature_extractor_type: Literal["Wav2Vec2FeatureExtractor"] = "Wav2Vec2FeatureExtractor"
    feature_size: int = 1
    sampling_rate: int = SAMPLE_RATE
    padding_value: float = 0.0
    do_normalize: bool = True
    return_attention_mask: bool = True
    modalities: tuple[Literal["audio", "text"], ...] = ("audio", "text")
    min_samples: int = 400
    max_tokens: int = 512
    pad_token_id: int = 1

    def __post_init__(self) -> None:
        fixed = {"feature_size": 1, "sampling_rate": SAMPLE_RATE, "padding_value": 0.0}
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected {value}")
        for name, least in (("min_samples", 1), ("max_tokens", 1), ("pad_token_id", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if not self.modalities or len(set(self.modalities)) != len(self.modalities):
            raise ConfigError(
                f"modalities are {list(self.modalities)}, expected audio, text or both, once each"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """One utterance as the model takes it; ``None`` for a modality that it lacks.

    ``input_values`` is float32 (samples,) at 16 kHz and ``seconds`` its length; ``input_ids`` is int64
    (tokens,), and ``text_truncated`` says that the text was longer. ``transcript`` is what the recogniser
    ``text_from`` wrote of the clip.
    """

    input_values: np.ndarray | None
    input_ids: np.ndarray | None
    seconds: float | None
    text_truncated: bool
    transcript: str | None = None
    text_from: str | None = None

    @property
    def modalities(self) -> tuple[Literal["audio", "text"], ...]:
        """The modalities that are there."""
        audio: tuple[Literal["audio"], ...] = () if self.input_values is None else ("audio",)
        return audio if self.input_ids is None else (*audio, "text")


def require_supported(features: Features, supported: Sequence[tuple[str, ...]]) -> None:
    """Refuse an utterance whose modalities are none of the combinations that a model answers from.

    Raises `TextError` for want of a transcript and `AudioError` for want of audio.
    """
    if features.modalities in supported:
        return
    expected = "this model answers from " + " or ".join(" and ".join(each) for each in supported)
    if "text" not in features.modalities and any("text" in each for each in supported):
        raise TextError(f"no transcript, expected one: {expected}")
    raise AudioError(f"no audio, expected some: {expected}")


class Preprocessor:
    """Prepares utterances for the modalities of its ``config``. Safe to call from several threads."""

    def __init__(self, config: PreprocessorConfig, tokenizer: Tokenizer | None) -> None:
        """Raises `ConfigError` if text is a modality and there is no tokenizer."""
        if "text" in config.modalities and tokenizer is None:
            raise ConfigError("modalities include text, expected a tokenizer for it")
        self.config = config
        self.tokenizer = tokenizer if "text" in config.modalities else None

    @property
    def listens(self) -> bool:
        """Whether audio is one of the modalities."""
        return "audio" in self.config.modalities

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Preprocessor":
        """Read ``preprocessor_config.json`` and, where text is a modality, ``tokenizer.json``.

        Raises `ConfigError`, naming the file, if one of them is missing or invalid.
        """
        config = load_config(PreprocessorConfig, Path(folder) / CONFIG_FILE)
        if "text" not in config.modalities:
            return cls(config, None)
        return cls(config, Tokenizer(Path(folder) / TOKENIZER_FILE, config.max_tokens))

    def __call__(
        self,
        audio: Source | np.ndarray | None,
        text: str | None,
        *,
        sampling_rate: float = SAMPLE_RATE,
        start: float | None = None,
        end: float | None = None,
        limits: Limits = NO_LIMITS,
    ) -> Features:
        """Prepare one utterance; a modality that ``config`` does not list is ``None``, whatever is given.

        ``audio`` is a path, a file's content, an open file, or an array (or what has ``__array__``, as a
        tensor), (n,) or (n, channels) at ``sampling_rate`` Hz; ``start`` to ``end`` seconds of it are taken.
        Text that is empty or only whitespace counts as missing. Raises `AudioError` (also for fewer than
        ``min_samples`` samples) and `TextError`, both also for what is beyond ``limits`` or of another type.
        """
        values = ids = seconds = None
        truncated = False
        if audio is not None and self.listens:
            samples = self.samples(audio, sampling_rate=sampling_rate, start=start, end=end, limits=limits)
            values = self.values(samples)
            seconds = len(samples) / SAMPLE_RATE
        if text is not None and self.tokenizer is not None and checked_text(text).strip():
            if len(text) > limits.characters:
                raise TextError(f"text of {len(text)} characters, expected at most {limits.characters}")
            ids, truncated = self.tokenizer(text)
        return Features(values, ids, seconds, truncated)

    def samples(
        self,
        audio: Any,
        *,
        sampling_rate: float = SAMPLE_RATE,
        start: float | None = None,
        end: float | None = None,
        limits: Limits = NO_LIMITS,
    ) -> np.ndarray:
        """A clip before it is normalised, float32 (samples,) at 16 kHz.

        Raises `AudioError` as a call.
        """
        require_rate(sampling_rate)
        start, end = require_times(start, end)
        name = name_of(audio)
        if is_source(audio):
            samples = load_audio(audio, start, end, limits.seconds)
        elif is_array(audio):
            try:
                part = cut(as_array(audio), sampling_rate, start, end)
                require_at_most(len(part) / sampling_rate, limits.seconds)
                samples = to_mono_16k(part, sampling_rate)
            except AudioError as error:
                raise AudioError(f"{name}: {error}") from None
        else:
            found = f"is {type(audio).__name__}"
            raise AudioError(f"{name}: {found}, expected a NumPy array, a path, bytes or a binary file")
        least = self.config.min_samples
        if len(samples) < least:
            found = f"{len(samples)} samples at 16 kHz ({len(samples) / SAMPLE_RATE:.4f} s)"
            raise AudioError(f"{name}: {found}, expected at least {least} ({least / SAMPLE_RATE:.4f} s)")
        if not self.config.do_normalize and (peak := np.abs(samples).max()) > _MAX_UNNORMALIZED:
            raise AudioError(f"{name}: holds a sample of {peak:g}, expected -1 to 1: it is not normalised")
        return samples

    def values(self, samples: np.ndarray) -> np.ndarray:
        """What the model takes of `samples`, float32 (samples,)."""
        return normalize(samples) if self.config.do_normalize else samples

    def collate(self, features: Sequence[Features]) -> dict[str, np.ndarray]:
        """Pad utterances to one batch of B, with the arrays of the modalities of ``config`` only.

        ``input_values`` float32 (B, samples), zeros after each clip, and ``audio_lengths`` int64 (B,);
        ``input_ids`` int64 (B, tokens), ``pad_token_id`` after each text, and ``text_lengths`` int64 (B,).
        A missing modality has length 0; there are at least ``min_samples`` samples and one token.
        """
        batch: dict[str, np.ndarray] = {}
        if "audio" in self.config.modalities:
            clips = [f.input_values for f in features]
            batch["input_values"], batch["audio_lengths"] = _pad(
                clips, self.config.min_samples, np.float32, self.config.padding_value
            )
        if "text" in self.config.modalities:
            texts = [f.input_ids for f in features]
            batch["input_ids"], batch["text_lengths"] = _pad(texts, 1, np.int64, self.config.pad_token_id)
        return batch


def _pad(
    rows: Sequence[np.ndarray | None], least: int, dtype: type, fill: float
) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([0 if row is None else len(row) for row in rows], dtype=np.int64)
    padded = np.full((len(rows), lengths.max(initial=least)), fill, dtype)
    for target, row in zip(padded, rows, strict=True):
        if row is not None:
            target[: len(row)] = row
    return padded, lengths
