"""From a transcript to token ids."""

from pathlib import Path

import numpy as np
import tokenizers

from mtab.errors import ConfigError, TextError


class Tokenizer:
    """A checkpoint's ``tokenizer.json``: text -> token ids with the special tokens around them.

    What looks like a special token in a text is tokenized as the characters that it is, so that no text can
    inject one. Safe to call from several threads.
    """

    def __init__(self, path: str | Path, max_tokens: int) -> None:
        """``max_tokens`` counts the special tokens too.

        Raises `ConfigError` if the file is missing or invalid, or ``max_tokens`` leaves no room for text.
        """
        if not Path(path).is_file():
            raise ConfigError(f"{path}: not found, expected a tokenizer.json")
        try:
            self._backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more precise
            raise ConfigError(f"{path}: is no tokenizer.json ({error})") from None
        special = self._backend.num_special_tokens_to_add(is_pair=False)
        if max_tokens <= special:
            raise ConfigError(
                f"{path}: at most {max_tokens} tokens, expected more than its {special} special ones"
            )
        self.max_tokens = max_tokens
        self._backend.encode_special_tokens = True
        self._backend.no_padding()
        self._backend.enable_truncation(max_tokens)

    def __call__(self, text: str) -> tuple[np.ndarray, bool]:
        """The ids, int64 (tokens,), and whether the text was longer than ``max_tokens`` and lost its end.

        Raises `TextError` if ``text`` is not a string or not valid Unicode.
        """
        encoding = self._backend.encode(checked_text(text))
        return np.array(encoding.ids, dtype=np.int64), bool(encoding.overflowing)

    def spans(self, text: str) -> np.ndarray:
        """Where each token stands, int64 (tokens, 2): its first character, and that after its last.

        A special token stands nowhere: (0, 0). Raises `TextError` as a call.
        """
        encoding = self._backend.encode(checked_text(text))
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        spans[np.array(encoding.special_tokens_mask, dtype=bool)] = 0
        return spans


def checked_text(text: object) -> str:
    """``text`` itself; `TextError` if it is not a string or holds a lone surrogate."""
    if not isinstance(text, str):
        raise TextError(f"text is {type(text).__name__}, expected a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        found = f"the lone surrogate U+{code:04X} at {error.start}"
        raise TextError(f"text has {found}, expected valid Unicode") from None
    return text
