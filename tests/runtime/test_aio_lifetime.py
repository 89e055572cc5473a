"""`AsyncModel` as requests are given up and it is closed; in event loops, threads and other processes."""

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mtab import AsyncModel, Model, Result
from mtab.errors import MtabError
from mtab.limits import BatchLimits

from .gate import LONG, Engine, eventually, noise, same

# Cancellation and the end


def test_a_cancelled_request_is_not_computed(model: Model, engine: Engine) -> None:
    engine.open.clear()

    async def ask() -> None:
        async with AsyncModel(model, max_queue=3, max_latency=0) as server:
            running, kept = (asyncio.create_task(server.predict(noise(n), "a")) for n in (800, 900))
            await asyncio.to_thread(engine.reached.wait, LONG)
            given_up = asyncio.create_task(server.predict(noise(1_000), "a"))
            await asyncio.to_thread(eventually, lambda: len(server._waiting) + len(engine.batches[0]) == 3)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            # Its place in the queue is free at once.
            again = asyncio.create_task(server.predict(noise(1_100), "a"))
            await asyncio.sleep(0)
            engine.open.set()
            assert [result.duration for result in await asyncio.gather(running, kept, again)] == [
                800 / 16_000,
                900 / 16_000,
                1_100 / 16_000,
            ]

    asyncio.run(ask())
    assert not any(1_000 in batch for batch in engine.batches)


def test_a_timeout_leaves_the_others(model: Model, engine: Engine) -> None:
    """A request that is being computed cannot be stopped, but nobody waits for it any more."""
    engine.open.clear()

    async def ask() -> None:
        async with AsyncModel(model, max_latency=0) as server:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(server.predict(noise(800), "a"), 0.1)
            engine.open.set()
            assert (await server.predict(noise(900), "a")).duration == 900 / 16_000

    asyncio.run(ask())


def test_closing_answers_what_was_accepted(model: Model, engine: Engine) -> None:
    async def ask() -> list[Result]:
        async with AsyncModel(model, max_latency=LONG) as server:
            accepted = [asyncio.create_task(server.predict(noise(800 + n), "a")) for n in range(5)]
            await asyncio.sleep(0)
        with pytest.raises(MtabError, match=r"^the model is closed, expected requests before that$"):
            await server.predict(noise(800), "a")
        server.close()
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


def test_nothing_is_kept_of_what_was_answered(model: Model) -> None:
    with closing(AsyncModel(model, max_latency=0)) as server:
        audio = noise(800)
        gone = weakref.ref(audio)
        server.submit(audio, "a").result(LONG)
        del audio
        eventually(lambda: not server._working)
        gc.collect()
        eventually(lambda: gone() is None)
        assert (server._accepted, server._waiting) == (set(), {})


# Event loops and threads


def test_the_event_loop_goes_on_while_audio_is_read(
    model: Model, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    preprocess = model.preprocess

    def slow(*args: Any, **options: Any) -> Any:
        reading.set()
        assert go_on.wait(LONG)
        return preprocess(*args, **options)

    slow.collate = preprocess.collate  # pyright: ignore[reportFunctionMemberAccess]
    monkeypatch.setattr(model, "preprocess", slow)

    async def ask() -> Result:
        async with AsyncModel(model, max_latency=0) as server:
            task = asyncio.create_task(server.predict(noise(800), "a"))
            while not reading.is_set():
                await asyncio.sleep(0.001)
            go_on.set()
            return await task

    assert asyncio.run(ask()).duration == 0.05


def test_from_many_threads_and_event_loops_at_once(
    model: Model, engine: Engine, pairs: list[tuple[Path, str]]
) -> None:
    alone = [model.predict(*pair) for pair in pairs]
    with closing(AsyncModel(model, max_queue=1_000)) as server:

        async def loop() -> list[Result]:
            return await asyncio.gather(*(server.predict(*pair) for pair in pairs))

        def thread(_: int) -> list[Result]:
            return [server.submit(*pair).result(LONG) for pair in pairs]

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


def test_a_pickle_is_opened_again(model: Model) -> None:
    server = AsyncModel(model, batch_size=3, batch_seconds=20, max_latency=0, max_queue=5)
    with closing(server), closing(pickle.loads(pickle.dumps(server))) as copy:
        assert (copy.limits, copy.max_latency, copy.max_queue) == (BatchLimits(3, 20), 0, 5)
        same(copy.submit(noise(800), "a").result(LONG), model.predict(noise(800), "a"))
