"""What goes wrong with a transcript."""

import math

import mtab
from cases import Case, Place
from mtab.errors import DataError, TextError


def predict(place: Place, *options: object) -> list[object]:
    return ["mtab", "predict", place.bundle, place.clip, *options]


def call(place: Place, text: object) -> None:
    mtab.load(place.bundle, "cpu", threads=1).predict(place.clip, text=text)  # pyright: ignore


CASES = (
    Case(
        "No transcript, for a model that was trained with both",
        lambda place: predict(place),
        TextError,
        "<FILE>: no transcript, expected one: <REASON>",
    ),
    Case(
        "White space alone counts as no transcript",
        lambda place: predict(place, "--text", "  "),
        TextError,
        "<FILE>: no transcript, expected one: <REASON>",
    ),
    Case(
        "A transcript longer than `--max-characters`",
        lambda place: predict(place, "--text", "so it is", "--max-characters", 4),
        TextError,
        "<FILE>: text of 8 characters, expected at most 4",
    ),
    Case(
        "A lone surrogate",
        lambda place: call(place, "a\ud800b"),
        TextError,
        "<NAME>: text has the lone surrogate U+D800 at 1, expected valid Unicode",
        None,
    ),
    Case(
        "NaN for a transcript, as tables have it where a cell is empty",
        lambda place: call(place, math.nan),
        TextError,
        "<NAME>: text is float, expected a string",
        None,
    ),
    Case(
        "A `--text-file` of another encoding than UTF-8",
        lambda place: predict(place, "--text-file", place.file("t.txt", b"gr\xfc\xdfe\n")),
        DataError,
        "<FILE>: is not UTF-8 (line 1, byte 3: 0xFC, <REASON>), expected UTF-8: <WHAT>",
    ),
    Case(
        "A `--text-file` of more lines than clips",
        lambda place: predict(place, "--text-file", place.file("t.txt", "one\ntwo\n")),
        TextError,
        "<FILE>: 2 lines, expected one for each of 1 audio files",
    ),
)
