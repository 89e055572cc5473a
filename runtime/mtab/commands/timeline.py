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
    from mtab.commands.targets import Targets
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
    help="Seconds that neighbouring windows share.  [default: half of one]",
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
    overlap: float | None,
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
    what was found is written and marked as incomplete, in a folder as NAME.incomplete. Recordings whose files
    are in the folder are not done again.

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
    from mtab.commands.targets import Targets
    from mtab.loading import load
    from mtab.progress import say
    from mtab.timeline import regions
    from mtab.timeline import transcript as transcripts
    from mtab.timeline.building import TimelineBuilder, TimelineOptions
    from mtab.transcribe import as_transcriber

    clips = recordings(audio, skip=on_error == "skip")
    targets = Targets(clips, style, out, html, overwrite)
    options = TimelineOptions(window, overlap, merge, abstain)
    transcriber = None if transcribe is None else as_transcriber(transcribe)
    wanted = cast(Precision | Literal["auto"], precision)
    model = load(bundle, device, engine=engine, precision=wanted, threads=threads)
    failed = 0
    for clip in clips:
        try:
            said = _beside(transcript, clip, len(clips), transcripts.SUFFIXES)
            turns = _beside(segments, clip, len(clips), regions.SUFFIXES)
            targets.require_apart(clip, (clip, said, turns))
            if targets.done(clip):
                say(f"{clip}: done before; --overwrite does it again", err=True)
                continue
            builder = TimelineBuilder(
                model,
                clip,
                said,
                segments=turns,
                transcribe=transcriber,
                options=options,
                on_error="skip" if on_error == "skip" else "raise",
                name=click.format_filename(clip),
            )
            targets.require_speakers(builder)
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


def _build(builder: "TimelineBuilder", targets: "Targets", clip: Path) -> None:
    """Make one timeline and write it; what there is of it after an interruption or an error too."""
    from mtab.progress import progress
    from mtab.timeline.page import write_page

    def write(timeline: "Timeline") -> None:
        targets.write(clip, timeline, lambda path: write_page(timeline, clip, path, builder.model))

    try:
        with progress(clip.name, unit="s of audio") as shown:
            for _ in builder:
                shown.total = None if builder.seconds is None else round(builder.seconds)
                shown.done = round(builder.position)
    except (KeyboardInterrupt, MtabError):
        timeline = builder.timeline()
        if timeline.segments:
            write(timeline)
            click.echo(
                f"{clip}: the first {timeline.duration:.1f} s are written, marked as incomplete", err=True
            )
        raise
    timeline = builder.timeline()
    write(timeline)
    if not timeline.segments and not timeline.failures:
        click.echo(f"{clip}: no speech in {timeline.duration:.1f} s", err=True)
    for gap in timeline.failures[:1]:
        found = f"{clip}: no answer for {len(timeline.failures)} stretches, the first"
        message = f"{found}: {gap.start:.2f} to {gap.end:.2f} s: {gap.error}"
        if not timeline.segments:
            raise MtabError(message)
        click.echo(message, err=True)


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
