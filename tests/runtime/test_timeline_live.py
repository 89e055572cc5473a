"""A stream in chunks of any size answers as predict does for its windows and, at its end, for the whole."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtab import Failure, Model, Result
from mtab.errors import AudioError, MtabError, TextError
from mtab.timeline.live import Live, Update

RATES = (8_000, 16_000, 44_100)


def speech(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    random = np.random.default_rng(round(seconds * rate))
    mono = 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate) + random.normal(
        0, 0.02, round(seconds * rate)
    )
    return mono if channels == 1 else np.stack([mono, 0.5 * mono], axis=1)


def chunks(samples: np.ndarray, sizes: Iterable[int]) -> Iterable[np.ndarray]:
    place = 0
    for size in sizes:
        if place >= len(samples):
            return
        yield samples[place : place + size]
        place += size
    yield samples[place:]


def same(found: Result | Failure, expected: Result) -> None:
    assert isinstance(found, Result)
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    assert (found.label, found.modalities) == (expected.label, expected.modalities)
    assert found.duration == pytest.approx(expected.duration)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.integers(0, 20_000), max_size=60),
    rate=st.sampled_from(RATES),
    channels=st.integers(1, 2),
    kind=st.sampled_from(["int16", "float32", "float64"]),
)
def test_any_chunks(dropping: Model, sizes: list[int], rate: int, channels: int, kind: str) -> None:
    samples = speech(2.2, rate, channels)
    samples = (samples * 32_767).astype("int16") if kind == "int16" else samples.astype(kind)
    live = dropping.live(sample_rate=rate, window=0.8, hop=0.25)
    updates = [update for chunk in chunks(samples, sizes) for update in live.accept(chunk)]
    assert [update.end for update in updates] == pytest.approx([0.25 * (i + 1) for i in range(8)], abs=1e-3)
    for update in updates:
        assert update.start == pytest.approx(max(0, update.end - 0.8), abs=1e-3)
        part = samples[round(update.start * rate) : round(update.end * rate)]
        same(update.result, dropping.predict(part, sampling_rate=rate))
    last = live.finish()
    assert (last.start, last.end) == (0, pytest.approx(2.2))
    assert last.result == dropping.predict(samples, sampling_rate=rate)


def test_text_as_it_arrives(model: Model) -> None:
    samples = speech(1.0, 16_000)
    live = model.live(window=0.5, hop=0.25)
    updates = [*live.accept(samples[:4_000])]
    updates += live.accept(samples[4_000:10_000], text="it is")
    updates += live.accept(text=" ")
    updates += live.accept(samples[10_000:], text="high")
    assert [update.end for update in updates] == [0.25, 0.5, 0.75, 1.0]
    # "it is" came with the samples up to 0.625 s, "high" with those up to 1 s.
    texts = [None, None, "it is", "it is high"]
    for update, text in zip(updates, texts, strict=True):
        if text is None:
            assert isinstance(update.result, Failure)
            assert "no transcript, expected one" in str(update.result.error)
        else:
            part = samples[round(update.start * 16_000) : round(update.end * 16_000)]
            same(update.result, model.predict(part, text))
    assert live.finish().result == model.predict(samples, "it is high")


def test_text_before_the_first_sample_is_of_the_first_windows(model: Model) -> None:
    live = model.live(window=0.3, hop=0.3)
    assert list(live.accept(text="it is low")) == []
    first, second = live.accept(speech(0.6, 16_000))
    assert isinstance(first.result, Result)
    assert isinstance(second.result, Failure)


def test_a_long_stream_is_answered_for_its_last_seconds(dropping: Model) -> None:
    samples = speech(3.0, 16_000)
    live = dropping.live(window=0.5, hop=0.5, max_seconds=1.0)
    for chunk in np.split(samples, 30):
        list(live.accept(chunk))
    assert live._buffer.end - live._buffer._first <= 16_000 + 1_600
    last = live.finish()
    assert (last.start, last.end) == (2.0, 3.0)
    same(last.result, dropping.predict(samples[32_000:]))


def test_updates_that_nobody_asks_for_are_not_computed(
    dropping: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    answer = dropping.answer

    def counted(features: Any) -> list[Result]:
        computed.append(len(features))
        return answer(features)

    monkeypatch.setattr(dropping, "answer", counted)
    live = dropping.live(window=0.5, hop=0.1)
    updates = live.accept(speech(1.0, 16_000))
    assert computed == []
    assert isinstance(next(iter(updates)), Update)
    assert computed == [1]
    assert live.seconds == 1.0


def test_a_buffer_that_is_filled_anew(dropping: Model) -> None:
    samples = speech(1.0, 16_000).astype(np.float32)
    live = dropping.live(window=0.5, hop=0.25)
    buffer = np.empty(2_000, np.float32)
    updates: list[Update] = []
    for place in range(0, 16_000, 2_000):
        buffer[:] = samples[place : place + 2_000]
        updates += live.accept(buffer)
    for update in updates:
        part = samples[round(update.start * 16_000) : round(update.end * 16_000)]
        same(update.result, dropping.predict(part))
    assert live.finish().result == dropping.predict(samples)


def test_text_before_a_stream_of_just_the_longest(model: Model) -> None:
    samples = speech(1.0, 16_000)
    live = model.live(window=0.5, hop=0.5, max_seconds=1.0)
    list(live.accept(text="it is low"))
    list(live.accept(samples))
    assert live.finish().result == model.predict(samples, "it is low")


def test_only_the_latest(dropping: Model) -> None:
    samples = speech(2.0, 16_000)
    live = dropping.live(window=0.5, hop=0.25)
    assert list(live.accept(samples[:3_000], latest_only=True)) == []
    [update] = live.accept(samples[3_000:20_000], latest_only=True)
    assert (update.start, update.end) == (0.75, 1.25)
    same(update.result, dropping.predict(samples[12_000:20_000]))
    assert [each.end for each in live.accept(samples[20_000:])] == [1.5, 1.75, 2.0]
    assert live.finish().result == dropping.predict(samples)


def refused(live: Live, error: type[MtabError], *arguments: object, **options: object) -> str:
    before = live.seconds
    with pytest.raises(error) as raised:
        live.accept(*arguments, **options)  # pyright: ignore[reportArgumentType]
    assert live.seconds == before
    return str(raised.value)


def test_a_bad_chunk_is_refused_and_the_stream_goes_on(dropping: Model) -> None:
    samples = speech(1.0, 16_000)
    live = dropping.live(window=0.5, hop=0.5)
    list(live.accept(samples[:8_000]))
    broken = samples[:100].copy()
    broken[3] = np.nan
    where = "stream at 0.50 s: a chunk"
    assert refused(live, AudioError, broken).startswith(f"{where} holds a sample of nan, expected finite")
    assert refused(live, AudioError, samples, sample_rate=8_000) == (
        f"{where} has 8000 Hz, expected 16000 Hz as before it"
    )
    assert refused(live, AudioError, "clip.wav") == f"{where} is str, expected an array of samples"
    assert refused(live, AudioError, np.zeros((4, 4, 4))).startswith(f"{where} has shape (4, 4, 4), expected")
    assert refused(live, TextError, samples, text=3) == "text is int, expected a string"
    assert list(live.accept(np.zeros(0))) == []
    [update] = live.accept(samples[8_000:], sample_rate=16_000)
    same(update.result, dropping.predict(samples[8_000:]))
    assert live.finish().result == dropping.predict(samples)


def test_an_abrupt_end(dropping: Model, model: Model) -> None:
    with pytest.raises(AudioError, match="stream: nothing was heard, expected samples or text"):
        dropping.live().finish()
    live = dropping.live()
    list(live.accept(np.zeros(100)))
    with pytest.raises(AudioError, match=r"stream from 0\.00 to 0\.01 s: .*100 samples at 16 kHz"):
        live.finish()
    live = model.live()
    list(live.accept(speech(0.3, 16_000)))
    with pytest.raises(TextError, match="no transcript"):
        live.finish()
    list(live.accept(text="it is high"))
    assert isinstance(live.finish().result, Result)
    with pytest.raises(MtabError) as raised:
        live.accept(np.zeros(10))
    assert str(raised.value) == "the stream is finished, expected a new one for more"
    with pytest.raises(MtabError, match="is finished"):
        live.finish()


def test_silence_is_answered(dropping: Model) -> None:
    live = dropping.live(window=0.5, hop=0.5)
    [update] = live.accept(np.zeros(8_000, np.int16))
    same(update.result, dropping.predict(np.zeros(8_000, np.int16)))


@pytest.mark.parametrize(
    "values",
    [
        {"window": 0.001},
        {"window": 700},
        {"hop": 0},
        {"hop": float("inf")},
        {"max_seconds": 1},
        {"max_seconds": 601},
        {"sample_rate": 5},
    ],
)
def test_what_a_stream_cannot_be(model: Model, values: dict[str, float]) -> None:
    with pytest.raises(MtabError, match="expected"):
        model.live(**values)  # pyright: ignore[reportArgumentType]
