"""The model on many utterances: lists, batches, streams, and those that fail among them."""

import gc
import itertools
import re
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtab
from mtab import Failure, Input, Model, Result
from mtab.batching import WINDOW
from mtab.errors import AudioError, EngineError, MemoryLimitError, MtabError
from mtab.memory import MemoryNeed

from .results import same, tone

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
        ("a.wav", ["a", "b"], "audio is str and text is list, expected one of each or a list of each"),
        (["a.wav"], "a", "audio is list and text is str, expected one of each or a list of each"),
        (np.zeros(500), ["a"], "audio is ndarray of float64 and text is list, expected one of each or"),
        (["a.wav", "b.wav"], ["a"], "1 transcripts for 2 clips, expected one each"),
        ([], ["a"], "1 transcripts for 0 clips, expected one each"),
    ],
)
def test_clips_without_a_transcript_each(model: Model, audio: Any, text: Any, message: str) -> None:
    with pytest.raises(MtabError) as caught:
        model.predict(audio, text)
    assert str(caught.value).startswith(message)


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
