"""The words of a text, and the text without one of them."""

import re
import unicodedata
from collections.abc import Iterable

# Scripts written without spaces: Thai, Lao, Myanmar, Khmer, Kana, Han.
_UNSPACED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\u3005-\u3007\u3041-\u3096\u309d-\u309f"
    "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U000323af]"
)


def words_of(text: str) -> list[tuple[int, int]]:
    """Where each word stands: its first character, and that after its last.

    A word is a run of characters without a space or, of a script written without spaces, one character with
    the marks that belong to it.

    >>> text = "Oh, 学校!"
    >>> [text[start:end] for start, end in words_of(text)]
    ['Oh,', '学', '校', '!']
    """
    words: list[tuple[int, int]] = []
    # Whether the next character may belong to the last word, and whether that is one of a run.
    open_word = run = False
    for i, character in enumerate(text):
        if character.isspace():
            open_word = False
            continue
        unspaced = _UNSPACED.match(character) is not None
        mark = unicodedata.category(character).startswith("M")
        if open_word and (mark or (run and not unspaced)):
            words[-1] = (words[-1][0], i + 1)
        else:
            words.append((i, i + 1))
            open_word, run = True, not unspaced
    return words


def without(text: str, start: int, end: int) -> str:
    """``text`` without the word from ``start`` to ``end``, and without the space that it leaves over.

    >>> without("it is high", 3, 5)
    'it high'

    All other words stay words: where the two beside it would become one, a space takes its place.

    >>> without("OK嗎yes", 2, 3)
    'OK yes'
    """
    before, after = text[:start], text[end:]
    if not before or before[-1].isspace():
        after = after.lstrip()
    elif after and not any(map(_stands_alone, (before[-1], after[0]))):
        after = f" {after}"
    return before + after if after else before.rstrip()


def _stands_alone(character: str) -> bool:
    return character.isspace() or _UNSPACED.match(character) is not None


def joined(words: Iterable[str]) -> str:
    """Words as a text: with a space between two, but not within a script that is written without.

    >>> joined(["Oh,", "学", "校", "!"])
    'Oh, 学校!'
    """
    text = ""
    for word in filter(None, words):
        within = _UNSPACED.match(text[-1:]) and (_UNSPACED.match(word) or not word[0].isalnum())
        text += f" {word}" if text and not within else word
    return text
