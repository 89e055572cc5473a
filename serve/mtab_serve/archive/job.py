"""``mtab predict --ray``: an archive of clips answered on a cluster, in parts that outlast a kill."""

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from mtab.bundle import open_bundle
from mtab.errors import MtabError
from mtab.progress import progress, say
from mtab.ray import cause_of, connected
from mtab_serve.archive.answering import Asking, Worker
from mtab_serve.archive.parts import Job, Parts
from mtab_serve.archive.source import Chunk, Source, absolute, open_source

CHUNK = 256
"""Rows of a part: enough for batches of like length, and little to do again after a kill."""
_SAMPLE = 64
_TURNS = 4
"""Of a dry run: rows of a chunk that are answered, and chunks a worker."""


def run(
    asking: Asking,
    source: str,
    out: str | None,
    address: str,
    workers: int | None = None,
    price: float | None = None,
) -> None:
    """Answer every row of ``source`` into ``out``, or without one say what that would take.

    ``address`` is of Ray's cluster, ``workers`` None are as many as it has room for. What ``out`` has from
    before is not done again. Rows without an answer are rows of the output too, and counted at the end.

    Raises `MtabError` for a bundle, an input, a cluster or an output that cannot be used.
    """
    # Workers need not be where the command is.
    asking = dataclasses.replace(asking, bundle=asking.bundle.absolute())
    source, out = absolute(source), None if out is None else absolute(out)
    opened = open_source(source, dict(asking.columns), CHUNK)
    job = Job(
        open_bundle(asking.bundle).content,
        opened.address,
        opened.fingerprint,
        opened.rows,
        len(opened.chunks),
        asking.precision,
        asking.top_k,
        asking.abstain,
        asking.limits.seconds,
        asking.limits.characters,
    )
    done = set() if out is None else Parts(out).begin(job)
    left = [chunk for chunk in opened.chunks if chunk.number not in done]
    if not left:
        say(f"{source}: all {opened.rows} rows are answered in {out}")
        return
    with connected(address):
        workers = min(workers or _workers(asking.threads), len(left))
        if out is None:
            _estimate(asking, left, workers, price)
        else:
            _answer_all(asking, opened, left, out, workers)


def _answer_all(asking: Asking, source: Source, left: Sequence[Chunk], out: str, workers: int) -> None:
    rows = failed = 0
    seconds = 0.0
    before = source.rows - sum(chunk.count for chunk in left)
    with progress("answering", total=source.rows, unit="clips", done=before) as shown:
        for found in _answers(asking, left, out, workers):
            if found["error"]:
                again = f"{source.rows - before - rows} rows are left: start again for them"
                raise MtabError(f"{found['error']}; {again}")
            rows += found["rows"]
            failed += found["failed"]
            seconds += found["seconds"]
            elapsed = time.monotonic() - shown.begun
            speed = f"{rows / elapsed:.1f} clips/s, {seconds / 3600 / elapsed:.3f} hours of speech/s"
            shown.describe(f"answering at {speed}:")
            shown.update(found["rows"])
    say(f"{rows} rows answered, {seconds / 3600:.2f} hours of speech; {out} holds all {source.rows}")
    if failed:
        say(f"no answer for {failed} of {rows} rows; the column error says why")


def _answers(
    asking: Asking, chunks: Sequence[Chunk], out: str | None, workers: int
) -> Iterator[dict[str, Any]]:
    """What `Worker` says of each chunk, in any order. One that dies is replaced, and its chunk done again."""
    settings = ray.data.DataContext.get_current()
    settings.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data = ray.data.from_items([{"chunk": chunk} for chunk in chunks], override_num_blocks=len(chunks))
    found = data.map(
        Worker,  # pyright: ignore[reportArgumentType]
        fn_constructor_args=(asking, out),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=asking.threads,
        num_gpus=1 if asking.device.startswith("cuda") else None,
    )
    try:
        yield from found.iter_rows()
    except RayError as error:
        raise cause_of(error) from None


def _estimate(asking: Asking, left: Sequence[Chunk], workers: int, price: float | None) -> None:
    """Say how long the rows that are left take, from a sample of them that is answered and forgotten."""
    wanted = min(len(left), workers * _TURNS)
    sample = [_part(left[i * len(left) // wanted]) for i in range(wanted)]
    turns: dict[str, list[dict[str, Any]]] = {}
    for found in _answers(asking, sample, None, workers):
        turns.setdefault(found["worker"], []).append(found)
    # The first of each worker warms up its engine.
    measured = [sorted(each, key=itemgetter("begun"))[len(each) > 1 :] for each in turns.values()]
    speed = sum(
        _total(each, "rows") / sum(turn["ended"] - turn["begun"] for turn in each) for each in measured
    )
    speed *= workers / len(measured)
    every = [turn for each in turns.values() for turn in each]
    rows = sum(chunk.count for chunk in left)
    hours = rows / speed / 3600
    speech = rows * _total(every, "seconds") / _total(every, "rows") / 3600
    cost = "" if price is None else f", {_figure(hours * price)} at {price:g} an hour"
    say(
        f"{rows} rows, about {_figure(speech)} hours of speech: {_figure(hours)} hours with {workers} "
        f"workers ({speed:.1f} clips/s, {speech / hours:.0f} times as fast as speech){cost}"
    )
    say(
        f"measured on {_total(every, 'rows'):.0f} rows, which are not kept; starting the workers is not in it"
    )


def _total(turns: Sequence[dict[str, Any]], name: str) -> float:
    return sum(turn[name] for turn in turns)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _part(chunk: Chunk) -> Chunk:
    """A few rows of a chunk; a row group is taken whole."""
    if chunk.rows is None:
        return chunk
    return dataclasses.replace(chunk, rows=chunk.rows.slice(0, _SAMPLE), count=min(chunk.count, _SAMPLE))


def _workers(threads: int) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
