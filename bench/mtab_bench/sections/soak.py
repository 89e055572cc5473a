"""``mtab-bench soak``: one bundle under many threads for long: the same answers, and no growth of memory."""

import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

import numpy as np
from tqdm import tqdm

from mtab.audio import SAMPLE_RATE
from mtab.model import Input, Model, Result
from mtab.synthetic_inputs import speech, transcript
from mtab_bench.sections.start import process_memory

UTTERANCES = 64
"""Different ones that are asked for, over and over."""
SETTLED = 1000
"""Requests after which memory has to stay as it is."""
GROWTH = 0.02
"""What it may still grow by, for allocators keep some of what they got."""


def utterances(model: Model, seed: int = 0) -> list[Input]:
    """Made-up ones that the model can answer, of 0.2 to 4 s, some of them as recorded elsewhere."""
    random = np.random.default_rng(seed)
    supported = model.bundle.config.supported_modalities
    made = []
    for number in range(UTTERANCES):
        modalities = supported[number % len(supported)]
        rate = (SAMPLE_RATE, 8_000, 44_100)[number % 3]
        samples = speech(random, random.uniform(0.2, 4), rate)
        text = transcript(random, int(random.integers(1, 30)))
        made.append(
            Input(
                samples if "audio" in modalities else None,
                text if "text" in modalities else None,
                sampling_rate=rate,
            )
        )
    return made


def soak(model: Model, requests: int, threads: int, seed: int = 0) -> dict[str, Any]:
    """Ask ``model`` for ``requests`` answers from so many ``threads`` at once; plain JSON values.

    Every answer is compared with the one that a single thread got before, to the last bit. ``ram`` is
    resident memory in MB after each hundredth of the requests, ``growth`` the largest of it after the first
    `SETTLED` requests over that after `SETTLED`; null where they are fewer, or the system does not tell.
    """
    asked = utterances(model, seed)

    def answer(each: Input) -> Result:
        return model.predict(each.audio, each.text, sampling_rate=each.sampling_rate)

    expected = [answer(each) for each in asked]
    wrong = 0
    lock = threading.Lock()

    def request(number: int) -> None:
        nonlocal wrong
        which = number % len(asked)
        if answer(asked[which]) != expected[which]:
            with lock:
                wrong += 1

    ram: list[tuple[int, float]] = []
    begun = time.perf_counter()
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=requests, desc="answering", disable=None, leave=False) as progress,
    ):
        every = max(1, min(SETTLED, requests // 100))
        numbers = iter(range(requests))
        running: set[Future[None]] = {pool.submit(request, n) for n in islice(numbers, 2 * threads)}
        done = 0
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                done += 1
                if done % every == 0 and (resident := process_memory()["ram"]) is not None:
                    ram.append((done, resident / 1e6))
            running |= {pool.submit(request, n) for n in islice(numbers, len(finished))}
            progress.update(len(finished))
    seconds = time.perf_counter() - begun
    settled = [resident for number, resident in ram if number >= SETTLED]
    return {
        "requests": requests,
        "threads": threads,
        "engine": model.engine.name,
        "precision": model.engine.precision,
        "wrong": wrong,
        "seconds": seconds,
        "ram": [{"requests": number, "MB": resident} for number, resident in ram],
        "growth": max(settled) / settled[0] - 1 if len(settled) > 1 else None,
    }
