"""``mtab-bench soak``: one bundle under many threads for long: the same answers, and no growth of memory."""

import json
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from mtab.audio import SAMPLE_RATE
from mtab.console import Command
from mtab.errors import MtabError
from mtab.model import Input, Model, Result
from mtab.synthetic_inputs import speech, transcript
from mtab_bench.start import process_memory

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


@click.command("soak", cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--requests", type=click.IntRange(min=1), default=20_000, show_default=True)
@click.option(
    "--threads", type=click.IntRange(min=1), default=16, show_default=True, help="That ask at once."
)
@click.option("--device", default="auto", show_default=True, help="As for mtab predict.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def soak_command(bundle: Path, requests: int, threads: int, device: str, as_json: bool) -> None:
    """Ask a bundle for many answers from many threads at once.

    Every answer is held against that of a single thread, to the last bit; resident memory after the first
    1,000 requests may grow by 2 %. The exit code is 1 if either fails.

    \b
    Example:
      mtab-bench soak runs/mine/bundle
    """
    from mtab.loading import load

    measured = soak(load(bundle, device), requests, threads)
    if as_json:
        click.echo(json.dumps(measured, indent=2))
    else:
        growth = measured["growth"]
        grown = "not known" if growth is None else f"{100 * growth:+.1f} %"
        click.echo(
            f"{requests:,} requests from {threads} threads in {measured['seconds']:.0f} s on "
            f"{measured['engine']} {measured['precision']}\nanswers unlike the single thread's: "
            f"{measured['wrong']:,}\nresident memory after the first {SETTLED:,} requests: {grown}"
        )
    if measured["wrong"]:
        raise MtabError(f"{bundle}: {measured['wrong']:,} of {requests:,} answers differ, expected none")
    if measured["growth"] is not None and measured["growth"] > GROWTH:
        found = f"memory grew by {100 * measured['growth']:.1f} %"
        raise MtabError(f"{bundle}: {found}, expected at most {100 * GROWTH:.0f} %")
