"""How far long work has come: one line on a terminal, rewritten in place; else a line now and then.

Everything goes to stderr. Work inside other work adds its count to the same line, and its share to the
estimate of the time left.
"""

import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import click

T = TypeVar("T")

REDRAWN = 0.25
"""Seconds between two drawings on a terminal."""
EVERY = 10.0
"""Seconds between two lines where there is no terminal: work that takes less prints nothing."""

_BAR = 24
_CLEAR = "\r\x1b[K"


@dataclass(eq=False)
class Progress:
    """Work under way: what it is, and how much of ``total`` (None: nobody knows how much) is done.

    ``before`` of it was done earlier than ``begun``, a time of `time.monotonic`, with what had been done of
    the work within it. Counting costs next to nothing and prints nothing: a thread of its own draws.
    """

    desc: str
    total: int | None = None
    unit: str = ""
    done: int = 0
    before: float = 0
    begun: float = field(default_factory=time.monotonic)

    def update(self, count: int = 1) -> None:
        """Count ``count`` more as done."""
        self.done += count

    def describe(self, desc: str) -> None:
        """Say what is done now."""
        self.desc = desc


@contextmanager
def progress(desc: str, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[Progress]:
    """Show work for as long as the context lasts; ``done`` of it was done before.

    >>> with progress("timing", total=3) as shown:
    ...     for _ in range(3):
    ...         shown.update()
    """
    shown = Progress(desc, total, unit, done, before=done)
    _line.open(shown)
    try:
        yield shown
    finally:
        _line.close(shown)


def track(items: Iterable[T], desc: str, unit: str = "", total: int | None = None) -> Iterator[T]:
    """Go through ``items``, and show it; without ``total`` there are as many as ``len`` says, if it does.

    >>> list(track("abc", "reading"))
    ['a', 'b', 'c']
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(desc, total, unit) as shown:
        for item in items:
            yield item
            shown.update()


def say(line: str, err: bool = False) -> None:
    """Print a line to stdout, or stderr, above what is shown."""
    with _line.lock:
        _line.erase()
        click.echo(line, err=err)


def format_progress(stack: Sequence[Progress], now: float, width: int | None = None) -> str:
    """One line for the work in ``stack``, outermost first, at the time ``now``; with a bar for ``width``.

    >>> reading = Progress("reading", 200, "utterances", done=50, begun=0.0)
    >>> format_progress([reading], now=30.0)
    'reading 50/200 utterances, 0:30 elapsed, 1:30 left'
    """
    elapsed = now - stack[0].begun
    line = f"{' · '.join(map(_count, stack))}, {_clock(elapsed)} elapsed"
    share = _share(stack, [each.done for each in stack])
    if share is None:
        return line if width is None else line[:width]
    before = stack[0].before / (stack[0].total or 1)
    if share > before:
        line += f", {_clock(elapsed * (1 - share) / (share - before))} left"
    if width is None:
        return line
    filled = round(_BAR * share)
    return f"[{'#' * filled}{'-' * (_BAR - filled)}] {line}"[:width]


def _share(stack: Sequence[Progress], done: Sequence[float]) -> float | None:
    """The share of the outermost work that ``done`` of each is; None where nobody knows its size."""
    if not stack[0].total:
        return None
    share = 0.0
    for each, count in zip(reversed(stack), reversed(done), strict=True):
        share = min((count + share) / each.total, 1.0) if each.total else 0.0
    return share


def _count(shown: Progress) -> str:
    if shown.total is None:
        count = f" {shown.done}" if shown.done else ""
    else:
        count = f" {shown.done}/{shown.total}"
    return shown.desc + count + (f" {shown.unit}" if count and shown.unit else "")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Line:
    """The line on stderr, and the thread that draws it while any work is shown."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._stack: list[Progress] = []
        self._idle = threading.Event()
        self._drawn = False

    def open(self, shown: Progress) -> None:
        with self.lock:
            self._stack.append(shown)
            if len(self._stack) > 1:
                outermost, within = self._stack[0], [0.0] * (len(self._stack) - 1)
                share = _share(self._stack, [*within, shown.before])
                outermost.before += (share or 0) * (outermost.total or 0)
            else:
                self._idle = threading.Event()
                threading.Thread(target=self._draw_until, args=(self._idle,), daemon=True).start()

    def close(self, shown: Progress) -> None:
        # Not always the innermost: a generator may be closed late.
        with self.lock:
            self._stack.remove(shown)
            if not self._stack:
                self._idle.set()
                self.erase()

    def erase(self) -> None:
        """Take the line off a terminal; it is drawn again at the next turn."""
        if self._drawn:
            self._drawn = False
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()

    def _draw_until(self, idle: threading.Event) -> None:
        while not idle.wait(REDRAWN if sys.stderr.isatty() else EVERY):
            with self.lock:
                if idle.is_set():
                    return
                try:
                    self._draw()
                except (OSError, ValueError):
                    return  # stderr was closed: nobody looks on

    def _draw(self) -> None:
        now = time.monotonic()
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(_CLEAR + format_progress(self._stack, now, width))
            self._drawn = True
        else:
            sys.stderr.write(format_progress(self._stack, now) + "\n")
        sys.stderr.flush()


_line = _Line()
