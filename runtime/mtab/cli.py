"""The command ``mtab``."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import click

from mtab import __version__
from mtab.console import Command, Group
from mtab.engines import ENGINES
from mtab.errors import DataError, MtabError, TextError
from mtab.limits import BATCH_SECONDS, BATCH_SIZE, MAX_CHARACTERS, MAX_SECONDS, Limits
from mtab.types import Precision

if TYPE_CHECKING:
    from mtab.data import Utterance


@click.group(cls=Group)
@click.version_option(__version__, prog_name="mtab")
def main() -> None:
    """Speech-and-text emotion recognition from a bundle, without torch.

    \b
    Example:
      mtab predict bundle clip.wav --text "I never said that!"
    """


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `mtab.load` takes beside the bundle, as options of a command."""
    options = (
        click.option(
            "--engine",
            type=click.Choice(["auto", *ENGINES]),
            default="auto",
            show_default=True,
            help="auto is what mtab tune chose, else ONNX Runtime.",
        ),
        click.option(
            "--device",
            default="auto",
            show_default=True,
            help="cpu, cuda[:N], or gpu for OpenVINO; used or refused. auto is a GPU if there is one.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["auto", *get_args(Precision)]),
            default="auto",
            show_default=True,
            help="auto is the most exact, or what mtab tune chose.",
        ),
        click.option(
            "--threads", type=click.IntRange(min=1), help="Within an operator.  [default: one a core]"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("audio", nargs=-1, type=click.Path(path_type=Path))
@click.option("--text", help="The transcript of the one AUDIO given, or the utterance itself without AUDIO.")
@click.option(
    "--text-file",
    type=click.Path(path_type=Path),
    help="UTF-8, a transcript a line in the order of AUDIO; blank where there is none.",
)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="CSV with the columns audio and text, optionally id, start and end, in place of AUDIO.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="To read, or with every digit; jsonl is an object a line.",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Only the K likeliest classes.  [default: all]")
@click.option(
    "--abstain",
    type=click.FloatRange(0, 1),
    help='Say "unknown" where no class has this probability.  [default: never]',
)
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Save what the classifier sees to an npy file, a row for each row printed.",
)
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="At an utterance that cannot be answered end there, or print the reason and go on.",
)
@engine_options
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=BATCH_SIZE,
    show_default=True,
    help="Utterances that are computed at once, of like length.",
)
@click.option(
    "--batch-seconds",
    type=click.FloatRange(0, min_open=True),
    default=BATCH_SECONDS,
    show_default=True,
    help="Seconds of speech that are computed at once.",
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(0, min_open=True),
    default=MAX_SECONDS,
    show_default=True,
    help="A longer clip is an error.",
)
@click.option(
    "--max-characters",
    type=click.IntRange(min=1),
    default=MAX_CHARACTERS,
    show_default=True,
    help="A longer transcript is an error.",
)
def predict(
    bundle: Path,
    audio: tuple[Path, ...],
    text: str | None,
    text_file: Path | None,
    manifest: Path | None,
    style: str,
    top_k: int | None,
    abstain: float | None,
    embeddings: Path | None,
    on_error: Literal["fail", "skip"],
    engine: str,
    device: str,
    precision: str,
    threads: int | None,
    batch_size: int,
    batch_seconds: float,
    max_seconds: float,
    max_characters: int,
) -> None:
    """The emotion of each AUDIO file, with its transcript.

    wav, flac, ogg and mp3 of any rate and channels; mp4 and other containers with mtab[video]. A clip is
    never cut; a transcript longer than the text encoder takes is, and the result says so.

    Answers are printed as they come: an interruption or an error keeps those before it. With --on-error skip
    the exit code is 0 if at least one utterance has an answer.

    \b
    Examples:
      mtab predict bundle clip.wav --text "I never said that!"
      mtab predict bundle a.wav b.wav --text-file transcripts.txt --format json
      mtab predict bundle --manifest recordings.csv --on-error skip --format csv > emotions.csv
    """
    if (text is not None) + (text_file is not None) + (manifest is not None) > 1:
        raise click.UsageError("give one of --text, --text-file and --manifest")
    if manifest is not None and audio:
        raise click.UsageError("give AUDIO or --manifest, not both")
    if text is not None and len(audio) > 1:
        raise click.UsageError(
            f"--text is one transcript, expected one AUDIO, got {len(audio)}; see --text-file"
        )
    if manifest is None and not audio and text is None:
        raise click.UsageError("give AUDIO, --text or --manifest")

    from mtab.loading import load
    from mtab.model import Failure, Input
    from mtab.output import STYLES, printed, saved_embeddings

    if manifest is not None:
        utterances = _read_manifest(manifest)
    elif text_file is not None:
        utterances = _utterances(audio, _read_texts(text_file, len(audio)))
    else:
        utterances = _utterances(audio or (None,), (text,) * (len(audio) or 1))
    wanted = cast(Precision | Literal["auto"], precision)
    model = load(bundle, device, engine=engine, precision=wanted, threads=threads)
    model.limits = Limits(max_seconds, max_characters)
    names = [utterance.id for utterance in utterances]
    answers = model.stream(
        (Input(each.audio, each.text, *each.span, name=each.id) for each in utterances),
        top_k=top_k,
        abstain=abstain,
        return_embedding=embeddings is not None,
        on_error="skip" if on_error == "skip" else "raise",
        batch_size=batch_size,
        batch_seconds=batch_seconds,
    )
    failed, first = 0, None
    with ExitStack() as stack:
        writers = [stack.enter_context(printed(STYLES[style](names, model.labels)))]
        if embeddings is not None:
            width = model.bundle.config.embedding_size
            writers.append(stack.enter_context(saved_embeddings(embeddings, width)))
        if sys.stderr.isatty() and not sys.stdout.isatty():
            bar = click.progressbar(answers, length=len(names), file=sys.stderr)
            answers = stack.enter_context(bar)
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, Failure):
                failed, first = failed + 1, first or answer.error
            for write in writers:
                write(name, answer)
    if failed:
        message = f"no answer for {failed} of {len(names)} utterances, the first: {first}"
        if failed == len(names):
            raise MtabError(message)
        click.echo(message, err=True)


@main.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--dataset", help="The corpus of the export: iemocap, meld, emodb or manifest.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the corpus lies.")
@click.option(
    "--device", default="auto", show_default=True, help="Only engines on this: cpu, cuda or cuda:N."
)
@click.option(
    "--utterances",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="How many to judge and to time on, at most.",
)
@click.option(
    "--min-seconds",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Of computing to time for each candidate, at least; and three passes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def tune(
    bundle: Path,
    dataset: str | None,
    data_dir: Path | None,
    device: str,
    utterances: int,
    min_seconds: float,
    as_json: bool,
) -> None:
    """Find the fastest way to run BUNDLE on this machine that keeps its accuracy, and let mtab use it.

    Every engine, precision and number of threads is judged and timed beside the default. The choice is kept
    in the user's cache, for this bundle on this machine; after Ctrl-C it is what it was before.

    \b
    Examples:
      mtab tune bundle
      mtab tune bundle --dataset manifest --data-dir recordings --json
    """
    if data_dir is not None and dataset is None:
        raise click.UsageError("--data-dir needs --dataset")

    from mtab import tune as tuning
    from mtab.config import to_dict

    def show(what: str) -> None:
        if sys.stderr.isatty():
            # In the place of what was shown before.
            click.echo(f"\r\x1b[K{what}", err=True, nl=False)

    try:
        found = tuning.tune(bundle, dataset, data_dir, device, utterances, min_seconds, show)
    finally:
        show("")
    click.echo(
        json.dumps(to_dict(found), indent=2, ensure_ascii=False) if as_json else tuning.format_report(found)
    )


@main.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def info(bundle: Path, engine: str, device: str, precision: str, threads: int | None, as_json: bool) -> None:
    """What BUNDLE is, and what mtab would run it on here.

    The engine is opened as it would be for answers, so that what is shown is what can be had.

    \b
    Examples:
      mtab info bundle
      mtab info bundle --device cpu --json
    """
    from mtab import info as description

    wanted = cast(Precision | Literal["auto"], precision)
    found = description.describe(bundle, device, engine, wanted, threads)
    click.echo(
        json.dumps(found, indent=2, ensure_ascii=False) if as_json else description.format_report(found)
    )


@main.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="The same, and the machine in figures, as JSON.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """What this machine can run, and for each gap the command that fills it.

    Everything is tried: ONNX Runtime runs a graph, libraries are loaded, the GPU is asked. The exit code is 0
    if a bundle can be run here, on the CPU at least, and 1 if not.

    \b
    Examples:
      mtab doctor
      mtab doctor --json > machine.json
    """
    from mtab.config import to_dict
    from mtab.doctor import examine, format_report

    report = examine()
    click.echo(
        json.dumps(to_dict(report), indent=2, ensure_ascii=False) if as_json else format_report(report)
    )
    context.exit(0 if report.can_run else 1)


def _utterances(audio: Sequence[Path | None], texts: Sequence[str | None]) -> "list[Utterance]":
    from mtab.data import Utterance

    return [
        # A file's name may hold bytes that no output can show.
        Utterance(id="text" if path is None else click.format_filename(path), audio=path, text=text, label="")
        for path, text in zip(audio, texts, strict=True)
    ]


def _read_texts(path: Path, expected: int) -> list[str]:
    """The lines of a UTF-8 file, with or without a byte order mark."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = [line.rstrip("\n") for line in file]
    except OSError as error:
        raise TextError(f"{path}: {error.strerror}, expected a file with a transcript a line") from None
    except UnicodeDecodeError as error:
        found = f"{error.reason} at byte {error.start}"
        raise TextError(f"{path}: is not UTF-8 ({found}), expected a transcript a line") from None
    if len(lines) != expected:
        raise TextError(f"{path}: {len(lines)} lines, expected one for each of {expected} audio files")
    return lines


def _read_manifest(path: Path) -> "tuple[Utterance, ...]":
    from mtab.data import read_manifest

    corpus = read_manifest(path, labelled=False)
    if corpus.problems:
        raise DataError(str(corpus.problems[0]))
    if not corpus.utterances:
        raise DataError(f"{path}: no utterance, expected a row for each")
    return corpus.utterances
