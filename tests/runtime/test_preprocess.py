"""Preprocessing as a whole: against transformers' feature extractor, missing modalities, and padding."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.audio import load_audio
from mtab.config import to_dict
from mtab.errors import AudioError, ConfigError, TextError
from mtab.files import write_json
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE, Features, Preprocessor, PreprocessorConfig
from mtab.text import Tokenizer
from mtab_train.tokenizer import train_tokenizer

CONFIG = PreprocessorConfig(max_tokens=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_json(folder / CONFIG_FILE, to_dict(CONFIG))
    train_tokenizer(["I never said that!", "You said that."], 280, folder / TOKENIZER_FILE)
    return folder


@pytest.fixture(scope="module")
def preprocess(folder: Path) -> Preprocessor:
    return Preprocessor.from_folder(folder)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 + 0.2 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def test_a_file_with_its_transcript(preprocess: Preprocessor, folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    soundfile.write(tmp_path / "a.wav", noise(48000), 48000)
    features = preprocess(tmp_path / "a.wav", "I never said that!")
    published = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    expected = published(load_audio(tmp_path / "a.wav"), sampling_rate=16000, return_tensors="np")
    assert features.input_values is not None
    assert features.input_ids is not None
    assert features.input_values.dtype == np.float32
    np.testing.assert_allclose(features.input_values, expected["input_values"][0], rtol=0, atol=1e-6)
    assert features.seconds == 1.0
    assert (
        features.input_ids.tolist()
        == Tokenizer(folder / TOKENIZER_FILE, 16)("I never said that!")[0].tolist()
    )
    assert features.text_truncated is False
    assert features.modalities == ("audio", "text")


def test_a_batch_is_that_of_transformers(preprocess: Preprocessor, folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    clips = [noise(size, size) for size in (400, 1700, 16000)]
    published = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    expected = published(clips, sampling_rate=16000, padding=True, return_tensors="np")
    batch = preprocess.collate([preprocess(clip, None) for clip in clips])
    np.testing.assert_allclose(batch["input_values"], expected["input_values"], rtol=0, atol=1e-6)
    assert batch["audio_lengths"].tolist() == expected["attention_mask"].sum(axis=1).tolist()


def test_an_array_is_taken_as_the_file(preprocess: Preprocessor, tmp_path: Path) -> None:
    wave = np.stack([noise(22050), noise(22050, 1)], axis=1)
    soundfile.write(tmp_path / "a.wav", wave, 22050, subtype="FLOAT")
    for start, end in [(None, None), (0.25, 0.8)]:
        from_file = preprocess(str(tmp_path / "a.wav"), None, start=start, end=end)
        from_array = preprocess(wave, None, sampling_rate=22050, start=start, end=end)
        assert from_file.input_values is not None
        assert from_array.input_values is not None
        assert (from_file.input_values == from_array.input_values).all()
        assert from_file.seconds == from_array.seconds == pytest.approx((end or 1) - (start or 0), abs=1e-4)


def test_without_normalisation(folder: Path) -> None:
    config = replace(CONFIG, do_normalize=False, modalities=("audio",))
    wave = noise(1000)
    features = Preprocessor(config, None)(wave, None)
    assert features.input_values is not None
    assert (features.input_values == wave).all()


@pytest.mark.parametrize("text", [None, "", " ", "\n\t \u3000"])
def test_a_missing_text(preprocess: Preprocessor, text: str | None) -> None:
    features = preprocess(noise(500), text)
    assert features.input_ids is None
    assert features.modalities == ("audio",)
    assert preprocess.collate([features])["text_lengths"].tolist() == [0]


def test_a_missing_clip(preprocess: Preprocessor) -> None:
    features = preprocess(None, "Hi")
    assert features.input_values is None
    assert features.seconds is None
    assert features.modalities == ("text",)
    assert preprocess(None, None).modalities == ()


def test_a_modality_that_is_none_of_the_configs(
    preprocess: Preprocessor, folder: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer(folder / TOKENIZER_FILE, 16)
    audio_only = Preprocessor(replace(CONFIG, modalities=("audio",)), tokenizer)
    assert audio_only(noise(500), "Hi \ud800").modalities == ("audio",)
    assert set(audio_only.collate([audio_only(noise(500), "Hi")])) == {"input_values", "audio_lengths"}
    text_only = Preprocessor(replace(CONFIG, modalities=("text",)), tokenizer)
    assert text_only(tmp_path / "nowhere.wav", "Hi").modalities == ("text",)
    assert set(text_only.collate([text_only(None, "Hi")])) == {"input_ids", "text_lengths"}


def test_a_long_text_is_marked(preprocess: Preprocessor) -> None:
    features = preprocess(None, "You said that. " * 2500)
    assert features.text_truncated is True
    assert features.input_ids is not None
    assert len(features.input_ids) == CONFIG.max_tokens


def test_clips_too_short(preprocess: Preprocessor, tmp_path: Path) -> None:
    assert preprocess(noise(400), None).seconds == 0.025
    with pytest.raises(
        AudioError, match=r"399 samples at 16 kHz \(0.0249 s\), expected at least 400 \(0.0250 s\)"
    ):
        preprocess(noise(399), None)
    soundfile.write(tmp_path / "a.wav", noise(1), 192_000)
    with pytest.raises(
        AudioError, match=r"a\.wav: \d samples at 16 kHz \(0\.000\d s\), expected at least 400"
    ):
        preprocess(tmp_path / "a.wav", None)
    soundfile.write(tmp_path / "b.wav", noise(16000), 16000)
    with pytest.raises(AudioError, match=r"b\.wav: 160 samples"):
        preprocess(tmp_path / "b.wav", None, start=0.5, end=0.51)


def test_what_is_no_input(preprocess: Preprocessor, tmp_path: Path) -> None:
    for audio, found in [
        ([0.0] * 500, "audio array: is list, expected a NumPy array"),
        (3, "audio array: is int"),
        (np.zeros((500, 2, 2)), "audio array: has shape"),
        (np.full(500, np.nan), "audio array: holds a sample of nan"),
        (tmp_path / "nowhere.wav", "nowhere.wav: not found"),
    ]:
        with pytest.raises(AudioError, match=found):
            preprocess(audio, None)  # pyright: ignore[reportArgumentType]
    for text in (b"Hi", 3, ["Hi"], "Hi \udc00"):
        with pytest.raises(TextError):
            preprocess(None, text)  # pyright: ignore[reportArgumentType]


clips = st.one_of(st.none(), st.integers(1, 900))
texts = st.one_of(st.none(), st.integers(1, 40))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(clips, texts), max_size=6), st.integers(1, 500))
def test_a_batch_holds_the_features_and_nothing_else(
    folder: Path, sizes: list[tuple[int | None, int | None]], min_samples: int
) -> None:
    random = np.random.default_rng(0)
    features = [
        Features(
            None if samples is None else random.standard_normal(samples).astype(np.float32),
            None if tokens is None else random.integers(2, 280, tokens),
            None,
            False,
        )
        for samples, tokens in sizes
    ]
    config = replace(CONFIG, min_samples=min_samples, pad_token_id=7)
    batch = Preprocessor(config, Tokenizer(folder / TOKENIZER_FILE, 16)).collate(features)
    expected_columns = {
        "input_values": max([min_samples, *(samples or 0 for samples, _ in sizes)]),
        "input_ids": max([1, *(tokens or 0 for _, tokens in sizes)]),
    }
    for values, lengths, dtype, fill in [
        ("input_values", "audio_lengths", np.float32, 0),
        ("input_ids", "text_lengths", np.int64, 7),
    ]:
        assert batch[values].dtype == dtype
        assert batch[lengths].dtype == np.int64
        assert batch[values].shape == (len(sizes), expected_columns[values])
        assert batch[lengths].shape == (len(sizes),)
        for row, length, feature in zip(batch[values], batch[lengths], features, strict=True):
            given_row = getattr(feature, values)
            assert length == (0 if given_row is None else len(given_row))
            assert row[:length].tolist() == ([] if given_row is None else given_row.tolist())
            assert (row[length:] == fill).all()


def test_config_is_saved_and_loaded(folder: Path, tmp_path: Path) -> None:
    assert Preprocessor.from_folder(folder).config == CONFIG
    config = replace(CONFIG, modalities=("audio",), min_samples=800, do_normalize=False)
    write_json(tmp_path / CONFIG_FILE, to_dict(config))
    # Without text no tokenizer is read.
    assert Preprocessor.from_folder(str(tmp_path)).config == config


def test_keys_are_those_of_transformers(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    published = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder).to_dict()
    config = to_dict(CONFIG)
    for key in ("feature_extractor_type", "feature_size", "sampling_rate", "padding_value", "do_normalize"):
        assert published[key] == config[key]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"sampling_rate": 8000}, "sampling_rate is 8000, expected 16000"),
        ({"feature_size": 2}, "feature_size is 2, expected 1"),
        ({"padding_value": 1.0}, "padding_value is 1.0, expected 0.0"),
        ({"feature_extractor_type": "WhisperFeatureExtractor"}, "expected 'Wav2Vec2FeatureExtractor'|one of"),
        ({"modalities": []}, "expected audio, text or both"),
        ({"modalities": ["audio", "audio"]}, "expected audio, text or both"),
        ({"modalities": ["video"]}, "'modalities"),
        ({"min_samples": 0}, "min_samples is 0, expected 1 or more"),
        ({"max_tokens": 2}, "at most 2 tokens, expected more than its 2 special ones"),
        ({"pad_token_id": -1}, "pad_token_id is -1, expected 0 or more"),
        ({"do_normalize": "yes"}, "'do_normalize' is 'yes'"),
        ({"dither": 1}, "unknown field 'dither'"),
    ],
)
def test_a_config_that_contradicts_itself(
    folder: Path, tmp_path: Path, changes: dict[str, Any], found: str
) -> None:
    write_json(tmp_path / CONFIG_FILE, to_dict(CONFIG) | changes)
    (tmp_path / TOKENIZER_FILE).write_bytes((folder / TOKENIZER_FILE).read_bytes())
    with pytest.raises(ConfigError, match=found) as error:
        Preprocessor.from_folder(tmp_path)
    assert str(error.value).startswith(str(tmp_path))


def test_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{CONFIG_FILE}: not found"):
        Preprocessor.from_folder(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(json.dumps({}))
    with pytest.raises(ConfigError, match=rf"{TOKENIZER_FILE}: not found"):
        Preprocessor.from_folder(tmp_path)
    with pytest.raises(ConfigError, match="expected a tokenizer"):
        Preprocessor(CONFIG, None)
