"""What the model takes: arrays and files, texts, and one modality of two."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import mtab
from mtab import Failure, Input, Limits, Model, Result
from mtab.errors import AudioError, TextError

from .results import same, tone

BOTH = "this model answers from audio and text"


# Audio


def test_arrays_are_taken_as_files(model: Model, tmp_path: Path) -> None:
    """Mono, stereo, another rate, integers: the same answer as a file that holds the same."""
    samples = tone(0.4, rate=48_000)
    stereo = np.stack([samples * 1.5, samples * 0.5], axis=1)
    path = tmp_path / "a.wav"
    for array, subtype in (
        (samples, "FLOAT"),
        (stereo, "FLOAT"),
        ((samples * 2**15).astype(np.int16), "PCM_16"),
        ((stereo * 2**15).astype(np.int16), "PCM_16"),
    ):
        soundfile.write(path, array, 48_000, subtype=subtype)
        from_file = model.predict(path, "a tone")
        same([model.predict(array, "a tone", sampling_rate=48_000)], [from_file], 1e-6)
        assert from_file.duration == pytest.approx(0.4)
    # Downmixed and resampled by hand: the mean of both channels is the mono tone.
    by_hand = model.predict(tone(0.4), "a tone")
    assert by_hand.probabilities == pytest.approx(from_file.probabilities, abs=5e-3)


def test_an_array_is_not_changed(model: Model) -> None:
    samples = tone(0.2)
    before = samples.copy()
    model.predict(samples, "a")
    np.testing.assert_array_equal(samples, before)


def test_a_long_clip_is_not_cut(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, tone(120), 16_000)
    result = model.predict(path, "a tone")
    assert result.duration == 120
    # What comes at the very end is heard.
    changed = tone(120)
    changed[-48_000:] = tone(3, hertz=700)
    assert abs(model.predict(changed, "a tone").score - result.score) > 1e-5


def test_a_part_of_a_clip(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    samples = np.concatenate([tone(0.5), tone(0.25, 700), tone(0.5)])
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    (part,) = model.stream([Input(path, "a", start=0.5, end=0.75)])
    same([part], [model.predict(tone(0.25, 700), "a")], 1e-6)
    assert part.duration == 0.25


def test_a_clip_that_is_too_long(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(2), 16_000)
    monkeypatch.setattr(model, "limits", Limits(seconds=1))
    for audio, name in ((path, f"{path}"), (tone(2), "utterance: audio array")):
        with pytest.raises(AudioError) as caught:
            model.predict(audio, "a")
        assert str(caught.value) == f"{name}: 2.00 s long, expected at most 1 s"
    parts = [Input(path, "a", start=0.5), Input(path, "a", start=0.5, end=1.5), Input(path, "a", start=1)]
    failure, *results = model.stream(parts, on_error="skip")
    assert isinstance(failure, Failure)
    assert str(failure.error) == f"{path}: 1.50 s long, expected at most 1 s"
    assert [result.duration for result in results if isinstance(result, Result)] == [1, 1]
    assert model.predict(tone(1), "a").duration == 1


def test_a_text_that_is_too_long(model: Model, clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "limits", Limits(characters=10))
    with pytest.raises(TextError) as caught:
        model.predict(clips[0], "a" * 11)
    assert str(caught.value) == f"{clips[0]}: text of 11 characters, expected at most 10"
    assert not model.predict(clips[0], "a" * 10).text_truncated


BAD = [
    (np.zeros(0, np.float32), "holds no sample, expected a clip"),
    (np.zeros(1, np.float32), "1 samples at 16 kHz (0.0001 s), expected at least 400"),
    (np.full(800, np.nan, np.float32), "holds a sample of nan, expected finite numbers"),
    (np.zeros((2, 2, 2)), "has shape (2, 2, 2), expected"),
    (np.array(["a"]), "has dtype <U1, expected floats or integers"),
    (3.0, "is float, expected a NumPy array"),
]


@pytest.mark.parametrize(("audio", "message"), BAD)
def test_a_bad_array_is_named_by_its_place(model: Model, audio: Any, message: str) -> None:
    with pytest.raises(AudioError) as caught:
        model.predict([tone(0.1), audio], ["a", "a"])
    assert str(caught.value).startswith(f"utterance 1: audio array: {message}")


def test_a_bad_file_is_named_once(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.wav").write_text("not a sound")
    monkeypatch.chdir(tmp_path)
    for name in ("bad.wav", "./bad.wav"):
        for audio, text in ((name, "a"), ([name], ["a"]), (Path(name), "a")):
            with pytest.raises(AudioError) as caught:
                model.predict(audio, text)  # pyright: ignore[reportCallIssue, reportArgumentType]
            assert str(caught.value).startswith("bad.wav: unreadable (")


def test_silence_has_an_answer(model: Model) -> None:
    result = model.predict(np.zeros(16_000, np.float32), "a")
    assert sum(result.probabilities.values()) == pytest.approx(1, abs=1e-6)


# Text


def test_a_long_text_is_cut_and_said_to_be(model: Model, clips: list[Path]) -> None:
    long = "it is high " * 3_334  # 10,002 words
    result = model.predict(clips[0], long)
    assert result.text_truncated
    assert not model.predict(clips[0], "it is high").text_truncated
    # Its first tokens are what counts: another end changes nothing.
    assert model.predict(clips[0], long + "and low").probabilities == result.probabilities


@pytest.mark.parametrize("text", [None, "", " \t\n"])
def test_a_missing_transcript(model: Model, clips: list[Path], text: str | None) -> None:
    expected = f"no transcript, expected one: {BOTH}"
    with pytest.raises(TextError) as caught:
        model.predict(clips[0], text)
    assert str(caught.value) == f"{clips[0]}: {expected}"
    with pytest.raises(TextError) as caught:
        model.predict([clips[0], clips[1], tone(0.1)], ["a", text, "a"])
    assert str(caught.value) == f"{clips[1]}: {expected}"
    with pytest.raises(TextError) as caught:
        model.predict([tone(0.1), tone(0.1)], ["a", text])
    assert str(caught.value) == f"utterance 1: {expected}"
    with pytest.raises(TextError, match=expected):
        model.predict(clips[:2])


def test_missing_audio(model: Model) -> None:
    expected = f"no audio, expected some: {BOTH}"
    with pytest.raises(AudioError) as caught:
        model.predict(None, "it is high")
    assert str(caught.value) == f"utterance: {expected}"
    with pytest.raises(AudioError) as caught:
        model.predict(None, ["it is high", "it is low"])
    assert str(caught.value) == f"utterance 0: {expected}"


def test_nothing_at_all(model: Model, dropping: Model) -> None:
    for each in (model, dropping):
        with pytest.raises(TextError, match=r"^utterance: no transcript"):
            each.predict(None)


@pytest.mark.parametrize(
    ("text", "message"), [(7, "text is int, expected a string"), ("a\ud800", "text has the lone surrogate")]
)
def test_what_is_no_text(model: Model, clips: list[Path], text: Any, message: str) -> None:
    with pytest.raises(TextError) as caught:
        model.predict([tone(0.1), clips[0]], ["a", text])
    assert str(caught.value).startswith(f"{clips[0]}: {message}")
    with pytest.raises(TextError) as caught:
        model.predict([clips[0], tone(0.1)], ["a", text])
    assert str(caught.value).startswith(f"utterance 1: {message}")


# Modalities


def test_a_model_of_both_may_answer_from_one(dropping: Model, clips: list[Path]) -> None:
    assert dropping.predict(clips[0]).modalities == ("audio",)
    assert dropping.predict(clips[0], " ").modalities == ("audio",)
    assert dropping.predict(None, "it is high").modalities == ("text",)
    assert dropping.predict(clips[0], "it is high").modalities == ("audio", "text")
    many = dropping.predict(None, ["it is high", "it is low"])
    same(many, [dropping.predict(None, "it is high"), dropping.predict(None, "it is low")])
    assert "modalities='audio+text or audio or text'" in repr(dropping)


def test_a_model_of_audio_takes_no_text(counting_bundle: Callable[[str], Path], clips: list[Path]) -> None:
    model = mtab.load(counting_bundle("audio"), threads=1)
    result = model.predict(clips[0], "it is high " * 10_000)
    assert (result.modalities, result.text_truncated) == (("audio",), False)
    assert result == model.predict(clips[0])
    with pytest.raises(AudioError) as caught:
        model.predict(None, "it is high")
    assert str(caught.value) == "utterance: no audio, expected some: this model answers from audio"


def test_a_model_of_text_takes_no_audio(counting_bundle: Callable[[str], Path], clips: list[Path]) -> None:
    model = mtab.load(counting_bundle("text"), threads=1)
    result = model.predict(clips[0], "it is high")
    assert (result.modalities, result.duration) == (("text",), None)
    assert result == model.predict(None, "it is high")
    with pytest.raises(TextError) as caught:
        model.predict(clips[0])
    assert str(caught.value) == f"{clips[0]}: no transcript, expected one: this model answers from text"
