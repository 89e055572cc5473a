"""The command ``mtab``."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtab import __version__
from mtab.console import Command, Group, table
from mtab.errors import DataError, TextError

if TYPE_CHECKING:
    from mtab.data import Utterance
    from mtab.model import Result


@click.group(cls=Group)
@click.version_option(__version__, prog_name="mtab")
def main() -> None:
    """Speech-and-text emotion recognition from a bundle, without torch.

    \b
    Example:
      mtab predict bundle clip.wav --text "I never said that!"
    """


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
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="To read, or with every digit.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N; used or refused.")
@click.option("--threads", type=click.IntRange(min=1), help="Within an operator.  [default: one a core]")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
def predict(
    bundle: Path,
    audio: tuple[Path, ...],
    text: str | None,
    text_file: Path | None,
    manifest: Path | None,
    style: str,
    device: str,
    threads: int | None,
    batch_size: int,
) -> None:
    """The emotion of each AUDIO file, with its transcript.

    wav, flac, ogg and mp3 of any rate and channels; mp4 and other containers with mtab[video]. A clip is
    never cut; a transcript longer than the text encoder takes is, and the result says so.

    \b
    Examples:
      mtab predict bundle clip.wav --text "I never said that!"
      mtab predict bundle a.wav b.wav --text-file transcripts.txt --format json
      mtab predict bundle --manifest recordings.csv --format csv > emotions.csv
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

    from mtab.model import load

    if manifest is not None:
        utterances = _read_manifest(manifest)
    elif text_file is not None:
        utterances = _utterances(audio, _read_texts(text_file, len(audio)))
    else:
        utterances = _utterances(audio or (None,), (text,) * (len(audio) or 1))
    model = load(bundle, device, threads)
    features = []
    for utterance in utterances:
        start, end = utterance.span
        features.append(model.read(utterance.audio, utterance.text, start=start, end=end, name=utterance.id))
    results = model.answer(features, batch_size)
    click.echo(FORMATS[style]([utterance.id for utterance in utterances], results), nl=style != "csv")


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


def _as_table(ids: Sequence[str], results: "Sequence[Result]") -> str:
    rows = []
    for name, result in zip(ids, results, strict=True):
        seconds = "-" if result.duration is None else f"{result.duration:.2f}"
        probabilities = (f"{p:.3f}" for p in result.probabilities.values())
        note = "text truncated" if result.text_truncated else ""
        rows.append((name, result.label, *probabilities, seconds, "+".join(result.modalities), note))
    header = ("utterance", "label", *results[0].probabilities, "seconds", "from", "")
    return table(rows, header)


def _as_record(name: str, result: "Result") -> dict[str, Any]:
    return {
        "utterance": name,
        "label": result.label,
        "probabilities": result.probabilities,
        "duration": result.duration,
        "modalities": list(result.modalities),
        "text_truncated": result.text_truncated,
    }


def _as_json(ids: Sequence[str], results: "Sequence[Result]") -> str:
    records = [_as_record(name, result) for name, result in zip(ids, results, strict=True)]
    return json.dumps(records, indent=2, ensure_ascii=False)


def _as_csv(ids: Sequence[str], results: "Sequence[Result]") -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ("utterance", "label", *results[0].probabilities, "duration", "modalities", "text_truncated")
    )
    for name, result in zip(ids, results, strict=True):
        duration = "" if result.duration is None else result.duration
        truncated = str(result.text_truncated).lower()
        probabilities = result.probabilities.values()
        writer.writerow(
            (name, result.label, *probabilities, duration, "+".join(result.modalities), truncated)
        )
    return stream.getvalue()


FORMATS = {"table": _as_table, "json": _as_json, "csv": _as_csv}
