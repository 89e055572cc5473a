"""What goes wrong with a manifest: refused before the first answer."""

from collections.abc import Callable, Sequence

from cases import Case, Place
from mtab.errors import DataError


def manifest(content: str | bytes, *options: object) -> Callable[[Place], Sequence[object]]:
    """Predict the rows of a manifest that lies beside the corpus's clips."""

    def attempt(place: Place) -> Sequence[object]:
        place.file("a.wav", place.clip.read_bytes())
        return [
            "mtab",
            "predict",
            place.bundle,
            "--manifest",
            place.file("m.csv", content),
            "--on-error",
            "skip",
            *options,
        ]

    return attempt


CASES = (
    Case(
        "The manifest does not exist",
        lambda place: ["mtab", "predict", place.bundle, "--manifest", place.folder / "none.csv"],
        DataError,
        "<FILE>: not found, expected a CSV file with a column audio or text",
    ),
    Case(
        "No row below the header",
        manifest("audio,text\n"),
        DataError,
        "<FILE>: no utterance, expected a row for each",
    ),
    Case(
        "A row with more cells than the header",
        manifest("audio,text\na.wav,Well, no\n"),
        DataError,
        "<FILE>:2: 3 cells, expected 2 as in the header; a comma inside a cell needs quotes around the cell",
    ),
    Case(
        "A row with fewer cells than the header",
        manifest("audio,text\na.wav\n"),
        DataError,
        "<FILE>:2: 1 cell, expected 2 as in the header",
    ),
    Case(
        "A quote that is never closed",
        manifest('audio,text\na.wav,"so\na.wav,no\n'),
        DataError,
        "<FILE>:2: a quote opens here that is never closed, expected a closing one",
    ),
    Case(
        "A column given twice",
        manifest("audio,text,text\na.wav,a,b\n"),
        DataError,
        "<FILE>:1: column 'text' given 2 times, expected once",
    ),
    Case(
        "A column is missing",
        manifest("file,text\na.wav,a\n"),
        DataError,
        "<FILE>: no column 'audio', expected audio, text; found file, text; <WAY OUT>",
    ),
    Case(
        "Semicolons for commas",
        manifest("audio;text\na.wav;a\n"),
        DataError,
        "<FILE>:1: columns separated by semicolons, expected commas",
    ),
    Case(
        "Tabs for commas",
        manifest("audio\ttext\na.wav\ta\n"),
        DataError,
        "<FILE>:1: columns separated by tabs, expected commas",
    ),
    Case(
        "`--columns` with the name of a column that is not there",
        manifest("audio,text\na.wav,a\n", "--columns", "text=words"),
        DataError,
        "<FILE>: no column 'words', expected words (--columns); found audio, text",
    ),
    Case(
        "`--columns` with a name that is none of ours",
        manifest("audio,text\na.wav,a\n", "--columns", "txt=text"),
        None,
        "Invalid value for '--columns': unknown column 'txt', expected one of <COLUMNS>",
        2,
    ),
    Case(
        "`--columns` with one column for two of ours",
        manifest("path\na.wav\n", "--columns", "audio=path,text=path"),
        None,
        "Invalid value for '--columns': 'path' is both audio and text, expected a column for each",
        2,
    ),
    Case(
        "UTF-16",
        manifest("audio,text\na.wav,a\n".encode("utf-16")),
        DataError,
        "<FILE>: is UTF-16 (line 1, byte 1: its byte order mark), expected UTF-8: a CSV file",
    ),
    Case(
        "A byte that is not UTF-8",
        manifest(b"audio,text\na.wav,gr\xfc\xdfe\n"),
        DataError,
        "<FILE>: is not UTF-8 (line 2, byte <N>: 0xFC, <REASON>), expected UTF-8: a CSV file",
    ),
    Case(
        "A time that is no number",
        manifest("audio,text,start,end\na.wav,a,x,1\n"),
        DataError,
        "<FILE>:2: start 'x', expected a number",
    ),
)
