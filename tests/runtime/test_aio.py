"""`AsyncModel`: each request has its own answer, however many arrive, fail, or are given up."""

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtab
from mtab import AsyncModel, Model, QueueFullError, Result
from mtab.data import Corpus
from mtab.errors import AudioError, EngineError, MtabError, TextError
from mtab.limits import BatchLimits

# Far more than any of this takes, so that what waits for it in vain fails and does not hang.
LONG = 60.0


@pytest.fixture(scope="module")
def loaded(tone_bundle: Path) -> Model:
    return mtab.load(tone_bundle, threads=1)


class Engine:
    """The engine, with the batches that it was given, and a gate that can be shut before it."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.batches: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.batches.append(inputs["audio_lengths"].tolist())
        self.reached.set()
        assert self.open.wait(LONG)
        return self._engine.run(inputs)


@pytest.fixture
def engine(loaded: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    watched = Engine(loaded.engine)
    monkeypatch.setattr(loaded, "engine", watched)
    yield watched
    watched.open.set()


@pytest.fixture
def pairs(tones: Corpus) -> list[tuple[Path, str]]:
    return [(each.audio, each.text) for each in tones.utterances if each.audio and each.text]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=samples).astype(np.float32)


def same(found: Result, expected: Result) -> None:
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    for name in ("label", "duration", "modalities", "text_truncated"):
        assert getattr(found, name) == getattr(expected, name)


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


# Batches


def test_concurrent_requests_are_answered_as_alone(
    loaded: Model, engine: Engine, pairs: list[tuple[Path, str]]
) -> None:
    async def ask() -> list[Result]:
        async with AsyncModel(loaded, max_latency=0.05) as model:
            return await asyncio.gather(*(model.predict(*pair) for pair in pairs))

    for found, pair in zip(asyncio.run(ask()), pairs, strict=True):
        same(found, loaded.predict(*pair))
    assert max(map(len, engine.batches)) > 1


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(400, 20_000), min_size=1, max_size=12), st.integers(1, 8), st.data())
def test_no_company_changes_an_answer(
    loaded: Model, samples: list[int], batch_size: int, data: st.DataObject
) -> None:
    audio = [noise(count, seed) for seed, count in enumerate(samples)]
    alone = [loaded.predict(each, "a tone") for each in audio]
    order = data.draw(st.permutations(range(len(audio))))

    async def ask() -> list[Result]:
        async with AsyncModel(loaded, batch_size=batch_size, max_latency=0.005) as model:
            return await asyncio.gather(*(model.predict(audio[i], "a tone") for i in order))

    for i, found in zip(order, asyncio.run(ask()), strict=True):
        same(found, alone[i])


def test_a_full_batch_waits_no_longer(loaded: Model, engine: Engine) -> None:
    with closing(AsyncModel(loaded, batch_size=3, max_latency=LONG)) as model:
        answers = [model.submit(noise(4_000), "a") for _ in range(3)]
        for answer in answers:
            answer.result(LONG / 2)
    assert engine.batches == [[4_000] * 3]


def test_a_lone_request_waits_no_longer_than_the_bound(loaded: Model, engine: Engine) -> None:
    with closing(AsyncModel(loaded, max_latency=0.2)) as model:
        begin = time.monotonic()
        model.submit(noise(400), "a").result(LONG)
        assert 0.2 <= time.monotonic() - begin < LONG / 2
    assert engine.batches == [[400]]


def test_what_waits_is_batched_by_length_the_oldest_first(loaded: Model, engine: Engine) -> None:
    engine.open.clear()
    with closing(AsyncModel(loaded, batch_size=4, max_latency=0)) as model:
        model.submit(noise(400), "a")
        assert engine.reached.wait(LONG)
        model.submit(noise(160_000), "a")
        eventually(lambda: len(model._waiting) == 1)
        for samples in (1_600, 1_700, 161_000, 1_650, 1_680):
            model.submit(noise(samples), "a")
        eventually(lambda: len(model._waiting) == 6)
        engine.open.set()
    assert sorted(engine.batches[1]) == [160_000, 161_000]
    assert sorted(engine.batches[2]) == [1_600, 1_650, 1_680, 1_700]
    assert len(engine.batches) == 3


def test_what_is_wanted_differs_within_a_batch(loaded: Model, engine: Engine) -> None:
    async def ask() -> list[Result]:
        async with AsyncModel(loaded, batch_size=4, max_latency=LONG) as model:
            wanted: list[dict[str, Any]] = [{}, {"top_k": 1}, {"abstain": 1.0}, {"return_embedding": True}]
            return await asyncio.gather(*(model.predict(noise(4_000), "a", **each) for each in wanted))

    whole, first, unsure, embedded = asyncio.run(ask())
    assert engine.batches == [[4_000] * 4]
    assert list(first.probabilities) == [whole.label]
    assert (unsure.label, whole.embedding) == ("unknown", None)
    assert embedded.embedding is not None


# Too many


def test_a_full_queue_refuses(loaded: Model, engine: Engine) -> None:
    engine.open.clear()

    async def ask() -> None:
        async with AsyncModel(loaded, max_queue=3, max_latency=0) as model:
            accepted = [asyncio.create_task(model.predict(noise(800), "a")) for _ in range(3)]
            await asyncio.sleep(0)
            for _ in range(2):
                with pytest.raises(QueueFullError) as caught:
                    await model.predict(noise(800), "a")
                assert str(caught.value) == (
                    "3 requests are unanswered, expected fewer than 3; try again later"
                )
            engine.open.set()
            await asyncio.gather(*accepted)
            assert (await model.predict(noise(800), "a")).duration == 0.05

    asyncio.run(ask())


def test_no_room_for_anything(loaded: Model) -> None:
    for options, message in (
        ({"max_queue": 0}, "a queue of 0 requests, expected 1 or more"),
        ({"max_latency": -1}, "a latency of -1 s, expected 0 or more"),
        ({"batch_size": 0}, "batches of 0 utterances, expected 1 or more"),
    ):
        with pytest.raises(MtabError) as caught:
            AsyncModel(loaded, **options)
        assert str(caught.value) == message


# Errors


def test_one_bad_request_hits_no_other(loaded: Model, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("not a sound")

    async def ask() -> list[Any]:
        async with AsyncModel(loaded, max_latency=0.05) as model:
            requests = (
                model.predict(noise(4_000), "a"),
                model.predict(tmp_path / "bad.wav", "a"),
                model.predict(np.full(4_000, np.nan), "a"),
                model.predict(noise(4_000), None),
                model.predict(noise(4_000), "a", sampling_rate=None),  # pyright: ignore[reportArgumentType]
                model.predict(noise(4_000), "a"),
            )
            return [*await asyncio.gather(*requests, return_exceptions=True)]

    first, bad, nan, silent, wrong, last = asyncio.run(ask())
    same(first, loaded.predict(noise(4_000), "a"))
    same(last, first)
    assert isinstance(bad, AudioError)
    assert str(bad).startswith(f"{tmp_path / 'bad.wav'}: unreadable (")
    assert isinstance(nan, AudioError)
    assert isinstance(silent, TextError)
    assert str(wrong) == "utterance: sampling_rate is NoneType, expected a number of Hz"


def test_what_the_engine_fails_on_hits_no_other(
    loaded: Model, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = engine.run

    def fails(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if 4_001 in inputs["audio_lengths"]:
            raise EngineError("no memory")
        return run(inputs)

    monkeypatch.setattr(engine, "run", fails)
    with closing(AsyncModel(loaded, batch_size=3, max_latency=LONG)) as model:
        first, failed, last = [model.submit(noise(samples), "a") for samples in (4_000, 4_001, 4_002)]
        assert (first.result(LONG).duration, last.result(LONG).duration) == (0.25, 4_002 / 16_000)
        with pytest.raises(EngineError, match=r"^no memory$"):
            failed.result(LONG)


def test_a_fault_reaches_its_requests_and_stops_nothing(
    loaded: Model, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(AsyncModel(loaded, max_latency=0)) as model:
        with monkeypatch.context() as patch:
            patch.setattr(loaded.preprocess, "collate", lambda features: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                model.submit(noise(800), "a").result(LONG)
        assert model.submit(noise(800), "a").result(LONG).duration == 0.05


# Cancellation and the end


def test_a_cancelled_request_is_not_computed(loaded: Model, engine: Engine) -> None:
    engine.open.clear()

    async def ask() -> None:
        async with AsyncModel(loaded, max_queue=3, max_latency=0) as model:
            running, kept = (asyncio.create_task(model.predict(noise(n), "a")) for n in (800, 900))
            await asyncio.to_thread(engine.reached.wait, LONG)
            given_up = asyncio.create_task(model.predict(noise(1_000), "a"))
            await asyncio.to_thread(eventually, lambda: len(model._waiting) + len(engine.batches[0]) == 3)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            # Its place in the queue is free at once.
            again = asyncio.create_task(model.predict(noise(1_100), "a"))
            await asyncio.sleep(0)
            engine.open.set()
            assert [result.duration for result in await asyncio.gather(running, kept, again)] == [
                800 / 16_000,
                900 / 16_000,
                1_100 / 16_000,
            ]

    asyncio.run(ask())
    assert not any(1_000 in batch for batch in engine.batches)


def test_a_timeout_leaves_the_others(loaded: Model, engine: Engine) -> None:
    """A request that is being computed cannot be stopped, but nobody waits for it any more."""
    engine.open.clear()

    async def ask() -> None:
        async with AsyncModel(loaded, max_latency=0) as model:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(model.predict(noise(800), "a"), 0.1)
            engine.open.set()
            assert (await model.predict(noise(900), "a")).duration == 900 / 16_000

    asyncio.run(ask())


def test_closing_answers_what_was_accepted(loaded: Model, engine: Engine) -> None:
    async def ask() -> list[Result]:
        async with AsyncModel(loaded, max_latency=LONG) as model:
            accepted = [asyncio.create_task(model.predict(noise(800 + n), "a")) for n in range(5)]
            await asyncio.sleep(0)
        with pytest.raises(MtabError, match=r"^the model is closed, expected requests before that$"):
            await model.predict(noise(800), "a")
        model.close()
        return await asyncio.gather(*accepted)

    assert len(asyncio.run(ask())) == 5


def test_a_program_ends_without_closing(tone_bundle: Path) -> None:
    code = (
        "import sys, numpy, mtab\n"
        "model = mtab.AsyncModel(mtab.load(sys.argv[1], threads=1))\n"
        "print(model.submit(numpy.ones(800, 'f4'), 'a').result().duration)\n"
    )
    command = [sys.executable, "-c", code, str(tone_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.05\n", "")


def test_nothing_is_kept_of_what_was_answered(loaded: Model) -> None:
    with closing(AsyncModel(loaded, max_latency=0)) as model:
        audio = noise(800)
        gone = weakref.ref(audio)
        model.submit(audio, "a").result(LONG)
        del audio
        eventually(lambda: not model._working)
        gc.collect()
        eventually(lambda: gone() is None)
        assert (model._accepted, model._waiting) == (set(), {})


# Event loops and threads


def test_the_event_loop_goes_on_while_audio_is_read(
    loaded: Model, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    preprocess = loaded.preprocess

    def slow(*args: Any, **options: Any) -> Any:
        reading.set()
        assert go_on.wait(LONG)
        return preprocess(*args, **options)

    slow.collate = preprocess.collate  # pyright: ignore[reportFunctionMemberAccess]
    monkeypatch.setattr(loaded, "preprocess", slow)

    async def ask() -> Result:
        async with AsyncModel(loaded, max_latency=0) as model:
            task = asyncio.create_task(model.predict(noise(800), "a"))
            while not reading.is_set():
                await asyncio.sleep(0.001)
            go_on.set()
            return await task

    assert asyncio.run(ask()).duration == 0.05


def test_from_many_threads_and_event_loops_at_once(
    loaded: Model, engine: Engine, pairs: list[tuple[Path, str]]
) -> None:
    alone = [loaded.predict(*pair) for pair in pairs]
    with closing(AsyncModel(loaded, max_queue=1_000)) as model:

        async def loop() -> list[Result]:
            return await asyncio.gather(*(model.predict(*pair) for pair in pairs))

        def thread(_: int) -> list[Result]:
            return [model.submit(*pair).result(LONG) for pair in pairs]

        with ThreadPoolExecutor(8) as pool:
            found = [pool.submit(asyncio.run, loop()) for _ in range(3)]
            found += [pool.submit(thread, number) for number in range(5)]
            for each in found:
                for result, expected in zip(each.result(LONG), alone, strict=True):
                    same(result, expected)
    assert max(map(len, engine.batches)) > 1


# Other processes


FORKED = """
import os, pickle, signal, sys
import numpy as np
import mtab

engine, threads = sys.argv[2:]
model = mtab.load(sys.argv[1], engine=engine, threads=int(threads))
model.limits = mtab.Limits(seconds=10)
server = mtab.AsyncModel(model, max_latency=0)
speech = np.random.default_rng(0).normal(size=40_000)
expected = model.predict(speech, "a").score
assert abs(server.submit(speech, "a").result().score - expected) < 1e-6
child = os.fork()
if child == 0:
    signal.alarm(60)  # what waits for ever is a failure
    assert abs(server.submit(speech, "a").result().score - expected) < 1e-5
    assert abs(model.predict(speech, "a").score - expected) < 1e-5
    server.close()
    print("answered", flush=True)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert abs(server.submit(speech, "a").result().score - expected) < 1e-5
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no process")
@pytest.mark.parametrize(("engine", "threads"), [("onnxruntime", 1), ("onnxruntime", 2), ("openvino", 1)])
def test_a_forked_process_answers_and_ends(tone_bundle: Path, engine: str, threads: int) -> None:
    pytest.importorskip(engine)
    command = [sys.executable, "-c", FORKED, str(tone_bundle), engine, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=4 * LONG)
    assert (done.stdout, done.returncode) == ("answered\n7\n", 0), done.stderr


def test_a_pickle_is_opened_again(loaded: Model) -> None:
    server = AsyncModel(loaded, batch_size=3, batch_seconds=20, max_latency=0, max_queue=5)
    with closing(server), closing(pickle.loads(pickle.dumps(server))) as copy:
        assert (copy.limits, copy.max_latency, copy.max_queue) == (BatchLimits(3, 20), 0, 5)
        same(copy.submit(noise(800), "a").result(LONG), loaded.predict(noise(800), "a"))
