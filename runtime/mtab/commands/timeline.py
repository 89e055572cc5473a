"""``mtab timeline``: the emotions of long recordings, over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from mtab.console import Command
from mtab.errors import MtabError
from mtab.options import bundle_argument, engine_options, transcribe_option
from mtab.types import Precision

if TYPE_CHECKING:
    from mtab.timeline.building import TimelineBuilder
    from mtab.timeline.timeline import Timeline


@click.command(cls=Command)
@bundle_argument
@click.argument("audio", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--transcript",
    type=click.Path(path_type=Path),
    help="Transcript with times: SRT, WebVTT or JSON; for several AUDIO a folder with one of each name.",
)
@transcribe_option
@click.option(
    "--segments",
    type=click.Path(path_type=Path),
    help="Who speaks when: RTTM, CSV or JSON; for several AUDIO a folder with one of each name.  "
    "[default: the transcript's cues, else the speech that is found]",
)
@click.option(
    "--window",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds of speech that are judged at once.",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0),
    default=2.5,
    show_default=True,
    help="Seconds that neighbouring windows share.",
)
@click.option(
    "--merge",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    help="Longest pause between neighbours of the same label that are joined, in seconds.",
)
@click.option(
    "--abstain",
    type=click.FloatRange(0, 1),
    help='Probability below which the label is "unknown".  [default: never]',
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "csv", "srt", "vtt", "textgrid", "eaf", "rttm"]),
    help="Format of what is printed or, into a folder, written.  [default: table, in a folder json]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    multiple=True,
    help="File to write in the format of its suffix, or a folder for one of each AUDIO; may be repeated.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    help="Page to write, with the audio in it; for several AUDIO a folder.",
)
@click.option("--overwrite", is_flag=True, help="Write again what a folder holds already.")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do at a stretch, or a recording, without an answer: end there, or note it and go on.",
)
@engine_options
def timeline(
    bundle: Path,
    audio: tuple[Path, ...],
    transcript: Path | None,
    transcribe: str | None,
    segments: Path | None,
    window: float,
    overlap: float,
    merge: float,
    abstain: float | None,
    style: str | None,
    out: tuple[Path, ...],
    html: Path | None,
    overwrite: bool,
    on_error: Literal["fail", "skip"],
    engine: str,
    device: str,
    precision: str,
    threads: int | None,
) -> None:
    """Find the emotions of each AUDIO recording over time.

    Recordings of any length are decoded as a stream. Each is cut where somebody speaks: as --segments say, by
    the cues of --transcript, or by Silero's detector (mtab[vad]). Speech that is longer than --window is
    judged in windows; segments are where the label stays the same.

    A folder stands for the recordings in it. After Ctrl-C, and after an error in the middle of a recording,
    what was found is written and marked as incomplete; recordings of several whose files are in the folder
    are not done again.

    \b
    Examples:
      mtab timeline bundle meeting.wav
      mtab timeline bundle meeting.wav --transcript meeting.srt --out meeting.TextGrid --html meeting.html
      mtab timeline bundle call.mp3 --segments call.rttm --format csv > call.csv
      mtab timeline bundle recordings --out timelines --format json --on-error skip
    """
    if transcript is not None and transcribe is not None:
        raise click.UsageError("give --transcript or --transcribe, not both")
    from mtab.commands.recordings import recordings
    from mtab.loading import load
    from mtab.timeline.building import TimelineOptions

    clips = recordings(audio, skip=on_error == "skip")
    targets = _Targets(clips, style, out, html, overwrite)
    options = TimelineOptions(window, overlap, merge, abstain)
    function = None
    if transcribe is not None:
        from mtab.transcribe import as_transcriber

        function = as_transcriber(transcribe)
    wanted = cast(Precision | Literal["auto"], precision)
    model = load(bundle, device, engine=engine, precision=wanted, threads=threads)

    from mtab.progress import say
    from mtab.timeline.building import TimelineBuilder

    failed = 0
    for clip in clips:
        if targets.done(clip):
            say(f"{clip}: done before; --overwrite does it again", err=True)
            continue
        try:
            builder = TimelineBuilder(
                model,
                clip,
                _beside(transcript, clip, len(clips), (".srt", ".vtt", ".json")),
                segments=_beside(segments, clip, len(clips), (".rttm", ".csv", ".json")),
                transcribe=function,
                options=options,
                on_error="skip" if on_error == "skip" else "raise",
                name=click.format_filename(clip),
            )
            _build(builder, targets, clip)
        except MtabError as error:
            if on_error == "fail" or len(clips) == 1:
                raise
            failed += 1
            say(f"Error: {error}", err=True)
    if failed == len(clips):
        raise MtabError(f"no timeline of any of {failed} recordings")
    if failed:
        click.echo(f"no timeline of {failed} of {len(clips)} recordings", err=True)


class _Targets:
    """Where the timelines of recordings go: printed, into files of their own, or into folders."""

    def __init__(
        self,
        clips: Sequence[Path],
        style: str | None,
        out: Sequence[Path],
        html: Path | None,
        overwrite: bool,
    ) -> None:
        from mtab.timeline.formats import format_of

        self._many = len(clips) > 1
        self._style = style or ("json" if out else "table")
        self._out, self._html, self._overwrite = out, html, overwrite
        self._files = [path for path in out if not self._is_folder(path)]
        if self._style == "table" and len(self._files) < len(out):
            raise click.UsageError("a folder for --out needs a --format other than table")
        if self._many and (self._files or (html is not None and html.suffix)):
            raise click.UsageError(f"{len(clips)} recordings, expected a folder for --out and --html")
        for path in self._files:
            format_of(path)
        stems = [clip.stem for clip in clips]
        if self._many and len(set(stems)) < len(stems) and (out or html):
            twice = next(stem for stem in stems if stems.count(stem) > 1)
            raise click.UsageError(f"two recordings are called {twice!r}, expected names that differ")

    def done(self, clip: Path) -> bool:
        """Whether a folder has all of a recording's files."""
        paths = [path for path in self._paths(clip) if path not in self._files and path != self._html]
        return bool(paths) and not self._overwrite and all(path.is_file() for path in paths)

    def write(self, clip: Path, timeline: "Timeline", model: "TimelineBuilder") -> None:
        from mtab.timeline.formats import FORMATS, to_table, write_timeline

        page = self._page(clip)
        for path in self._paths(clip):
            if path != page:
                write_timeline(timeline, path)
        if page is not None:
            from mtab.timeline.page import write_page

            write_page(timeline, clip, page, model.model)
        if not self._out and self._html is None:
            click.echo((FORMATS | {"table": to_table})[self._style](timeline), nl=False)

    def _paths(self, clip: Path) -> list[Path]:
        from mtab.timeline.formats import SUFFIXES

        suffix = SUFFIXES.get(self._style, f".{self._style}")
        paths = [path if path in self._files else path / f"{clip.stem}{suffix}" for path in self._out]
        page = self._page(clip)
        return [*paths, page] if page is not None else paths

    def _page(self, clip: Path) -> Path | None:
        if self._html is None:
            return None
        return self._html / f"{clip.stem}.html" if self._is_folder(self._html) else self._html

    def _is_folder(self, path: Path) -> bool:
        return path.is_dir() or not path.suffix


def _build(builder: "TimelineBuilder", targets: _Targets, clip: Path) -> None:
    """Make one timeline and write it; what there is of it after an interruption or an error too."""
    from mtab.progress import progress

    try:
        with progress(clip.name, unit="s of audio") as shown:
            for _ in builder:
                shown.total = None if builder.seconds is None else round(builder.seconds)
                shown.done = round(builder.position)
    except (KeyboardInterrupt, MtabError):
        timeline = builder.timeline()
        if timeline.segments:
            targets.write(clip, timeline, builder)
            click.echo(
                f"{clip}: the first {timeline.duration:.1f} s are written, marked as incomplete", err=True
            )
        raise
    timeline = builder.timeline()
    targets.write(clip, timeline, builder)
    if not timeline.segments and not timeline.failures:
        click.echo(f"{clip}: no speech in {timeline.duration:.1f} s", err=True)
    for gap in timeline.failures[:1]:
        found = f"{clip}: no answer for {len(timeline.failures)} stretches, the first"
        click.echo(f"{found}: {gap.start:.2f} to {gap.end:.2f} s: {gap.error}", err=True)


def _beside(path: Path | None, clip: Path, clips: int, suffixes: Sequence[str]) -> Path | None:
    """The file that goes with a recording: ``path`` itself or, in a folder, the one of its name."""
    if path is None or (clips == 1 and not path.is_dir()):
        return path
    if not path.is_dir():
        raise click.UsageError(
            f"{path} is one file for {clips} recordings, expected a folder with one of each name"
        )
    for suffix in suffixes:
        if (found := path / f"{clip.stem}{suffix}").is_file():
            return found
    raise MtabError(f"{path}: no {clip.stem} with {', '.join(suffixes)}, expected one for {clip}")
