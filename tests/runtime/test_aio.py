"""`AsyncModel`: each request has its own answer, however many arrive or fail."""

import asyncio
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab import AsyncModel, Model, QueueFullError, Result
from mtab.errors import AudioError, EngineError, MtabError, TextError

from .gate import LONG, Engine, SlowFile, eventually, noise, same

# Batches


def test_concurrent_requests_are_answered_as_alone(
    model: Model, engine: Engine, pairs: list[tuple[Path, str]]
) -> None:
    async def ask() -> list[Result]:
        async with AsyncModel(model, max_latency=0.05) as server:
            return await asyncio.gather(*(server.predict(*pair) for pair in pairs))

    for found, pair in zip(asyncio.run(ask()), pairs, strict=True):
        same(found, model.predict(*pair))
    assert max(map(len, engine.batches)) > 1


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(400, 20_000), min_size=1, max_size=12), st.integers(1, 8), st.data())
def test_no_company_changes_an_answer(
    model: Model, samples: list[int], batch_size: int, data: st.DataObject
) -> None:
    audio = [noise(count, seed) for seed, count in enumerate(samples)]
    alone = [model.predict(each, "a tone") for each in audio]
    order = data.draw(st.permutations(range(len(audio))))

    async def ask() -> list[Result]:
        async with AsyncModel(model, batch_size=batch_size, max_latency=0.005) as server:
            return await asyncio.gather(*(server.predict(audio[i], "a tone") for i in order))

    for i, found in zip(order, asyncio.run(ask()), strict=True):
        same(found, alone[i])


def test_a_full_batch_waits_no_longer(model: Model, engine: Engine) -> None:
    slow = SlowFile(noise(800))
    with closing(AsyncModel(model, batch_size=3, max_latency=2 * LONG)) as server:
        late = server.submit(slow, "a")
        for answer in [server.submit(noise(4_000), "a") for _ in range(3)]:
            answer.result(LONG)
        assert engine.batches == [[4_000] * 3]
        slow.open.set()
        late.result(LONG)


def test_a_lone_request_does_not_wait(model: Model, engine: Engine) -> None:
    with closing(AsyncModel(model, max_latency=2 * LONG)) as server:
        server.submit(noise(400), "a").result(LONG)
    assert engine.batches == [[400]]


def test_a_request_waits_for_those_that_are_being_read(model: Model, engine: Engine) -> None:
    slow = SlowFile(noise(800))
    with closing(AsyncModel(model, max_latency=2 * LONG)) as server:
        late = server.submit(slow, "a")
        assert slow.reached.wait(LONG)
        first = server.submit(noise(400), "a")
        eventually(lambda: len(server._waiting) == 1)
        slow.open.set()
        for answer in (first, late):
            answer.result(LONG)
    assert engine.batches == [[400, 800]]


def test_and_no_longer_than_the_bound(model: Model, engine: Engine) -> None:
    slow = SlowFile(noise(800))
    with closing(AsyncModel(model, max_latency=0.1)) as server:
        late = server.submit(slow, "a")
        assert slow.reached.wait(LONG)
        first = server.submit(noise(400), "a")
        first.result(LONG)
        assert first.timings is not None
        assert first.timings.wait >= 0.1
        slow.open.set()
        late.result(LONG)
    assert engine.batches == [[400], [800]]


def test_timings_say_what_a_request_took(model: Model, engine: Engine) -> None:
    engine.open.clear()
    with closing(AsyncModel(model)) as server:
        server.submit(noise(400), "a")
        assert engine.reached.wait(LONG)
        waiting = [server.submit(noise(400), "a") for _ in range(2)]
        eventually(lambda: len(server._waiting) == 2)
        assert server.unanswered == 3
        time.sleep(0.05)
        engine.open.set()
        for answer in waiting:
            answer.result(LONG)
            assert answer.timings is not None
            assert answer.timings.batch == 2
            assert answer.timings.wait >= 0.05
            assert 0 < answer.timings.compute < LONG
            assert 0 < answer.timings.read < LONG
        assert server.unanswered == 0
        assert server.submit(b"RIFF", "a", name="bad.wav").timings is None


def test_errors_begin_with_the_name_of_a_request(model: Model) -> None:
    with closing(AsyncModel(model)) as server, pytest.raises(AudioError, match=r"^bad\.wav: .*unreadable"):
        server.submit(b"RIFF", "a", name="bad.wav").result(LONG)


def test_what_waits_is_batched_by_length_the_oldest_first(model: Model, engine: Engine) -> None:
    engine.open.clear()
    with closing(AsyncModel(model, batch_size=4, max_latency=0)) as server:
        server.submit(noise(400), "a")
        assert engine.reached.wait(LONG)
        server.submit(noise(160_000), "a")
        eventually(lambda: len(server._waiting) == 1)
        for samples in (1_600, 1_700, 161_000, 1_650, 1_680):
            server.submit(noise(samples), "a")
        eventually(lambda: len(server._waiting) == 6)
        engine.open.set()
    assert sorted(engine.batches[1]) == [160_000, 161_000]
    assert sorted(engine.batches[2]) == [1_600, 1_650, 1_680, 1_700]
    assert len(engine.batches) == 3


def test_what_is_wanted_differs_within_a_batch(model: Model, engine: Engine) -> None:
    slow = SlowFile(noise(800))

    async def ask() -> list[Result]:
        async with AsyncModel(model, batch_size=4, max_latency=2 * LONG) as server:
            server.submit(slow, "a")
            wanted: list[dict[str, Any]] = [{}, {"top_k": 1}, {"abstain": 1.0}, {"return_embedding": True}]
            answers = asyncio.gather(*(server.predict(noise(4_000), "a", **each) for each in wanted))
            found = await asyncio.wait_for(answers, LONG)
            slow.open.set()
            return found

    whole, first, unsure, embedded = asyncio.run(ask())
    assert engine.batches[0] == [4_000] * 4
    assert list(first.probabilities) == [whole.label]
    assert (unsure.label, whole.embedding) == ("unknown", None)
    assert embedded.embedding is not None


# Several at once


def test_each_stream_of_the_engine_takes_a_batch(model: Model, engine: Engine) -> None:
    """And what is being computed on one of them is nothing to wait for on another."""
    engine.streams = 2
    engine.open.clear()
    with closing(AsyncModel(model, batch_size=2, max_latency=2 * LONG)) as server:
        answers = []
        for number in (1, 2):
            answers.append(server.submit(noise(400 * number), "a"))
            eventually(lambda number=number: len(engine.batches) == number)
        answers += [server.submit(noise(400 * number), "a") for number in (3, 4, 5)]
        eventually(lambda: len(server._waiting) == 3)
        assert engine.batches == [[400], [800]]
        engine.open.set()
        for number, answer in enumerate(answers, 1):
            same(answer.result(LONG), model.predict(noise(400 * number), "a"))
            assert answer.timings is not None
            assert answer.timings.batch <= 2
    assert (server._accepted, server._computing) == (set(), set())


# Too many


def test_a_full_queue_refuses(model: Model, engine: Engine) -> None:
    engine.open.clear()

    async def ask() -> None:
        async with AsyncModel(model, max_queue=3, max_latency=0) as server:
            accepted = [asyncio.create_task(server.predict(noise(800), "a")) for _ in range(3)]
            await asyncio.sleep(0)
            for _ in range(2):
                with pytest.raises(QueueFullError) as caught:
                    await server.predict(noise(800), "a")
                assert str(caught.value) == (
                    "3 requests are unanswered, expected fewer than 3; try again later"
                )
            engine.open.set()
            await asyncio.gather(*accepted)
            assert (await server.predict(noise(800), "a")).duration == 0.05

    asyncio.run(ask())


def test_no_room_for_anything(model: Model) -> None:
    for options, message in (
        ({"max_queue": 0}, "a queue of 0 requests, expected 1 or more"),
        ({"max_latency": -1}, "a latency of -1 s, expected 0 or more"),
        ({"batch_size": 0}, "batches of 0 utterances, expected 1 or more"),
    ):
        with pytest.raises(MtabError) as caught:
            AsyncModel(model, **options)
        assert str(caught.value) == message


# Errors


def test_one_bad_request_hits_no_other(model: Model, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("not a sound")

    async def ask() -> list[Any]:
        async with AsyncModel(model, max_latency=0.05) as server:
            requests = (
                server.predict(noise(4_000), "a"),
                server.predict(tmp_path / "bad.wav", "a"),
                server.predict(np.full(4_000, np.nan), "a"),
                server.predict(noise(4_000), None),
                server.predict(noise(4_000), "a", sampling_rate=None),  # pyright: ignore[reportArgumentType]
                server.predict(noise(4_000), "a"),
            )
            return [*await asyncio.gather(*requests, return_exceptions=True)]

    first, bad, nan, silent, wrong, last = asyncio.run(ask())
    same(first, model.predict(noise(4_000), "a"))
    same(last, first)
    assert isinstance(bad, AudioError)
    assert str(bad).startswith(f"{tmp_path / 'bad.wav'}: unreadable (")
    assert isinstance(nan, AudioError)
    assert isinstance(silent, TextError)
    assert str(wrong) == "utterance: sampling_rate is NoneType, expected a number of Hz"


def test_what_the_engine_fails_on_hits_no_other(
    model: Model, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = engine.run

    def fails(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if 4_001 in inputs["audio_lengths"]:
            raise EngineError("no memory")
        return run(inputs)

    monkeypatch.setattr(engine, "run", fails)
    with closing(AsyncModel(model, batch_size=3, max_latency=LONG)) as server:
        first, failed, last = [server.submit(noise(samples), "a") for samples in (4_000, 4_001, 4_002)]
        assert (first.result(LONG).duration, last.result(LONG).duration) == (0.25, 4_002 / 16_000)
        with pytest.raises(EngineError, match=r"^no memory$"):
            failed.result(LONG)


def test_a_fault_reaches_its_requests_and_stops_nothing(
    model: Model, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(AsyncModel(model, max_latency=0)) as server:
        with monkeypatch.context() as patch:
            patch.setattr(model.preprocess, "collate", lambda features: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                server.submit(noise(800), "a").result(LONG)
        assert server.submit(noise(800), "a").result(LONG).duration == 0.05
