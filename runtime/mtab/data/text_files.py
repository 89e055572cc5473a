"""Text files as they are: UTF-8 or refused, and for corpora that are known to be damaged, mended and said."""

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path

from mtab.data.records import Problem
from mtab.errors import DataError

LINE_END = re.compile(r"\r\n|\r|\n")
# The longer marks first: UTF-32's begins as UTF-16's does.
_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# windows-1252 as browsers read it: what cp1252 leaves undefined is a control character. Python decodes a
# byte that is not UTF-8 to a surrogate (0xDC00 + byte); some copies of the corpora hold cp1252's punctuation
# (0x80-0x9F) as the control characters of the same numbers.
_CP1252 = {
    byte: bytes([byte]).decode("cp1252")
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)  # undefined there
}
_MENDED = {0xDC00 + byte: _CP1252.get(byte, chr(byte)) for byte in range(0x80, 0x100)} | _CP1252
_DAMAGE = re.compile("[" + "".join(map(chr, _MENDED)) + "]")


def read_utf8(file: Path, expected: str) -> str:
    """A user's text file: UTF-8, with or without a byte order mark, NUL bytes and line ends as they are.

    Raises `DataError`, with the line and the byte within it (both from 1), if it is anything else;
    ``expected`` ends its message.
    """
    content = _read_bytes(file, expected)
    for mark, encoding in _OTHER_MARKS.items():
        if content.startswith(mark):
            raise DataError(
                f"{file}: is {encoding} (line 1, byte 1: its byte order mark), expected UTF-8: {expected}"
            )
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        # Latin-1 keeps one character a byte, and the line ends.
        *ends, last = LINE_END.split(content[: error.start].decode("latin-1"))
        found = f"line {len(ends) + 1}, byte {len(last) + 1}: 0x{content[error.start]:02X}, {error.reason}"
        raise DataError(f"{file}: is not UTF-8 ({found}), expected UTF-8: {expected}") from None


def read_mended(file: Path, notices: list[Problem]) -> str:
    """An annotation file of a corpus that passed through many hands: UTF-8 with stray bytes of cp1252.

    Only those bytes are mended; a notice counts the lines that hold one. Raises `DataError` if the file
    cannot be read.
    """
    content = _read_bytes(file, "a readable annotation file")
    text = content.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    damaged = [number for number, line in _lines(text) if _DAMAGE.search(line)]
    if damaged:
        found = f"{len(damaged)} lines hold characters of cp1252 in place of UTF-8, read as such"
        notices.append(Problem(file, f"{found}; the first is line {damaged[0]}", damaged[0]))
    return text.translate(_MENDED)


def read_lines(file: Path, notices: list[Problem]) -> Iterator[tuple[int, str]]:
    """Lines of an annotation file with their ends, numbered from 1; `read_mended`."""
    return _lines(read_mended(file, notices))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return enumerate(io.StringIO(text, newline=None), start=1)


def _read_bytes(file: Path, expected: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}, expected {expected}") from None
