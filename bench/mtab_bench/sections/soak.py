"""What ``mtab-bench soak`` measures: the same answers under many threads, and no growth of memory."""

import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.inputs import Input
from mtab.model import Model
from mtab.progress import progress, track
from mtab.results import Result
from mtab.synthetic_inputs import speech, transcript
from mtab.traffic import NewLengths
from mtab_bench.memory import process_memory

UTTERANCES = 64
"""Different ones that are asked for, over and over."""
CHECKED = 500
"""Requests of new lengths, at most, that a single thread answers again afterwards."""
SETTLED = 1000
"""Requests after which memory has to stay as it is."""
GROWTH = 0.02
"""What it may still grow by, for allocators keep some of what they got."""


@dataclass(frozen=True, slots=True)
class Resident:
    """Resident memory after so many requests."""

    requests: int
    megabytes: float


@dataclass(frozen=True, slots=True)
class Soak:
    """What became of ``requests`` from so many ``threads`` at once.

    ``checked`` of the answers were compared with a single thread's, ``wrong`` ones differ. ``ram`` is
    resident memory after each hundredth of the requests, ``growth`` the largest of it after the first
    `SETTLED` requests over that after `SETTLED`; None where they are fewer, or the system does not tell.
    """

    requests: int
    threads: int
    engine: str
    precision: str
    checked: int
    wrong: int
    seconds: float
    ram: tuple[Resident, ...]
    growth: float | None


def utterances(model: Model, seed: int = 0) -> list[Input]:
    """Synthetic ones that the model can answer, of 0.2 to 4 s, some of them as recorded elsewhere."""
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


def soak(model: Model, requests: int, threads: int, seed: int = 0) -> Soak:
    """Ask ``model`` for ``requests`` answers from so many ``threads`` at once, to the last bit the same.

    Every second request is one of `UTTERANCES`, answered by a single thread before; the others are of
    lengths that come once, and some of them are answered again by a single thread afterwards.
    """
    asked = utterances(model, seed)
    new = NewLengths(seed=seed)

    def answer(each: Input) -> Result:
        return model.predict(each.audio, each.text, sampling_rate=each.sampling_rate)

    def request_of(number: int) -> Input:
        each = asked[number // 2 % len(asked)]
        if number % 2 == 0 or not isinstance(each.audio, np.ndarray):
            return each
        return each._replace(audio=new.samples(each.audio))

    expected = [answer(each) for each in track(asked, "one thread", "utterances")]
    kept: list[tuple[Input, Result]] = []
    keep_every = max(1, requests // (2 * CHECKED)) * 2
    checked = wrong = 0
    lock = threading.Lock()

    def ask(number: int, each: Input) -> None:
        nonlocal checked, wrong
        found = answer(each)
        with lock:
            if number % 2 == 0:
                checked += 1
                wrong += found != expected[number // 2 % len(asked)]
            elif number % keep_every == 1:
                kept.append((each, found))

    ram: list[Resident] = []
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool, progress("answering", requests, "requests") as shown:
        every = max(1, min(SETTLED, requests // 100))
        # Made here: lengths come once, whichever thread asks.
        numbered = ((number, request_of(number)) for number in range(requests))
        running: set[Future[None]] = {pool.submit(ask, *each) for each in islice(numbered, 2 * threads)}
        done = 0
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                done += 1
                if done % every == 0 and (resident := process_memory()["ram"]) is not None:
                    ram.append(Resident(done, resident / 1e6))
            running |= {pool.submit(ask, *each) for each in islice(numbered, len(finished))}
            shown.update(len(finished))
    seconds = time.perf_counter() - begun
    for each, found in track(kept, "one thread again", "utterances"):
        checked += 1
        wrong += found != answer(each)
    settled = [each.megabytes for each in ram if each.requests >= SETTLED]
    return Soak(
        requests=requests,
        threads=threads,
        engine=model.engine.name,
        precision=model.engine.precision,
        checked=checked,
        wrong=wrong,
        seconds=seconds,
        ram=tuple(ram),
        growth=max(settled) / settled[0] - 1 if len(settled) > 1 else None,
    )
