"""The model: one answer for an utterance, whatever lies beside it, and PyTorch's."""

import dataclasses
import gc
import itertools
import math
import multiprocessing
import pickle
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mtab
from mtab import Failure, Input, Limits, Model, Result
from mtab.batching import WINDOW
from mtab.data import Corpus
from mtab.errors import AudioError, BundleError, EngineError, MemoryLimitError, MtabError, TextError
from mtab.memory import MemoryNeed
from mtab.preprocess import Preprocessor
from mtab_train.checkpoint import load_model

BOTH = "this model answers from audio and text"


@pytest.fixture(scope="module")
def model(tone_bundle: Path) -> Model:
    return mtab.load(tone_bundle, threads=1)


@pytest.fixture(scope="module")
def dropping(drop_bundle: Path) -> Model:
    return mtab.load(drop_bundle, threads=1)


@pytest.fixture(scope="module")
def clips(tones: Corpus) -> list[Path]:
    return [utterance.audio for utterance in tones.utterances if utterance.audio is not None]


@pytest.fixture(scope="module")
def texts(tones: Corpus) -> list[str | None]:
    return [utterance.text for utterance in tones.utterances]


def tone(seconds: float, hertz: float = 150, rate: int = 16_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def rows(results: Sequence[Result]) -> np.ndarray:
    return np.array([list(result.probabilities.values()) for result in results])


def same(found: Sequence[Result], expected: Sequence[Result], atol: float = 1e-5) -> None:
    np.testing.assert_allclose(rows(found), rows(expected), rtol=0, atol=atol)
    for name in ("label", "duration", "modalities", "text_truncated"):
        assert [getattr(each, name) for each in found] == [getattr(each, name) for each in expected]


def pytorch(run: Path, inputs: Sequence[tuple[Any, str | None]]) -> np.ndarray:
    """Each utterance alone through the checkpoint: (utterances, classes)."""
    network, preprocess = load_model(run), Preprocessor.from_folder(run)
    answers = []
    for audio, text in inputs:
        arrays = preprocess.collate([preprocess(audio, text)])
        with torch.inference_mode():
            output = network(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        answers.append(output.probabilities[0].numpy())
    return np.array(answers)


# Answers


def test_one_utterance(model: Model, tones: Corpus, clips: list[Path]) -> None:
    first = tones.utterances[0]
    result = model.predict(clips[0], first.text)
    assert isinstance(result, Result)
    assert result.label == first.label == "high"
    assert list(result.probabilities) == ["high", "low"]
    assert sum(result.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert result.score == max(result.probabilities.values())
    assert result.duration == pytest.approx(soundfile.info(clips[0]).duration)
    assert result.modalities == ("audio", "text")
    assert result.text_truncated is False
    assert model.predict(str(clips[0]), text=first.text) == result


def test_it_tells_the_tones_apart(model: Model, tones: Corpus, clips: list[Path], texts: list[str]) -> None:
    results = model.predict(clips, texts)
    assert [result.label for result in results] == [utterance.label for utterance in tones.utterances]


def test_it_answers_as_pytorch_does(
    model: Model, tone_run: Path, clips: list[Path], texts: list[str]
) -> None:
    expected = pytorch(tone_run, list(zip(clips, texts, strict=True)))
    np.testing.assert_allclose(rows(model.predict(clips, texts)), expected, rtol=0, atol=1e-5)


def test_without_a_modality_it_answers_as_pytorch_does(
    dropping: Model, drop_run: Path, clips: list[Path], texts: list[str]
) -> None:
    inputs: list[tuple[Any, str | None]] = [
        pair
        for clip, text in zip(clips[:6], texts[:6], strict=True)
        for pair in ((clip, text), (clip, None), (None, text))
    ]
    audio, text = map(list, zip(*inputs, strict=True))
    results = dropping.predict(audio, text, batch_size=5)
    np.testing.assert_allclose(rows(results), pytorch(drop_run, inputs), rtol=0, atol=1e-5)
    assert [result.modalities for result in results] == [("audio", "text"), ("audio",), ("text",)] * 6
    assert [result.duration is None for result in results] == [False, False, True] * 6


def test_a_batch_has_the_outputs_of_the_graph(model: Model, clips: list[Path], texts: list[str]) -> None:
    features = [model.read(clip, text) for clip, text in zip(clips[:3], texts[:3], strict=True)]
    answers = model.run(features)
    shapes = {name: (array.shape, array.dtype.name) for name, array in answers.items()}
    assert shapes == {
        "logits": ((3, 2), "float32"),
        "probabilities": ((3, 2), "float32"),
        "embeddings": ((3, 32), "float32"),
    }
    shifted = np.exp(answers["logits"].astype(np.float64))
    np.testing.assert_allclose(
        answers["probabilities"], shifted / shifted.sum(axis=1, keepdims=True), atol=1e-6
    )
    np.testing.assert_allclose(rows(model.answer(features)), answers["probabilities"], atol=1e-5)


def test_a_model_that_can_be_worked_out(counting_bundle: Callable[[str], Path]) -> None:
    """Its logits are seconds, or tokens, and 0."""
    audio = mtab.load(counting_bundle("audio"), threads=1)
    for seconds, result in zip(
        (0.5, 3.0, 0.1), audio.predict([tone(0.5), tone(3), tone(0.1)], batch_size=2), strict=True
    ):
        assert result.duration == seconds
        assert result.probabilities["high"] == pytest.approx(1 / (1 + math.exp(-seconds)), abs=1e-6)
        assert result.label == "high"
    text = mtab.load(counting_bundle("text"), threads=1)
    for sentence in ("it is high", "a"):
        result = text.predict(None, sentence)
        ids, _ = text.preprocess._tokenizer(sentence)  # pyright: ignore[reportOptionalCall]
        assert result.probabilities["low"] == pytest.approx(1 / (1 + math.exp(len(ids))), abs=1e-6)
        assert (result.duration, result.modalities) == (None, ("text",))


# Lists and batches


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_no_batch_changes_an_answer(dropping: Model, data: st.DataObject) -> None:
    """Of any utterances in any order, each is answered as it is alone, where it stands."""
    utterances = data.draw(
        st.lists(
            st.tuples(
                st.none() | st.integers(400, 20_000),
                st.none() | st.sampled_from(["it is high", "it is low", "a", "word " * 100]),
                st.integers(0, 99),
            ).filter(lambda each: each[:2] != (None, None)),
            min_size=1,
            max_size=9,
        )
    )
    audio = [
        None if samples is None else np.random.default_rng(seed).normal(size=samples)
        for samples, _, seed in utterances
    ]
    text = [sentence for _, sentence, _ in utterances]
    alone = [dropping.predict(a, t) for a, t in zip(audio, text, strict=True)]
    same(dropping.predict(audio, text, batch_size=data.draw(st.integers(1, 10))), alone)


def test_clips_of_like_length_share_a_batch(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    run = model.engine.run
    monkeypatch.setattr(
        model.engine, "run", lambda inputs: sizes.append(inputs["input_values"].shape) or run(inputs)
    )
    seconds = (3.0, 0.1, 2.9, 0.2)
    results = model.predict([tone(each) for each in seconds], ["a"] * 4)
    assert tuple(result.duration for result in results) == seconds
    assert sizes == [(2, 48_000), (2, 3_200)]
    sizes.clear()
    model.predict([tone(each) for each in seconds], ["a"] * 4, batch_size=1)
    assert sorted(sizes) == [(1, 1_600), (1, 3_200), (1, 46_400), (1, 48_000)]
    sizes.clear()
    model.predict([tone(each) for each in seconds], ["a"] * 4, batch_seconds=5)
    assert sorted(sizes) == [(1, 46_400), (1, 48_000), (2, 3_200)]


def test_a_list_of_one_and_of_none(model: Model, clips: list[Path]) -> None:
    assert model.predict([], []) == model.predict([]) == model.predict(None, []) == []
    same(model.predict([clips[0]], ["it is high"]), [model.predict(clips[0], "it is high")], 0)
    same(model.predict((clips[0],), ("it is high",)), [model.predict(clips[0], "it is high")], 0)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batches_of_nothing(model: Model, clips: list[Path], batch_size: int) -> None:
    with pytest.raises(MtabError, match=f"^batches of {batch_size} utterances, expected 1 or more$"):
        model.predict(clips[:1], ["a"], batch_size=batch_size)


@pytest.mark.parametrize(
    ("audio", "text", "message"),
    [
        ("a.wav", ["a", "b"], "one of audio and text is a list, expected both or neither"),
        (["a.wav"], "a", "one of audio and text is a list, expected both or neither"),
        (np.zeros(500), ["a"], "one of audio and text is a list, expected both or neither"),
        (["a.wav", "b.wav"], ["a"], "1 transcripts for 2 clips, expected one each"),
        ([], ["a"], "1 transcripts for 0 clips, expected one each"),
    ],
)
def test_clips_without_a_transcript_each(model: Model, audio: Any, text: Any, message: str) -> None:
    with pytest.raises(MtabError) as caught:
        model.predict(audio, text)
    assert str(caught.value) == message


# Streams


def test_a_stream_answers_as_a_list_does(model: Model, clips: list[Path], texts: list[str]) -> None:
    pairs = list(zip(clips, texts, strict=True))
    expected = model.predict(clips, texts)
    same(list(model.stream(pairs)), expected)
    same(list(model.stream(iter(pairs), batch_size=3)), expected)
    same(list(model.stream(Input(*pair) for pair in pairs)), expected)


def test_a_stream_of_clips_alone(dropping: Model, clips: list[Path]) -> None:
    same(
        list(dropping.stream([clips[0], str(clips[1]), tone(0.2)])), dropping.predict([*clips[:2], tone(0.2)])
    )


def test_a_stream_is_lazy_and_holds_no_more_than_its_window(
    dropping: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    live: list[weakref.ref[Any]] = []
    read = dropping.read

    def counted(*args: Any, **options: Any) -> Any:
        features = read(*args, **options)
        live.append(weakref.ref(features.input_values))
        return features

    monkeypatch.setattr(dropping, "read", counted)
    window = 2 * WINDOW
    random = np.random.default_rng(0)
    endless = (random.normal(size=random.integers(400, 2_000)) for _ in itertools.count())
    results = dropping.stream(endless, batch_size=2)
    assert live == []
    for number in range(3 * window):
        next(results)
        assert len(live) == (number // window + 1) * window
        assert sum(ref() is not None for ref in live) <= window
    results.close()  # pyright: ignore[reportAttributeAccessIssue]
    gc.collect()
    assert all(ref() is None for ref in live)


# Failures


def spoiled(clips: list[Path], tmp_path: Path) -> list[Path]:
    (tmp_path / "bad.wav").write_text("not a sound")
    return [*clips[:3], tmp_path / "bad.wav", *clips[3:], tmp_path / "nowhere.wav"]


def test_a_bad_clip_costs_no_other_its_answer(model: Model, clips: list[Path], tmp_path: Path) -> None:
    paths = spoiled(clips, tmp_path)
    found = model.predict(paths, ["a"] * len(paths), on_error="skip")
    failures = {i: each for i, each in enumerate(found) if isinstance(each, Failure)}
    assert list(failures) == [3, len(paths) - 1]
    assert failures[3].name == str(paths[3])
    assert str(failures[3].error).startswith(f"{paths[3]}: unreadable (")
    assert isinstance(failures[3].error, AudioError)
    assert str(failures[len(paths) - 1].error) == f"{paths[-1]}: not found, expected a clip"
    same([each for each in found if isinstance(each, Result)], model.predict(clips, ["a"] * len(clips)))


def test_a_failure_keeps_no_audio(model: Model) -> None:
    """An error's traceback would: a thousand of them fill the memory."""
    bad = np.full(16_000, np.nan)
    gone = weakref.ref(bad)
    (failure,) = model.predict([bad], ["a"], on_error="skip")
    del bad
    assert isinstance(failure, Failure)
    assert (failure.name, str(failure.error)[:37]) == ("utterance 0", "utterance 0: audio array: holds a sam")
    assert gone() is None


def test_a_stream_raises_in_its_turn(model: Model, clips: list[Path], tmp_path: Path) -> None:
    paths = spoiled(clips, tmp_path)
    taken: list[Path] = []

    def utterances() -> Iterator[tuple[Path, str]]:
        for path in paths:
            taken.append(path)
            yield path, "a"

    found = model.stream(utterances())
    same([next(found) for _ in range(3)], model.predict(clips[:3], ["a"] * 3))
    with pytest.raises(AudioError, match=r"bad\.wav: unreadable"):
        next(found)
    assert taken == paths[:4]
    assert list(found) == []


def test_what_the_engine_fails_on_costs_no_other_its_answer(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a clip that is too long for the memory that there is."""
    audio = [tone(each) for each in (0.3, 0.29, 0.31, 0.28)]
    expected = model.predict(audio, ["a"] * 4)
    run = model.engine.run

    def fails(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if inputs["audio_lengths"].max() == 4960:
            raise EngineError("no memory")
        return run(inputs)

    monkeypatch.setattr(model.engine, "run", fails)
    found = model.predict(audio, ["a"] * 4, on_error="skip")
    assert isinstance(found[2], Failure)
    assert (found[2].name, str(found[2].error)) == ("utterance 2", "no memory")
    same([each for each in found if isinstance(each, Result)], expected[:2] + expected[3:])
    with pytest.raises(EngineError, match=r"^no memory$"):
        model.predict(audio, ["a"] * 4)
    with pytest.raises(EngineError, match=r"^no memory$"):
        model.predict(audio[2], "a")


def test_what_needs_more_memory_than_there_is_is_refused_by_name_before_it_is_computed(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, in batches and as one of many requests alike."""
    audio = [tone(each) for each in (0.2, 0.5, 0.3)]
    expected = model.predict(audio, ["a"] * 3)
    monkeypatch.setattr("mtab.memory.available_memory", lambda _root: (1_000_000_000, "a test's memory"))
    # 0.8 GB for each 0.3 s.
    monkeypatch.setattr(model.engine, "memory", MemoryNeed(42_000, 0, 0, 0))
    found = model.predict(audio, ["a"] * 3, on_error="skip")
    assert isinstance(found[1], Failure)
    assert isinstance(found[1].error, MemoryLimitError)
    assert re.match(
        r"utterance 1: a clip of 0\.5 s: .* a test's memory; .*start and end", str(found[1].error)
    )
    same([each for each in found if isinstance(each, Result)], [expected[0], expected[2]])
    with pytest.raises(MemoryLimitError, match=r"clip of 0\.5 s"):
        model.predict(audio[1], "a")
    refused = pytest.raises(MemoryLimitError, match=r"clip of 0\.5 s")
    with closing(mtab.AsyncModel(model)) as requests, refused:
        requests.submit(audio[1], "a").result()


# What is wanted of an answer


def test_the_likeliest_classes(model: Model, clips: list[Path], texts: list[str]) -> None:
    for whole, first, all_ in zip(
        model.predict(clips, texts),
        model.predict(clips, texts, top_k=1),
        model.predict(clips, texts, top_k=9),
        strict=True,
    ):
        assert first.probabilities == {whole.label: pytest.approx(whole.score, abs=1e-5)}
        assert list(all_.probabilities) == sorted(
            whole.probabilities, key=lambda each: -whole.probabilities[each]
        )
        assert all_.probabilities == pytest.approx(whole.probabilities, abs=1e-5)
        assert first.label == all_.label == whole.label


def test_an_answer_that_is_not_sure(model: Model, clips: list[Path], texts: list[str]) -> None:
    results = model.predict(clips, texts)
    threshold = sorted(result.score for result in results)[len(results) // 2]
    for result, found in zip(results, model.predict(clips, texts, abstain=threshold), strict=True):
        assert found.label == (result.label if result.score >= threshold else "unknown")
        assert found.probabilities == result.probabilities
        assert found.score == result.score
    assert {each.label for each in model.predict(clips, texts, abstain=1.0)} == {"unknown"}
    assert model.predict(clips, texts, abstain=0.0) == results
    assert model.predict(clips[0], texts[0], abstain=1.0, top_k=1).label == "unknown"


def test_embeddings(model: Model, clips: list[Path], texts: list[str]) -> None:
    """Those of the graph, the same in a batch as alone, and owned by their result."""
    results = model.predict(clips, texts, return_embedding=True)
    for clip, text, result in zip(clips, texts, results, strict=True):
        expected = model.run([model.read(clip, text)])["embeddings"][0]
        assert result.embedding is not None
        assert (result.embedding.dtype, result.embedding.shape) == (np.float32, expected.shape)
        assert result.embedding.base is None
        np.testing.assert_allclose(result.embedding, expected, rtol=1e-4, atol=1e-4)
    assert results == model.predict(clips, texts)
    assert "embedding" not in repr(results[0])
    assert model.predict(clips[0], texts[0]).embedding is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k is 0, expected 1 or more"),
        ({"abstain": 1.5}, "abstain is 1.5, expected a probability from 0 to 1"),
        ({"abstain": math.nan}, "abstain is nan, expected a probability from 0 to 1"),
        ({"on_error": "fail"}, "on_error is 'fail', expected 'raise' or 'skip'"),
        ({"batch_seconds": 0}, "batches of 0 seconds, expected more than 0"),
    ],
)
def test_what_cannot_be_wanted(model: Model, options: dict[str, Any], message: str) -> None:
    for call in (lambda: model.predict([], **options), lambda: model.stream([], **options)):
        with pytest.raises(MtabError) as caught:
            call()
        assert str(caught.value) == message


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


# The rest


def test_from_many_threads_at_once(model: Model, clips: list[Path], texts: list[str]) -> None:
    pairs = list(zip(clips, texts, strict=True))
    alone = [model.predict(clip, text) for clip, text in pairs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda pair: model.predict(*pair), pairs * 3))
    assert together == alone * 3


def test_threads_change_no_answer(
    tone_bundle: Path, model: Model, clips: list[Path], texts: list[str]
) -> None:
    same(mtab.load(tone_bundle, threads=2).predict(clips, texts), model.predict(clips, texts))


def test_its_description(model: Model, tone_bundle: Path) -> None:
    weights = sum((tone_bundle / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert repr(model) == (
        f"Model({str(tone_bundle)!r}, engine='onnxruntime', device='cpu', precision='fp32', "
        "modalities='audio+text', inputs='input_values, audio_lengths, input_ids, text_lengths', "
        f"labels='high, low', size='{weights / 1e6:.1f} MB')"
    )
    assert model.labels == ("high", "low")


def test_a_result_is_a_value() -> None:
    result = Result("a", {"a": 0.75, "b": 0.25}, 1.0, ("audio",))
    assert result.score == 0.75
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.label = "b"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_device_that_is_not_here(tone_bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"^device 'tpu', expected cpu, cuda or cuda:N with engine "):
        mtab.load(tone_bundle, device="tpu")


def test_the_package_names_what_it_offers() -> None:
    assert mtab.Model is Model
    assert mtab.MtabError is MtabError
    assert {getattr(mtab, name) for name in mtab.__all__} >= {Failure, Input, Limits, Model, Result}
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        mtab.predict  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_a_pickled_model_is_the_same_model(tone_bundle: Path, clips: list[Path]) -> None:
    model = mtab.load(tone_bundle, "cpu", threads=1)
    model.limits = Limits(seconds=7)
    copy = pickle.loads(pickle.dumps(model))
    assert repr(copy) == repr(model)
    assert copy.limits == model.limits
    same([copy.predict(clips[0], "a")], [model.predict(clips[0], "a")])


def test_a_pickle_of_a_bundle_that_is_another_now(copied: Path, change: Callable[..., None]) -> None:
    pickled = pickle.dumps(mtab.load(copied, threads=1))
    change(copied, "preprocessor_config.json", lambda values: values.update({"min_samples": 401}))
    with pytest.raises(BundleError, match="changed since it was opened, expected the same bundle"):
        pickle.loads(pickled)


def test_a_spawned_process_takes_a_model(model: Model) -> None:
    audio = [tone(0.1), tone(0.2)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(model.predict, audio, ["a", "b"]))
    same(found, model.predict(audio, ["a", "b"]))


def test_the_api_is_listed() -> None:
    assert set(mtab.__all__) <= set(dir(mtab))
    for name in mtab.__all__:
        assert getattr(mtab, name) is not None
    assert mtab.errors.QueueFullError is mtab.QueueFullError
