"""``mtab listen``: the emotion of speech while it is spoken, from a pipe or a microphone."""

import json
import os
import queue
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from mtab.console import Command, install_hint
from mtab.errors import MtabError
from mtab.options import bundle_argument, engine_options
from mtab.types import Precision

if TYPE_CHECKING:
    import numpy as np

    from mtab.timeline.live import Live, Update

FORMATS = {"s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}
"""NumPy's name of each sample format, which FFmpeg and SoX call so too."""

_CHUNK = 2**16
_BAR = 10
_LATE_SECONDS = 0.5


@click.command(cls=Command)
@bundle_argument
@click.option("--microphone", metavar="DEVICE", help="Microphone to listen to: a name, a number, or default.")
@click.option(
    "--sample-rate",
    type=click.IntRange(1_000, 1_000_000),
    default=16_000,
    show_default=True,
    help="Samples a second.",
)
@click.option(
    "--channels", type=click.IntRange(1, 64), default=1, show_default=True, help="Number of channels."
)
@click.option(
    "--sample-format",
    type=click.Choice(list(FORMATS)),
    default="s16le",
    show_default=True,
    help="Format of the samples on standard input.",
)
@click.option(
    "--text-from",
    type=click.Path(path_type=Path),
    help="File or pipe whose lines are taken as they come, as a recogniser writes what is said.",
)
@click.option("--window", type=float, default=4.0, show_default=True, help="Seconds that an update looks at.")
@click.option(
    "--hop", type=float, default=0.5, show_default=True, help="Seconds from one update to the next."
)
@click.option(
    "--max-seconds",
    type=float,
    default=60.0,
    show_default=True,
    help="Seconds, the last ones, that the answer at the end looks at.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["line", "jsonl"]),
    default="line",
    show_default=True,
    help="Format of the updates: a line to look at, which a terminal redraws, or a JSON object each.",
)
@engine_options
def listen(
    bundle: Path,
    microphone: str | None,
    sample_rate: int,
    channels: int,
    sample_format: str,
    text_from: Path | None,
    window: float,
    hop: float,
    max_seconds: float,
    style: Literal["line", "jsonl"],
    engine: str,
    device: str,
    precision: str,
    threads: int | None,
) -> None:
    """Show the emotion of speech while it is spoken.

    Reads PCM from standard input, or a microphone (mtab[microphone]). Each update is the answer for the last
    --window seconds; the one at the end, after the last sample or Ctrl-C, is that for the whole, as of mtab
    predict, or for its last --max-seconds.

    \b
    Examples:
      ffmpeg -loglevel error -i talk.mp3 -f s16le -ar 16000 -ac 1 - | mtab listen bundle
      arecord -q -f S16_LE -r 16000 | mtab listen bundle --format jsonl
      mtab listen bundle --microphone default
    """
    from mtab.loading import load

    wanted = cast(Precision | Literal["auto"], precision)
    model = load(bundle, device, engine=engine, precision=wanted, threads=threads)
    live = model.live(sample_rate=sample_rate, window=window, hop=hop, max_seconds=max_seconds)
    texts: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = None
    if text_from is not None:
        if not text_from.exists():
            raise MtabError(f"{text_from}: not found, expected a file or a pipe with lines of text")
        # A pipe may be opened before anybody writes to it.
        reader = threading.Thread(target=_read_lines, args=(text_from, texts), daemon=True)
        reader.start()
    show = _Line(model.labels) if style == "line" else _Jsonl()
    chunks = (
        _from_input(sample_format, channels)
        if microphone is None
        else _from_microphone(microphone, sample_rate, channels)
    )
    try:
        for chunk in chunks:
            # A pipe waits for what is slow; a microphone does not.
            latest_only = microphone is not None
            for update in live.accept(chunk, _waiting(texts), latest_only=latest_only):
                show.update(update)
    except KeyboardInterrupt:
        # How somebody who listens to a microphone ends it.
        pass
    if reader is not None:
        # What is there already is of this stream.
        reader.join(_LATE_SECONDS)
    _finish(live, show, _waiting(texts))


def _finish(live: "Live", show: "_Line | _Jsonl", text: str | None) -> None:
    if text is not None:
        for _ in live.accept(text=text):
            pass
    show.end(live.finish())


def _waiting(texts: "queue.SimpleQueue[str]") -> str | None:
    """What has come since the last time."""
    lines = []
    while not texts.empty():
        lines.append(texts.get())
    return " ".join(lines) or None


def _read_lines(path: Path, texts: "queue.SimpleQueue[str]") -> None:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.strip():
                texts.put(line.strip())


def _from_input(sample_format: str, channels: int) -> "Iterator[np.ndarray]":
    """Chunks (n, channels) as they come."""
    import numpy as np

    dtype = np.dtype(FORMATS[sample_format])
    size = dtype.itemsize * channels
    if sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal, expected PCM in a pipe, or --microphone")
    rest = b""
    while data := os.read(sys.stdin.fileno(), _CHUNK):
        data = rest + data
        whole = len(data) - len(data) % size
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], dtype).reshape(-1, channels)
    if rest:
        click.echo(f"standard input ends within a sample: {len(rest)} of {size} bytes left out", err=True)


def _from_microphone(device: str, sample_rate: int, channels: int) -> "Iterator[np.ndarray]":
    import numpy as np

    try:
        import sounddevice
    except ModuleNotFoundError:
        raise MtabError(install_hint("sounddevice", "--microphone")) from None
    except OSError as error:  # PortAudio is a library of its own
        raise MtabError(f"--microphone: {error}; install PortAudio (libportaudio2)") from None
    chunks: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def take(samples: "np.ndarray", frames: int, time: Any, status: Any) -> None:
        if status:
            click.echo(f"microphone: {status}", err=True)
        chunks.put(samples.copy())

    name = None if device == "default" else int(device) if device.isdigit() else device
    try:
        with sounddevice.InputStream(
            samplerate=sample_rate, channels=channels, dtype="float32", device=name, callback=take
        ):
            while True:
                yield np.concatenate([chunks.get(), *(chunks.get() for _ in range(chunks.qsize()))])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MtabError(f"microphone {device}: {error}, expected one that can be opened") from None


class _Jsonl:
    """Each update as a JSON object on a line."""

    def update(self, update: "Update", final: bool = False) -> None:
        from mtab.output import record

        name = f"{update.start:.2f} to {update.end:.2f} s"
        values = {"start": update.start, "end": update.end, "final": final}
        click.echo(json.dumps(values | record(name, update.result), ensure_ascii=False))

    def end(self, update: "Update") -> None:
        self.update(update, final=True)


class _Line:
    """A line for the latest update, redrawn in place on a terminal; else one for each."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._drawn = sys.stdout.isatty()

    def update(self, update: "Update") -> None:
        line = self._format(update)
        if self._drawn:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r\x1b[K{line[:width]}", nl=False)
        else:
            click.echo(line)

    def end(self, update: "Update") -> None:
        if self._drawn:
            click.echo("\r\x1b[K", nl=False)
        click.echo(f"{self._format(update)}  (the whole)" if not update.start else self._format(update))

    def _format(self, update: "Update") -> str:
        from mtab.results import Failure

        at = f"{update.start:7.1f} to {update.end:.1f} s"
        if isinstance(update.result, Failure):
            reason = str(update.result.error).removeprefix(f"{update.result.name}: ")
            return f"{at}  -  {reason}"
        found = update.result.probabilities
        bars = (f"{label} {_bar(found[label])} {found[label]:.2f}" for label in self._labels)
        return f"{at}  {update.result.label:<{max(map(len, self._labels))}}  {'  '.join(bars)}"


def _bar(share: float) -> str:
    filled = round(_BAR * share)
    return "█" * filled + "·" * (_BAR - filled)
