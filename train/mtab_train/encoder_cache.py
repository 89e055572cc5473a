"""Outputs of frozen encoder layers, computed once and kept in the user's cache folder."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mtab.errors import ConfigError
from mtab.files import atomic_file, cache_dir
from mtab.preprocess import Preprocessor
from mtab.progress import track
from mtab_train import augmentation
from mtab_train.acoustic import MEASURES_VERSION, AcousticEncoder, MeasuredEncoder
from mtab_train.config import ModelConfig
from mtab_train.encoders import Encoder, TextEncoder
from mtab_train.examples import Example
from mtab_train.micro_batches import no_memory
from mtab_train.model import MulTAB


def frozen_outputs(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """By modality, the batch keys of what no training step changes; that of a sequence first.

    That is an encoder's output or that of its frozen layers, of the audio encoder at least that of its
    convolutions. The weights of a layer sum change, and WavLM's layers need more of those below.
    """
    outputs = {}
    kept = not config.use_weighted_layer_sum
    if config.measures:
        # Whatever is trained of it, its frames are not.
        outputs["audio"] = ("audio_features", "audio_statistics")[: 2 if config.acoustic else 1]
    elif config.audio_config is not None:
        if config.audio_training == "frozen" and kept:
            outputs["audio"] = ("audio_states",)
        elif config.freeze_layers and kept and config.audio_config["model_type"] != "wavlm":
            outputs["audio"] = ("audio_hidden",)
        elif config.audio_training != "full" or config.freeze_layers:
            outputs["audio"] = ("audio_features",)
    if config.text_config is not None and kept:
        if config.text_training == "frozen":
            outputs["text"] = ("text_states",)
        elif config.freeze_layers:
            outputs["text"] = ("text_hidden",)
    return outputs


class EncoderCache:
    """Arrays of shape (frames or tokens, width), float32, one file for each utterance and `frozen_outputs`.

    Statistics are a sequence of one. A file's name is made of the frozen weights, their configuration and the
    utterance's content, so that a change of any of them makes another file.
    """

    def __init__(self, model: MulTAB, root: Path | None = None) -> None:
        self.outputs = frozen_outputs(model.config)
        root = root or cache_dir() / "encodings"
        keys = [(modality, key) for modality, keys in self.outputs.items() for key in keys]
        self._folders = {key: root / _digest(model, modality, key) for modality, key in keys}
        self._widths = {key: _width(model, key) for _, key in keys}

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that need not be preprocessed any more."""
        return tuple(self.outputs)

    def fill(
        self, model: MulTAB, preprocess: Preprocessor, examples: Sequence[Example], variants: int = 0
    ) -> int:
        """Encode what is not there yet, each utterance alone; how many encodings that were.

        Also the clips' variants, up to the number ``variants``. Raises `MtabError` if the device has no
        memory for an utterance.
        """
        missing = [
            (example, modality, variant)
            for example in examples
            for modality in example.content
            if modality in self.outputs
            for variant in range(1 + (variants if modality == "audio" else 0))
            if not all(self._path(example, key, variant).is_file() for key in self.outputs[modality])
        ]
        device = next(model.parameters()).device
        model.eval()
        for example, modality, variant in track(missing, "encoding frozen layers once", "utterances"):
            others = [other for other in example.content if other != modality]
            arrays = preprocess.collate([example.read(preprocess, others, variant)])
            inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            try:
                with torch.inference_mode():
                    encodings = [
                        each[0].cpu().numpy() for each in _encode(model, self.outputs[modality], inputs)
                    ]
            except torch.OutOfMemoryError:
                raise no_memory(example, device, training=False) from None
            for key, encoded in zip(self.outputs[modality], encodings, strict=True):
                with atomic_file(self._path(example, key, variant)) as partial:
                    np.save(partial, encoded, allow_pickle=False)
        return len(missing)

    def replace(
        self, arrays: dict[str, np.ndarray], examples: Sequence[tuple[Example, int]]
    ) -> dict[str, np.ndarray]:
        """A batch with cached encodings, padded with zeros, in place of the inputs that they come from.

        With each example is the number of the variant of its clip.
        """
        arrays = dict(arrays)
        for modality, keys in self.outputs.items():
            for name in INPUTS[modality]:
                del arrays[name]
            for key in keys:
                arrays[key], sizes = self._padded(key, modality, examples)
                arrays.setdefault("text_lengths" if modality == "text" else "audio_frames", sizes)
        return arrays

    def _padded(
        self, key: str, modality: str, examples: Sequence[tuple[Example, int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encodings of a batch, (B, longest, width) float32, and their lengths, (B,) int64."""
        rows = [
            self._read(example, key, variant) if modality in example.content else None
            for example, variant in examples
        ]
        sizes = [0 if row is None else len(row) for row in rows]
        padded = np.zeros((len(rows), max(1, *sizes), self._widths[key]), dtype=np.float32)
        for padded_row, row in zip(padded, rows, strict=True):
            if row is not None:
                padded_row[: len(row)] = row
        return padded, np.array(sizes, dtype=np.int64)

    def _path(self, example: Example, key: str, variant: int) -> Path:
        modality = key.partition("_")[0]
        name = example.content[modality]
        if variant and modality == "audio":
            name += f"-{variant}"
        return self._folders[key] / f"{name}.npy"

    def _read(self, example: Example, key: str, variant: int) -> np.ndarray:
        path = self._path(example, key, variant)
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(
                f"{path}: is no whole cached encoding ({error}); delete it and --resume"
            ) from None


INPUTS = {"audio": ("input_values", "audio_lengths"), "text": ("input_ids", "text_lengths")}


def _encode(model: MulTAB, keys: Sequence[str], inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """What belongs to the ``keys`` of a modality, each (1, frames or tokens, width)."""
    modality, _, kind = keys[0].partition("_")
    encoder = model.audio_encoder if modality == "audio" else model.text_encoder
    assert encoder is not None
    values, lengths = (inputs[name] for name in INPUTS[modality])
    if kind == "hidden":
        assert isinstance(encoder, Encoder)
        return [encoder.lower(values, lengths)]
    if isinstance(encoder, TextEncoder):
        return [encoder(values, lengths)]
    if kind == "states":
        return [encoder(values, lengths)[0]]
    features = encoder.features(values, lengths)
    if not isinstance(encoder, AcousticEncoder):
        return [features]
    return [features, encoder.statistics(features, encoder.frames.lengths(lengths))[:, None]]


def _width(model: MulTAB, key: str) -> int:
    if key == "text_states":
        assert model.text_encoder is not None
        return model.text_encoder.hidden_size
    encoder = model.audio_encoder
    assert encoder is not None
    if key == "audio_statistics":
        assert isinstance(encoder, AcousticEncoder)
        return encoder.statistics.size
    return encoder.feature_size if key == "audio_features" else encoder.hidden_size


def _digest(model: MulTAB, modality: str, key: str) -> str:
    encoder = model.audio_encoder if modality == "audio" else model.text_encoder
    assert encoder is not None
    digest = hashlib.sha256()
    if isinstance(encoder, MeasuredEncoder):
        digest.update(f"{MEASURES_VERSION} {augmentation.VERSION} {torch.__version__}".encode())
        if key == "audio_statistics":
            digest.update(key.encode())
        return digest.hexdigest()[:32]
    # The last digits of a result are those of one kind of device and one version.
    device = next(model.parameters()).device.type
    digest.update(json.dumps([encoder.backbone.config.to_diff_dict(), torch.__version__, device]).encode())
    if key.endswith("_hidden"):
        digest.update(f"{key} {encoder.frozen_layers}".encode())
    for name, parameter in encoder.state_dict().items():
        if _counts(encoder, key, name):
            digest.update(name.encode() + parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def _counts(encoder: Encoder, key: str, name: str) -> bool:
    """Whether the array ``name`` of an encoder's state makes a difference to what belongs to ``key``."""
    if key.endswith("_hidden"):
        return encoder.depth(name.removeprefix("backbone.")) <= encoder.frozen_layers
    return key != "audio_features" or "feature_extractor" in name
