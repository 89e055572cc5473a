"""Writes src/text/unicode_tables.inc: what `tokenizers` takes each character for.

Its Rust crates carry several versions of Unicode, so it is asked itself, code point by code point.
``python tools/write_unicode.py`` writes the file, with ``--check`` it only says whether it is up to date. A
minute.
"""

import itertools
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers

TABLES = Path(__file__).parents[1] / "src" / "text" / "unicode_tables.inc"
HEAD = """\
// Written by tools/write_unicode.py from the Python package tokenizers {version}: change it there.
"""
HANGUL = range(0xAC00, 0xD7A4)
"""Their decomposition is computed."""
CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]


def main() -> int:
    content = tables()
    if "--check" not in sys.argv[1:]:
        TABLES.write_text(content, encoding="utf-8")
        return 0
    if not TABLES.is_file() or TABLES.read_text(encoding="utf-8") != content:
        print(f"{TABLES}: out of date, run python {Path(__file__).name}", file=sys.stderr)
        return 1
    return 0


def tables() -> str:
    """The file as it should be."""
    byte_level = {c: _byte_level_class(c) for c in CHARACTERS}
    bert = {c: len(_bert_pieces(f"a{c}a")) for c in CHARACTERS}
    clean = _normalizer(clean_text=True)
    spaces = {c for c in CHARACTERS if bert[c] == 2}
    removed = [c for c in CHARACTERS if clean(c) == ""]
    blanked = {c for c in CHARACTERS if clean(c) == " "}
    _expect(
        blanked == spaces - set(removed), "white space is the same to the normalizer and the pre-tokenizer"
    )
    _expect(set(_of(byte_level, "space")) == spaces == set(_strippable()), "white space is the same to all")
    parts = [
        _ranges("Letters", "\\p{L} of ByteLevel's pattern", _of(byte_level, "letter")),
        _ranges("Numbers", "\\p{N} of it", _of(byte_level, "number")),
        _ranges("Spaces", "White space, to all of them", spaces),
        _ranges("Words", "\\w beside an added token that is a single word", _words()),
        _ranges("Dropped", "What BertNormalizer drops from a text", removed),
        _ranges("Punctuation", "What BertPreTokenizer makes a word of its own", _of(bert, 3)),
        _ranges("Ideographs", "What BertNormalizer puts blanks around", _ideographs()),
        _ranges("Blanks", "What Python's str.strip takes away", filter(str.isspace, CHARACTERS)),
        *_accents(),
        _mapping("Lowercase", "What BertNormalizer makes of an upper-case letter", _lowercase()),
    ]
    return HEAD.format(version=tokenizers.__version__) + "\n" + "\n".join(parts)


def _of(classes: Mapping[str, object], wanted: object) -> list[str]:
    return [c for c, found in classes.items() if found == wanted]


def _byte_level_class(c: str) -> str:
    """By which of its neighbours it stays together with."""
    pieces = _BYTE_LEVEL.pre_tokenize_str(f"a{c}1{c}!{c}")
    starts = {start for _, (start, _) in pieces}
    for name, start in (("letter", 1), ("number", 3), ("other", 5)):
        if start not in starts:
            return name
    return "space"


_BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)


def _bert_pieces(text: str) -> list[tuple[str, tuple[int, int]]]:
    return _BERT.pre_tokenize_str(text)


_BERT = pre_tokenizers.BertPreTokenizer()


def _normalizer(**chosen: bool) -> Callable[[str], str]:
    none = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    return normalizers.BertNormalizer(**(none | chosen)).normalize_str


def _ideographs() -> list[str]:
    pad = _normalizer(handle_chinese_chars=True)
    return [c for c in CHARACTERS if pad(c) == f" {c} "]


def _words() -> list[str]:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.add_tokens([AddedToken("xx", single_word=True, normalized=False)])

    def beside(batch: list[str], line: str) -> set[str]:
        text = "".join(line.format(c) for c in batch)
        width = len(line.format("c"))
        alone = {start // width for start, _ in backend.encode(text).offsets}
        return {c for number, c in enumerate(batch) if number not in alone}

    before = {c for batch in _batches() for c in beside(batch, "{}xx!")}
    after = {c for batch in _batches() for c in beside(batch, "xx{}!")}
    _expect(before == after, "the same characters are words before and after")
    return sorted(before)


def _strippable() -> list[str]:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.add_tokens([AddedToken("xx", rstrip=True, normalized=False)])
    found = []
    for batch in _batches():
        ends = {end for _, end in backend.encode("".join(f"xx{c}!" for c in batch)).offsets}
        found += [c for number, c in enumerate(batch) if 4 * number + 3 in ends]
    return found


def _batches() -> Iterator[list[str]]:
    for start in range(0, len(CHARACTERS), 4096):
        yield CHARACTERS[start : start + 4096]


def _accents() -> list[str]:
    """NFD without marks, and what it needs to be in order."""
    nfd = normalizers.NFD().normalize_str
    strip = _normalizer(strip_accents=True)
    whole = {c: nfd(c) for c in CHARACTERS}
    marks = {c for c in CHARACTERS if strip(c) == "" and whole[c] == c}
    classes = _combining_classes(nfd)
    _expect(set(classes) <= {c for c in CHARACTERS if whole[c] == c}, "what is combined is whole itself")
    starting = marks - set(classes)
    split = {c: d for c, d in whole.items() if d != c and ord(c) not in HANGUL}
    mixed = [d for d in split.values() if starting & set(d)]
    _expect(
        not any((set(classes) - marks) & set(d) for d in mixed), "beside a starting mark nothing is combined"
    )
    starting |= {c for c, d in split.items() if d in mixed and set(d) <= marks}
    stripped = {c: "".join(part for part in d if part not in marks) for c, d in split.items()}
    _expect(all(strip(c) == rest for c, rest in stripped.items()), "NFD and then without marks")
    _expect(all(whole[chr(c)] == unicodedata.normalize("NFD", chr(c)) for c in HANGUL), "Hangul is computed")
    left = {c: number for c, number in classes.items() if c not in marks}
    return [
        _mapping("Unaccented", "A character's canonical decomposition without its marks", stripped),
        _ranges("Marks", "What counts as an accent", marks),
        _ranges("StartingMarks", "Accents that nothing is moved across", starting),
        _numbered("CombiningClasses", "By which marks that are none of those are put in order", left),
    ]


def _combining_classes(nfd: Callable[[str], str]) -> dict[str, int]:
    """The canonical combining class, where it is not 0, by what changes places with what."""
    lowest, highest = "\u0334", "\u0345"
    moving = [
        c
        for c in CHARACTERS
        if nfd(c) == c and (nfd(c + lowest) != c + lowest or nfd(highest + c) != highest + c)
    ]
    known: dict[int, str] = {}
    for c in moving:
        known.setdefault(unicodedata.combining(c), c)
    found: dict[str, int] = {}
    for c in moving:
        same = [
            n for n, other in known.items() if nfd(c + other) == c + other and nfd(other + c) == other + c
        ]
        _expect(len(same) == 1, f"U+{ord(c):04X} has one combining class: {same}")
        found[c] = same[0]
    return found


def _lowercase() -> dict[str, str]:
    lower = _normalizer(lowercase=True)
    return {c: lower(c) for c in CHARACTERS if lower(c) != c}


def _expect(right: bool, what: str) -> None:
    if not right:
        raise AssertionError(f"not so in tokenizers {tokenizers.__version__}: {what}")


def _runs(codes: Iterable[int]) -> list[tuple[int, int]]:
    runs = []
    for _, run in itertools.groupby(enumerate(sorted(codes)), lambda pair: pair[1] - pair[0]):
        codes_of_run = [code for _, code in run]
        runs.append((codes_of_run[0], codes_of_run[-1]))
    return runs


def _ranges(name: str, what: str, characters: Iterable[str]) -> str:
    rows = [f"{{0x{first:X}, 0x{last:X}}}" for first, last in _runs(map(ord, characters))]
    return _array("Range", name, what, rows)


def _numbered(name: str, what: str, numbers: dict[str, int]) -> str:
    rows = []
    for number in sorted(set(numbers.values())):
        for first, last in _runs(ord(c) for c, found in numbers.items() if found == number):
            rows.append((first, f"{{{{0x{first:X}, 0x{last:X}}}, {number}}}"))
    return _array("NumberedRange", name, what, [row for _, row in sorted(rows)])


def _mapping(name: str, what: str, mapping: dict[str, str]) -> str:
    """Runs of characters that are mapped alike, and apart those that are mapped to several or to none."""
    single = [(ord(c), ord(to), 1) for c, to in sorted(mapping.items()) if len(to) == 1]
    rows: list[list[int]] = []
    for code, to, _ in single:
        last = rows[-1] if rows else None
        step = code - last[1] if last else 0
        if last and code - to == last[0] - last[3] and step in (1, 2) and last[2] in (0, step):
            last[1], last[2] = code, step
        else:
            rows.append([code, code, 0, to])
    moved = [f"{{0x{a:X}, 0x{b:X}, {step or 1}, {to - a}}}" for a, b, step, to in rows]
    several = {c: to for c, to in sorted(mapping.items()) if len(to) != 1}
    longest = max(map(len, several.values()), default=0)
    _expect(longest <= 3, f"at most 3 characters for one, not {longest}")
    spread = [f"{{0x{ord(c):X}, {{{', '.join(f'0x{ord(d):X}' for d in to)}}}}}" for c, to in several.items()]
    return _array("Shift", name, what, moved) + "\n" + _array("Expansion", name + "Several", what, spread)


def _array(kind: str, name: str, what: str, rows: list[str]) -> str:
    lines = [f"// {what}.", f"constexpr {kind} k{name}[] = {{"]
    line = "   "
    for row in rows:
        if len(line) + len(row) + 2 > 108:
            lines.append(line)
            line = "   "
        line += f" {row},"
    return "\n".join([*lines, line, "};"]) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
