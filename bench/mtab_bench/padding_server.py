"""`mtab serve`, but for its batches: whoever waits shares one, padded. A peer to measure beside.

>>> python -m mtab_bench.padding_server serve BUNDLE                 # doctest: +SKIP

So a server with dynamic batching does that knows nothing of lengths. All else is the same: what reads and
answers a request, the engine, the sizes of batches and how long they wait.
"""

from collections.abc import Sequence

from mtab import batching
from mtab.cli import main
from mtab.limits import BatchLimits


def as_they_arrive(lengths: Sequence[batching.Length], limits: BatchLimits) -> list[list[int]]:
    """Every index once, in their order, in batches that are full but for the last: a peer of `plan`."""
    size = limits.utterances
    return [list(range(start, min(start + size, len(lengths)))) for start in range(0, len(lengths), size)]


# Where a worker is a new process, it imports this module as its own main one, and so does this too.
batching.plan = as_they_arrive

if __name__ == "__main__":
    main()
