"""``mtab predict``: the emotion of files, of a text, or of a manifest's rows."""

import dataclasses
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from mtab.commands.recordings import recordings
from mtab.console import Command
from mtab.errors import DataError, MtabError, TextError
from mtab.limits import Limits
from mtab.options import (
    batch_options,
    bundle_argument,
    columns_option,
    engine_options,
    limit_options,
    transcribe_option,
    tuned_for_option,
)
from mtab.plugins import plugin
from mtab.types import Precision, TunedFor

if TYPE_CHECKING:
    from mtab.data import Utterance
    from mtab.inputs import Input
    from mtab.limits import BatchLimits
    from mtab.model import Model
    from mtab.reasons import Explanation
    from mtab.results import Failure, ResultOptions


@click.command(cls=Command)
@bundle_argument
@click.argument("audio", nargs=-1, type=click.Path(path_type=Path))
@click.option("--text", help="Transcript of the one AUDIO file; without AUDIO, the text to judge.")
@click.option(
    "--text-file",
    type=click.Path(path_type=Path),
    help="UTF-8 file with one transcript a line, in the order of AUDIO; a blank line is no transcript.",
)
@click.option(
    "--manifest",
    help="CSV file to read in place of AUDIO, with the columns audio and text, and optionally id, start "
    "and end.",
)
@columns_option
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="Format of the answers. A table is rounded; jsonl is one JSON object a line.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    help="Number of classes to print, the likeliest first.  [default: all]",
)
@click.option(
    "--abstain",
    type=click.FloatRange(0, 1),
    help='Probability below which the answer is "unknown".  [default: never]',
)
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="NumPy file to write the embeddings to, one row for each answer.",
)
@transcribe_option
@click.option(
    "--reasons",
    is_flag=True,
    help="Say with each answer what speaks for it: attention, and what it loses without a word or a stretch "
    "of sound. Needs --format json or jsonl.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Picture to draw of the one answer and its reasons: png, svg or pdf.",
)
@click.option(
    "--ray",
    "cluster",
    metavar="ADDRESS",
    help="Ray cluster that answers an archive: local, auto or its address. --manifest is then a CSV file, a "
    "Parquet file or a folder, here or at any address of fsspec, and --out gets Parquet files.",
)
@click.option(
    "--out", metavar="DIR", help="Folder or address for the Parquet files of --ray; a job goes on there."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Workers of --ray, each with an engine.  [default: all CPUs]",
)
@click.option("--dry-run", is_flag=True, help="Answer a sample of --ray, and say how long the whole takes.")
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    help="What the cluster costs an hour, to say what --dry-run's whole costs.",
)
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do at an utterance that cannot be answered: end there, or print the reason and go on.",
)
@engine_options
@tuned_for_option
@batch_options
@limit_options
def predict(
    bundle: Path,
    audio: tuple[Path, ...],
    text: str | None,
    text_file: Path | None,
    manifest: str | None,
    columns: dict[str, str] | None,
    style: str,
    top_k: int | None,
    abstain: float | None,
    embeddings: Path | None,
    transcribe: str | None,
    reasons: bool,
    plot: Path | None,
    cluster: str | None,
    out: str | None,
    workers: int | None,
    dry_run: bool,
    price: float | None,
    on_error: Literal["fail", "skip"],
    engine: str,
    device: str,
    precision: str,
    threads: int | None,
    tuned_for: TunedFor,
    batch_size: int | None,
    batch_seconds: float,
    max_seconds: float,
    max_characters: int,
) -> None:
    """Predict the emotion of each AUDIO file and its transcript.

    Reads wav, flac, ogg and mp3 of any sample rate and number of channels; mp4 and other containers need
    mtab[video]. A clip is never cut. A transcript is cut to what the text encoder takes, and the result
    says so.

    Answers are printed as they come, so that an interruption or an error keeps those before it. With
    --on-error skip the exit code is 0 if at least one utterance has an answer.

    With --ray an archive is answered on a cluster. Every row of it is a row of the output, with an answer or
    an error, and a job that was stopped goes on where it was.

    \b
    Examples:
      mtab predict bundle clip.wav --text "I never said that!"
      mtab predict bundle a.wav b.wav --text-file transcripts.txt --format json
      mtab predict bundle clip.wav --text "I never said that!" --plot why.png
      mtab predict bundle recordings --on-error skip
      mtab predict bundle --manifest recordings.csv --on-error skip --format csv > emotions.csv
      mtab predict bundle --ray local --manifest recordings.csv --out emotions
    """
    if cluster is not None:
        if manifest is None or audio or text is not None or text_file is not None:
            raise click.UsageError("--ray needs --manifest, and none of AUDIO, --text and --text-file")
        if (out is None) != dry_run:
            raise click.UsageError("give --ray one of --out and --dry-run")
        if reasons or transcribe is not None or plot is not None or embeddings is not None:
            raise click.UsageError("--ray answers without --reasons, --transcribe, --plot and --embeddings")
        asking = plugin("archive.asking")(
            bundle,
            device,
            engine,
            precision,
            threads or 1,
            tuned_for,
            Limits(max_seconds, max_characters),
            top_k,
            abstain,
            batch_size,
            batch_seconds,
            tuple((columns or {}).items()),
        )
        plugin("archive.run")(asking, manifest, out, cluster, workers, price)
        return
    if out is not None or workers is not None or dry_run or price is not None:
        raise click.UsageError("--out, --workers, --dry-run and --price need --ray")
    if (text is not None) + (text_file is not None) + (manifest is not None) > 1:
        raise click.UsageError("give one of --text, --text-file and --manifest")
    if manifest is not None and audio:
        raise click.UsageError("give AUDIO or --manifest, not both")
    audio = recordings(audio, skip=on_error == "skip")
    if text is not None and len(audio) > 1:
        raise click.UsageError(
            f"--text is one transcript, expected one AUDIO, got {len(audio)}; see --text-file"
        )
    if columns is not None and manifest is None:
        raise click.UsageError("--columns needs --manifest")
    if manifest is None and not audio and text is None:
        raise click.UsageError("give AUDIO, --text or --manifest")
    if reasons and style not in ("json", "jsonl"):
        raise click.UsageError(f"--reasons needs --format json or jsonl, got {style}")
    if (reasons or plot is not None) and embeddings is not None:
        raise click.UsageError("give --embeddings or one of --reasons and --plot")
    if plot is not None:
        from mtab.plot import require_picture

        require_picture(plot)

    from mtab.inputs import Input
    from mtab.loading import load
    from mtab.output import STYLES, printed, saved_embeddings
    from mtab.results import Failure, ResultOptions

    if manifest is not None:
        utterances = _read_manifest(Path(manifest), columns)
    elif text_file is not None:
        utterances = _utterances(audio, _read_texts(text_file, len(audio)))
    else:
        utterances = _utterances(audio or (None,), (text,) * (len(audio) or 1))
    if plot is not None and len(utterances) > 1:
        raise click.UsageError(f"{len(utterances)} utterances, expected one for --plot")
    wanted = cast(Precision | Literal["auto"], precision)
    model = load(bundle, device, engine=engine, precision=wanted, threads=threads, tuned_for=tuned_for)
    model.limits = Limits(max_seconds, max_characters)
    names = [utterance.id for utterance in utterances]
    inputs = (Input(each.audio, each.text, *each.span, name=each.id) for each in utterances)
    batches = model.batch_limits(batch_size, batch_seconds)
    if reasons or plot is not None:
        answers = _explained(
            model, inputs, ResultOptions(top_k, abstain), transcribe, batches, on_error, plot
        )
    else:
        answers = model.stream(
            inputs,
            top_k=top_k,
            abstain=abstain,
            return_embedding=embeddings is not None,
            transcribe=transcribe,
            on_error="skip" if on_error == "skip" else "raise",
            batch_size=batches.utterances,
            batch_seconds=batches.seconds,
        )
    failed, first = 0, None
    with ExitStack() as stack:
        writers = [stack.enter_context(printed(STYLES[style](names, model.labels, model.dimensions)))]
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


def _explained(
    model: "Model",
    inputs: "Iterable[Input]",
    options: "ResultOptions",
    transcribe: str | None,
    batches: "BatchLimits",
    on_error: Literal["fail", "skip"],
    plot: Path | None,
) -> "Iterator[Explanation | Failure]":
    """Each answer with its reasons, and a picture of it to ``plot``."""
    from mtab.results import Failure
    from mtab.transcribe import as_transcriber

    transcriber = None if transcribe is None else as_transcriber(transcribe)
    for each in inputs:
        audio, text, start, end, rate, name = each
        try:
            explanation = model.explain(
                audio,
                text,
                sampling_rate=rate,
                start=start,
                end=end,
                name=name,
                transcribe=transcriber,
                batch_size=batches.utterances,
                batch_seconds=batches.seconds,
            )
        except MtabError as error:
            if on_error == "fail":
                raise
            yield Failure(str(name), error)
            continue
        explanation = dataclasses.replace(explanation, result=options.apply(explanation.result))
        if plot is not None:
            from mtab.plot import draw

            draw(explanation, plot, str(name))
        yield explanation


def _utterances(audio: Sequence[Path | None], texts: Sequence[str | None]) -> "list[Utterance]":
    from mtab.data import Utterance

    return [
        # A file's name may hold bytes that no output can show.
        Utterance(id="text" if path is None else click.format_filename(path), audio=path, text=text, label="")
        for path, text in zip(audio, texts, strict=True)
    ]


def _read_texts(path: Path, expected: int) -> list[str]:
    """The lines of a UTF-8 file, with or without a byte order mark."""
    from mtab.data.text_files import read_utf8

    text = read_utf8(path, "a file with a transcript a line")
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    for number, line in enumerate(lines, start=1):
        if "\0" in line or "\ufeff" in line:
            found = "a NUL byte" if "\0" in line else "a byte order mark (U+FEFF)"
            raise TextError(f"{path}:{number}: {found}, expected a transcript in UTF-8")
    if len(lines) != expected:
        raise TextError(f"{path}: {len(lines)} lines, expected one for each of {expected} audio files")
    return lines


def _read_manifest(path: Path, columns: dict[str, str] | None) -> "tuple[Utterance, ...]":
    from mtab.data import read_manifest

    corpus = read_manifest(path, labelled=False, columns=columns)
    match corpus.problems:
        case [first]:
            raise DataError(str(first))
        case [first, *others]:
            raise DataError(f"{first} (and {len(others)} more problems)")
    if not corpus.utterances:
        raise DataError(f"{path}: no utterance, expected a row for each")
    for notice in corpus.notices:
        click.echo(f"Notice: {notice}", err=True)
    return corpus.utterances
