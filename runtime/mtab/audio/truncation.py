"""Whether a file is as long as it promises, told from its own structure.

Decoders hand out what is left of a damaged file without a word. wav, W64, CAF, AIFF, AU and VOC say how many
bytes of samples they hold, NIST SPHERE and AVR how many samples, an Ogg marks its last page, and an mp3 may
have a header that counts its frames.
"""

import io
import os
import re
from dataclasses import dataclass
from typing import BinaryIO, Literal, NamedTuple, cast

from mtab.errors import AudioError

# A wav written to a pipe has 0 or 0xFFFFFFFF for a size, or a value near 0x7FFFFFFF of whole frames.
_NO_RIFF_SIZE = 0x7FFF_0000
# And the other formats at least this, by the bytes of a size.
_NO_SIZE = {3: 0xFF_FFFF, 4: 0xFFFF_FFFF, 8: 2**62}
_MAX_OGG_PAGE = 65_307
_FIRST_PAGE = re.compile(rb"OggS\x00[\x02\x03\x06\x07]")
_LATER_PAGE = re.compile(rb"OggS\x00[\x00\x01\x04\x05]")
# Where in a frame the header is depends on its version and channels.
_XING = re.compile(rb"\xff[\xe2-\xff](?:.{15}|.{11}|.{19}|.{34})(?:Xing|Info)", re.DOTALL)
_SPHERE_COUNT = re.compile(rb"^(sample_count|sample_n_bytes|channel_count) -\w+ (\d+)", re.MULTILINE)
_EXTENSIBLE, _MP3 = 0xFFFE, 0x55


@dataclass(frozen=True, slots=True)
class _Layout:
    """A file of chunks: where the first begins, the bytes of a chunk's name and of its size, the bytes that
    chunks are aligned to, whether a size counts the chunk's head, and the names of the samples' chunk."""

    first: int
    name: int
    size: int
    order: Literal["big", "little"]
    align: int
    data: tuple[bytes, ...]
    with_head: bool = False


_WAV = _Layout(12, 4, 4, "little", 2, (b"data",))
_LAYOUTS = {
    b"RIFF": _WAV,
    b"RF64": _WAV,
    b"BW64": _WAV,
    b"RIFX": _Layout(12, 4, 4, "big", 2, (b"data",)),
    b"riff": _Layout(40, 16, 8, "little", 8, (b"data",), with_head=True),
    b"caff": _Layout(8, 4, 8, "big", 1, (b"data",)),
    b"FORM": _Layout(12, 4, 4, "big", 2, (b"SSND", b"BODY")),
    b"Crea": _Layout(26, 1, 3, "little", 1, (b"\x01", b"\x09")),
}
_AU: dict[bytes, Literal["big", "little"]] = {b".snd": "big", b"dns.": "little"}

TAGLESS = (*_LAYOUTS, *_AU, b"OggS", b"fLaC")
"""How formats begin that have tags of their own."""


class _Chunk(NamedTuple):
    """What a chunk of samples holds: from where on, how many bytes by its head, how many there are."""

    offset: int
    promised: int
    available: int


def require_whole(file: BinaryIO) -> None:
    """Raise `AudioError` if a file ends before its samples do, in a format that says where that is."""
    magic = magic_of(file)
    if layout := _LAYOUTS.get(magic):
        if layout.first == 12 and layout.data == (b"data",):
            whole_wav(file)
        elif chunk := _samples_chunk(file, layout)[0]:
            _require_all(chunk, layout.size)
    elif order := _AU.get(magic):
        file.seek(4)
        head = file.read(8)
        offset, promised = (int.from_bytes(part, order) for part in (head[:4], head[4:]))
        _require_all(_Chunk(offset, promised, _size(file) - offset), 4)
    elif magic == b"NIST":
        if chunk := _sphere_samples(file):
            _require_all(chunk, 8)
    elif magic == b"2BIT":
        _require_all(_avr_samples(file), 4)
    elif magic == b"OggS":
        require_last_page(file)


def magic_of(file: BinaryIO, place: int = 0) -> bytes:
    """The four bytes that tell a file's format."""
    file.seek(place)
    return file.read(4)


def after_tags(file: BinaryIO) -> int:
    """Where a file's ID3 tags end: 0 for one without."""
    place = 0
    while magic_of(file, place)[:3] == b"ID3":
        head = file.read(6)
        # Four times seven bits, without the tag's head and, where one is flagged, its foot.
        size = sum(byte << 7 * i for i, byte in enumerate(reversed(head[2:])))
        place += 10 + size + (10 if head[1:2] > b"" and head[1] & 0x10 else 0)
    return place


def is_chain(file: BinaryIO) -> bool:
    """Whether recordings were put one behind the other in an ogg or mp3: libsndfile reads the first alone."""
    if magic_of(file) == b"OggS":
        file.seek(0)
        content = file.read()
        later = _LATER_PAGE.search(content)
        return later is not None and _FIRST_PAGE.search(content, later.end()) is not None
    if not has_xing(file):
        return False
    file.seek(0)
    return len(_XING.findall(file.read())) > 1


def whole_wav(file: BinaryIO) -> BinaryIO:
    """The wav itself, or a copy that libsndfile reads whole; `AudioError` if it is truncated.

    A copy is made where it was written to a pipe with a size of 0, and of the mp3 that a wav may hold.
    """
    layout = _LAYOUTS[magic_of(file)]
    chunk, heads = _samples_chunk(file, layout)
    if chunk is None:
        return file  # libsndfile says what is wrong with it
    offset, size, available = chunk
    file.seek(4)
    riff_size = int.from_bytes(file.read(4), layout.order)
    # A size of 0 may be true: then the file is at its end, or RIFF's own size counts another chunk.
    unsized = size == 0 and available and not offset < riff_size + 8 < _NO_RIFF_SIZE
    if long_size := heads.get(b"ds64", b"")[8:16]:
        size = int.from_bytes(long_size, "little")
    sized = bool(long_size) or not (unsized or size >= _NO_RIFF_SIZE)
    if sized and available < size:
        raise AudioError(f"truncated: holds {available} bytes of samples, expected {size} by its header")
    form = heads.get(b"fmt ", b"")
    code = int.from_bytes(form[:2], layout.order)
    if code == _EXTENSIBLE:
        code = int.from_bytes(form[24:26], layout.order)
    if code == _MP3:
        file.seek(offset)
        return cast(BinaryIO, io.BytesIO(file.read(size if sized else -1)))
    if unsized:
        file.seek(0)
        content = bytearray(file.read())
        content[offset - 4 : offset] = min(available, 2**32 - 1).to_bytes(4, layout.order)
        return cast(BinaryIO, io.BytesIO(content))
    return file


def require_last_page(file: BinaryIO) -> None:
    """`AudioError` unless an ogg ends with a whole page that is marked as the last."""
    file.seek(max(0, _size(file) - 2 * _MAX_OGG_PAGE))
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    if not whole or not page[5] & 4:
        raise AudioError("truncated: its last Ogg page is not the end of the stream, expected a whole file")


def has_xing(file: BinaryIO) -> bool:
    """Whether a file begins as an mp3 with a Xing (or Info) header that gives the number of its frames."""
    file.seek(after_tags(file))
    frame = file.read(64)
    header = frame[max(frame.find(b"Xing"), frame.find(b"Info"), 0) :]
    flags, frames = int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:12], "big")
    return header[:4] in (b"Xing", b"Info") and bool(flags & 1 and frames)


def _samples_chunk(file: BinaryIO, layout: _Layout) -> tuple[_Chunk | None, dict[bytes, bytes]]:
    """The chunk of samples, None if there is none, and the first bytes of every chunk before it."""
    end = _size(file)
    heads: dict[bytes, bytes] = {}
    place = layout.first
    head_size = layout.name + layout.size
    while place + head_size <= end:
        file.seek(place)
        name = file.read(layout.name)[:4]
        size = int.from_bytes(file.read(layout.size), layout.order)
        if layout.with_head:
            size = max(0, size - head_size)
        offset = place + head_size
        if name in layout.data:
            return _Chunk(offset, size, end - offset), heads
        heads[name] = file.read(min(size, 40))
        place = offset + size + -size % layout.align
    return None, heads


def _sphere_samples(file: BinaryIO) -> _Chunk | None:
    """The samples of a NIST SPHERE by the lines of its head; None where they are compressed."""
    file.seek(8)
    size = file.read(8).strip()
    offset = int(size) if size.isdigit() else 1_024
    file.seek(0)
    head = file.read(offset)
    if re.search(rb"^sample_coding .*embedded", head, re.MULTILINE):
        return None
    counts = {name: int(count) for name, count in _SPHERE_COUNT.findall(head)}
    width = counts.get(b"sample_n_bytes", 2) * counts.get(b"channel_count", 1)
    return _Chunk(offset, counts.get(b"sample_count", 0) * width, _size(file) - offset)


def _avr_samples(file: BinaryIO) -> _Chunk:
    """The samples of an AVR by its head of 128 bytes: mono or stereo, of 8 or 16 bits."""
    file.seek(12)
    head = file.read(18)
    channels = 2 if head[:2] == b"\xff\xff" else 1
    bits, count = int.from_bytes(head[2:4], "big"), int.from_bytes(head[14:18], "big")
    return _Chunk(128, count * channels * bits // 8, _size(file) - 128)


def _require_all(chunk: _Chunk, size_bytes: int) -> None:
    if chunk.available < chunk.promised < _NO_SIZE[size_bytes]:
        found = f"holds {max(0, chunk.available)} bytes of samples"
        raise AudioError(f"truncated: {found}, expected {chunk.promised} by its header")


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
