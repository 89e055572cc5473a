"""What ``mtab-bench serve`` measures: a server under load beside others of the bundle, and for long."""

import http.client
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

from mtab.data import Utterance
from mtab.errors import EngineError
from mtab.model import Model
from mtab.progress import progress, track
from mtab.types import TunedFor
from mtab_bench.memory import process_memory
from mtab_bench.sections.soak import SETTLED, Resident
from mtab_bench.serving import Asked, ServerProcess, like_those, served, utterances

CONCURRENCY = (1, 2, 4, 8, 16, 32, 64)
UTTERANCES = 64
LIKE_CORPUS = 512
"""Utterances that are like a corpus's: of these lengths differ more."""
ATOL = 1e-5
"""What a probability may differ from predict's by: the budget of a graph in fp32."""


class Peer(NamedTuple):
    """A server to measure beside: the options of ``mtab serve``, and the module that has that command."""

    options: tuple[str, ...]
    program: str = "mtab.cli"


_ALONE = Peer(("--batch-size", "1"))
_UNTUNED = ("--engine", "onnxruntime")
_PADDING = "mtab_bench.padding_server"
BESIDE: dict[TunedFor, dict[str, Peer]] = {
    "latency": {"padding": Peer((), _PADDING), "without batches": _ALONE},
    "throughput": {
        "for latency": Peer(("--for", "latency")),
        "untuned": Peer(_UNTUNED),
        "padding": Peer(_UNTUNED, _PADDING),
        "without batches": _ALONE,
    },
}
"""The servers beside one that is tuned for this, by name."""

# Bodies are read once, and asked in turn by each thread of wrk.
_SCRIPT = """
local bodies = {}
init = function(args)
  for number = 0, %d do
    local file = io.open("%s/" .. number, "rb")
    local headers = {["Content-Type"] = "application/json", ["Host"] = wrk.headers["Host"]}
    bodies[#bodies + 1] = wrk.format("POST", "/v1/predict", headers, file:read("*a"))
    file:close()
  end
end
local turn = 0
request = function()
  turn = turn %% #bodies + 1
  return bodies[turn]
end
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("\\nmeasured %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Level:
    """A server with so many clients at once: requests a second, seconds of latency, utterances a batch.

    ``beside`` is what the others answer in a second, by name; ``failed`` counts requests without an answer,
    of all.
    """

    concurrency: int
    requests_per_second: float
    beside: dict[str, float]
    p50: float
    p99: float
    batch: float
    failed: int

    def gain(self, over: str) -> float:
        """How many times as many requests it answers as another server."""
        return self.requests_per_second / self.beside[over]


@dataclass(frozen=True, slots=True)
class LongRun:
    """What became of so many ``requests``: ``lost`` have no answer, ``wrong`` another than predict's.

    ``ram`` is the workers' resident memory after each hundredth of them, ``growth`` the largest of it over
    that after the first tenth, and `SETTLED` at least: large batches are rare. None where they are fewer.
    """

    requests: int
    clients: int
    seconds: float
    lost: int
    wrong: int
    ram: tuple[Resident, ...]
    growth: float | None


@dataclass(frozen=True, slots=True)
class Serving:
    """A server of ``engine``; ``predict`` is the median of the same utterances without one, in seconds."""

    engine: str
    predict: float
    levels: tuple[Level, ...]
    long: LongRun | None


def measure_serving(
    model: Model,
    seconds: float,
    requests: int = 0,
    threads: int | None = None,
    levels: Sequence[int] = CONCURRENCY,
    tuned_for: TunedFor = "latency",
    corpus: Sequence[Utterance] | None = None,
) -> Serving:
    """Ask a server of a bundle and those of `BESIDE` in turn, and then the first ``requests`` times.

    ``model`` is as `mtab.load` opens it ``tuned_for`` this. What is asked has the durations and transcripts
    of a ``corpus``, or is of 1 to 4 s. Raises `EngineError` without wrk, or if a server does not begin.
    """
    if shutil.which("wrk") is None:
        raise EngineError("wrk is not installed, expected it to make the load: apt-get install wrk")
    if corpus is None:
        asked = utterances(model.bundle, UTTERANCES)
    else:
        asked = like_those(model.bundle, corpus, LIKE_CORPUS)
    expected = [_answer(model, each) for each in track(asked, "predict", "utterances")]
    threaded = () if threads is None else ("--threads", str(threads))
    options = ("--for", tuned_for, *threaded)
    folder = model.bundle.folder
    with ExitStack() as stack:
        first = stack.enter_context(served(folder, *options))
        others = {
            name: stack.enter_context(served(folder, *threaded, *peer.options, program=peer.program))
            for name, peer in BESIDE[tuned_for].items()
        }
        predict = float(np.median([_seconds(model, each) for each in asked]))
        found = [
            _level(first, others, asked, concurrency, seconds)
            for concurrency in track(levels, "load", "levels")
        ]
    long = None
    if requests:
        with served(folder, *options) as server:
            long = _long_run(server, asked, expected, requests, clients=32)
    engine = f"{model.engine.name} {model.engine.precision}"
    if tuned_for != "latency":
        engine += f", batches of {model.batch_size}, {model.engine.streams} at once"
    return Serving(engine, predict, tuple(found), long)


def _answer(model: Model, asked: Asked) -> dict[str, float]:
    return model.predict(asked.audio, asked.text).probabilities


def _seconds(model: Model, asked: Asked) -> float:
    begun = time.perf_counter()
    _answer(model, asked)
    return time.perf_counter() - begun


def _level(
    server: ServerProcess,
    others: Mapping[str, ServerProcess],
    asked: Sequence[Asked],
    concurrency: int,
    seconds: float,
) -> Level:
    before = [server.metric(f"mtab_batch_size_{name}") for name in ("sum", "count")]
    rate, p50, p99, failed = _wrk(server, asked, concurrency, seconds)
    after = [server.metric(f"mtab_batch_size_{name}") for name in ("sum", "count")]
    total, answered = (late - early for early, late in zip(before, after, strict=True))
    beside: dict[str, float] = {}
    for name, other in others.items():
        beside[name], _, _, lost = _wrk(other, asked, concurrency, seconds)
        failed += lost
    return Level(concurrency, rate, beside, p50, p99, total / answered if answered else 0.0, failed)


def _wrk(
    server: ServerProcess, asked: Sequence[Asked], concurrency: int, seconds: float
) -> tuple[float, float, float, int]:
    """Requests a second, p50 and p99 in seconds, and how many failed."""
    with tempfile.TemporaryDirectory() as folder:
        for number, each in enumerate(asked):
            (Path(folder) / str(number)).write_bytes(each.body)
        script = Path(folder) / "script.lua"
        script.write_text(_SCRIPT % (len(asked) - 1, folder))
        command = ["wrk", "-t1", f"-c{concurrency}", f"-d{max(1, round(seconds))}s", "--timeout", "60s"]
        done = subprocess.run([*command, "-s", str(script), server.url], capture_output=True, text=True)
    line = next((line for line in done.stdout.splitlines() if line.startswith("measured ")), None)
    if line is None:
        raise EngineError(f"wrk: {' '.join((done.stderr or done.stdout).split())}, expected its figures")
    answered, duration, p50, p99, failed = map(int, line.split()[1:])
    return answered / (duration / 1e6), p50 / 1e6, p99 / 1e6, failed


def _long_run(
    server: ServerProcess,
    asked: Sequence[Asked],
    expected: Sequence[dict[str, float]],
    requests: int,
    clients: int,
) -> LongRun:
    numbers = count()
    lock = threading.Lock()
    ram: list[Resident] = []
    lost = wrong = done = 0
    every = max(1, min(SETTLED, requests // 100))
    address = urlsplit(server.url)
    begun = time.perf_counter()
    with progress("asking", requests, "requests") as shown:

        def ask() -> None:
            nonlocal lost, wrong, done
            connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
            while (number := next(numbers)) < requests:
                try:
                    body = asked[number % len(asked)].body
                    connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
                    response = connection.getresponse()
                    answer = response.read()
                    content = json.loads(answer) if response.status == 200 else None
                except (OSError, http.client.HTTPException):
                    connection.close()
                    content = None
                with lock:
                    done += 1
                    lost += content is None
                    if content is not None:
                        wrong += not _same(content["probabilities"], expected[number % len(asked)])
                    if done % every == 0:
                        ram.append(Resident(done, _resident(server)))
                shown.update()
            connection.close()

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    settled = [each.megabytes for each in ram if each.requests >= max(SETTLED, requests // 10)]
    growth = max(settled) / settled[0] - 1 if len(settled) > 1 else None
    return LongRun(requests, clients, time.perf_counter() - begun, lost, wrong, tuple(ram), growth)


def _same(found: dict[str, float], expected: dict[str, float]) -> bool:
    return all(abs(found[name] - value) <= ATOL for name, value in expected.items())


def _resident(server: ServerProcess) -> float:
    figures = (process_memory(Path(f"/proc/{pid}"))["ram"] for pid in server.workers())
    return sum(figure or 0 for figure in figures) / 1e6
