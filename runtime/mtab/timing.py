"""Timing several backends side by side, so that noise strikes all alike and is told where it stays.

>>> backends = {"torch": torch_model, "bundle": engine.run}          # doctest: +SKIP
>>> timing = interleaved(backends, inputs.__getitem__, len(inputs))  # doctest: +SKIP
>>> timing.speedup("bundle", over="torch")                           # doctest: +SKIP
Ratio(value=2.61, low=2.55, high=2.68, disturbed=False)
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Generic, TypeVar

import numpy as np

from mtab.machine import NOISE, OtherLoad

BLOCK_SECONDS = 0.5
"""What a block is made to take: long enough to see what other processes do, short enough to repeat."""
MAX_REQUESTS = 50
"""Requests in a block, at most."""
MIN_BLOCKS = 6
"""Fewer give no interval of 95 %; every backend answers a request in each of the first so many."""
SLOW = 4.0
"""How many times the time of the fastest backend another one may take."""
FREE_SECONDS = 10.0
"""How long a backend may take for the samples that are wanted, however slow it is."""
PAUSE = 0.02
"""Seconds before each backend's part of a block: idle threads of the one before stop spinning."""

RETRIES = 2
"""How often a block that was disturbed is measured again."""
PATIENCE = 3
"""After so many blocks that stayed disturbed none is measured again."""
WAIT = 0.25
"""Seconds before a block is measured again."""

# The kernel counts in ticks of 10 ms: what other processes may seem to have used in a block.
_TICKS = 0.03
_MUCH = 0.2
_RESAMPLES = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast a backend is as another one: a median, and its 95 % interval.

    Where ``disturbed``, other processes were busy all along, and no factor should be quoted.
    """

    value: float
    low: float
    high: float
    disturbed: bool


@dataclass(frozen=True, slots=True)
class Block:
    """Requests that all backends answered one after the other, as they were measured the last time.

    ``other_load`` is how many cores other processes used meanwhile (None: not known here), over ``seconds``;
    ``attempts`` is how often the block was measured, 1 if it was not disturbed.
    """

    requests: int
    seconds: float
    other_load: float | None
    attempts: int

    @property
    def disturbed(self) -> bool:
        """Whether other processes used `NOISE` cores or more, beyond what the clock cannot tell."""
        return self.other_load is not None and (self.other_load - NOISE) * self.seconds >= _TICKS


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """What `interleaved` measured of R requests.

    ``seconds`` are float64 (R,) by backend, NaN for a request that a slow one was spared; ``items`` int64
    (R,) are what `interleaved` was asked to draw.
    """

    seconds: Mapping[str, np.ndarray]
    items: np.ndarray
    blocks: tuple[Block, ...]

    @property
    def other_load(self) -> float | None:
        """The mean number of cores that other processes used; None where the system does not tell."""
        known = [(b.other_load, b.seconds) for b in self.blocks if b.other_load is not None]
        if not known:
            return None
        return sum(load * seconds for load, seconds in known) / sum(seconds for _, seconds in known)

    @property
    def disturbed(self) -> bool:
        """Whether other processes were busy in more than a fifth of the blocks, or all in all."""
        share = sum(block.disturbed for block in self.blocks) / len(self.blocks)
        return share > _MUCH or (self.other_load or 0.0) >= NOISE

    def samples(self, backend: str) -> np.ndarray:
        """The seconds of the requests that a backend answered, float64 (answered,)."""
        seconds = self.seconds[backend]
        return seconds[~np.isnan(seconds)]

    def median(self, backend: str) -> float:
        """The median of a backend's seconds."""
        return float(np.median(self.samples(backend)))

    def speedup(self, backend: str, over: str) -> Ratio:
        """How many times as fast ``backend`` is as ``over``.

        The median of the ratios of both on the same request, with the interval that drawing the blocks again
        gives: what disturbs a block disturbs all of its requests.
        """
        ratios = self.seconds[over] / self.seconds[backend]
        blocks = np.repeat(np.arange(len(self.blocks)), [block.requests for block in self.blocks])
        both = ~np.isnan(ratios)
        low, high = _interval(ratios[both], np.unique(blocks[both], return_inverse=True)[1])
        return Ratio(float(np.median(ratios[both])), low, high, self.disturbed)


def _interval(values: np.ndarray, blocks: np.ndarray) -> tuple[float, float]:
    """Where the median of ``values`` (V,) lies in 95 % of draws of as many ``blocks`` (V,) as there are."""
    random = np.random.default_rng(0)
    count = int(blocks.max()) + 1
    order = np.argsort(values)
    values, blocks = values[order], blocks[order]
    medians = np.empty((_RESAMPLES, 2))
    for row in medians:
        times = np.bincount(random.integers(count, size=count), minlength=count)
        reached = np.cumsum(times[blocks])
        # The one or two in the middle.
        row[:] = values[np.searchsorted(reached, [(reached[-1] + 1) // 2, reached[-1] // 2 + 1])]
    low, high = np.percentile(medians.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while `interleaved` measured; ``timing`` is what there was by then, None without a block."""

    def __init__(self, timing: Timing | None) -> None:
        super().__init__()
        self.timing = timing


def interleaved(
    backends: Mapping[str, Callable[[T], object]],
    draw: Callable[[int], T],
    items: int,
    min_samples: int = 1,
    min_seconds: float = 0.0,
    progress: Callable[[float], object] = lambda _: None,
) -> Timing:
    """The seconds that each of ``backends`` takes for the same requests, in interleaved blocks.

    ``draw`` makes a request of an item's number, 0 to ``items`` - 1, untimed: ``inputs.__getitem__`` for the
    same ones again, or of a new length each time, as `mtab.traffic.NewLengths` makes them. In a block every
    backend answers the same requests, in an order that alternates from block to block. Before its part come
    a pause, in which the idle threads of the one before go to sleep, and, unless they take long, a request
    of its own untimed.

    Items are passed over until each backend has ``min_samples`` and has worked for ``min_seconds``, in
    `MIN_BLOCKS` blocks or more, and to the end of a pass. A backend that takes more than `SLOW` times as
    long as the fastest one answers fewer requests, so that it stretches no other's time, once it has
    ``min_samples`` or has worked for `FREE_SECONDS`. A block beside which other processes use `NOISE` cores
    is measured again, with new requests, at most `RETRIES` times and until `PATIENCE` blocks stayed
    disturbed; the quietest counts.

    ``progress`` is told what share of all is done, 0 to 1. Raises `Interrupted` at Ctrl-C.
    """
    run = _Run(backends, draw, min_samples, min_seconds)
    shown = 0.0
    try:
        while True:
            done, left = run.share(), -run.requests % items
            shown = max(shown, min(done, run.requests / max(run.requests + left, 1)))
            progress(shown)
            if done == 1 and not left:
                return run.timing()
            # Towards the end of the last pass, and not beyond it.
            size = min(run.block_size(left), left) if done == 1 else run.block_size()
            run.measure([(run.requests + i) % items for i in range(size)])
    except KeyboardInterrupt:
        raise Interrupted(run.timing() if run.blocks else None) from None


class _Run(Generic[T]):
    """The blocks so far."""

    def __init__(
        self,
        backends: Mapping[str, Callable[[T], object]],
        draw: Callable[[int], T],
        min_samples: int,
        min_seconds: float,
    ) -> None:
        self._backends = backends
        self._draw = draw
        self._min_samples = min_samples
        self._min_seconds = min_seconds
        self._order = list(backends)
        self._seconds: dict[str, list[np.ndarray]] = {name: [] for name in backends}
        self._items: list[int] = []
        self._credit = dict.fromkeys(backends, 0.0)
        self._patience = PATIENCE
        self.blocks: list[Block] = []

    @property
    def requests(self) -> int:
        return len(self._items)

    def timing(self) -> Timing:
        seconds = {name: np.concatenate(parts[: len(self.blocks)]) for name, parts in self._seconds.items()}
        items = np.array(self._items[: sum(block.requests for block in self.blocks)], dtype=np.int64)
        return Timing(seconds, items, tuple(self.blocks))

    def share(self) -> float:
        """How much of what is wanted is there, 0 to 1."""
        if not self.blocks:
            return 0.0
        timing, slow = self.timing(), self._slow()
        samples = min(len(timing.samples(name)) for name in self._backends if name not in slow)
        worked = min(float(timing.samples(name).sum()) for name in self._backends)
        return min(
            len(self.blocks) / MIN_BLOCKS,
            samples / self._min_samples if self._min_samples else 1.0,
            worked / self._min_seconds if self._min_seconds else 1.0,
            1.0,
        )

    def block_size(self, left: int = 0) -> int:
        """How many requests the next block has: one at first, then what fills `BLOCK_SECONDS`.

        No more than leaves requests for enough blocks, of those that are wanted or ``left``.
        """
        if not self.blocks:
            return 1
        typical = self._typical().values()
        fitting = (BLOCK_SECONDS - PAUSE * len(typical)) / sum(typical)
        wanted = max(self._min_samples, self._min_seconds / min(typical)) - self.requests
        wanted = max(wanted, left)
        blocks = max(MIN_BLOCKS - len(self.blocks), 1)
        return max(min(int(fitting), ceil(wanted / blocks), MAX_REQUESTS), 1)

    def measure(self, items: Sequence[int]) -> None:
        """One more block, again where it was disturbed."""
        quotas = self._quotas(len(items))
        seconds, block = self._attempt(items, quotas, 1)
        for attempt in range(2, RETRIES + 2):
            if not block.disturbed or not self._patience:
                break
            time.sleep(WAIT)
            again, found = self._attempt(items, quotas, attempt)
            if (found.other_load or 0.0) < (block.other_load or 0.0):
                seconds, block = again, found
            block = replace(block, attempts=attempt)
        if block.disturbed and self._patience:
            self._patience -= 1
        for name, each in seconds.items():
            self._seconds[name].append(each)
        self._items += items
        self.blocks.append(block)
        self._order.reverse()

    def _attempt(
        self, items: Sequence[int], quotas: Mapping[str, int], attempt: int
    ) -> tuple[dict[str, np.ndarray], Block]:
        # A first one that does not count: a backend's threads and weights come back.
        first, *requests = map(self._draw, (items[0], *items))
        seconds = {name: np.full(len(items), np.nan) for name in self._backends}
        with OtherLoad() as load:
            for name in self._order:
                answer, quota = self._backends[name], quotas[name]
                if not quota:
                    continue
                time.sleep(PAUSE)
                if self._typical().get(name, 0.0) < BLOCK_SECONDS:
                    answer(first)
                seconds[name][:quota] = _clocked(answer, requests[:quota])
        return seconds, Block(len(items), load.seconds, load.cores, attempt)

    def _quotas(self, size: int) -> dict[str, int]:
        """How many of so many requests each backend answers: those that are too slow fewer."""
        quotas, typical = dict.fromkeys(self._backends, size), self._typical()
        for name in self._slow():
            credit = self._credit[name] + SLOW * size * min(typical.values()) / typical[name]
            least = int(len(self.blocks) < MIN_BLOCKS)
            quotas[name] = min(max(int(credit), least), size)
            self._credit[name] = min(max(credit - quotas[name], 0.0), 1.0)
        return quotas

    def _slow(self) -> list[str]:
        """The backends that have to let others go before."""
        if not self.blocks:
            return []
        timing, typical = self.timing(), self._typical()
        return [
            name
            for name, seconds in typical.items()
            if seconds > SLOW * min(typical.values())
            and (len(timing.samples(name)) >= self._min_samples or timing.samples(name).sum() >= FREE_SECONDS)
        ]

    def _typical(self) -> dict[str, float]:
        """The median of each backend's seconds; none before the first block."""
        if not self.blocks:
            return {}
        timing = self.timing()
        return {name: max(timing.median(name), 1e-9) for name in self._backends}


def _clocked(answer: Callable[[T], object], requests: Iterable[T]) -> list[float]:
    seconds = []
    for request in requests:
        start = time.perf_counter()
        answer(request)
        seconds.append(time.perf_counter() - start)
    return seconds
