"""Learning a tokenizer: its vocabulary, what it refuses, the same file from the same texts."""

import subprocess
import sys
from pathlib import Path

import pytest

from mtab.errors import ConfigError, TextError
from mtab.text import Tokenizer
from mtab_train.tokenizer import SPECIAL_TOKENS, train_tokenizer

CORPUS = [
    "I never said that!",
    "You said you would never, ever say that.",
    "Oh my God, oh my God. She's here, isn't she?",
    "That's the best thing I've heard all year; 1994 was worse.",
    "Das weiß ich doch nicht — naïve façade, 日本語, 😀😀.",
] * 3


def test_a_trained_vocabulary(tmp_path: Path) -> None:
    import tokenizers

    size = train_tokenizer(CORPUS, 300, tmp_path / "new" / "tokenizer.json")
    assert size == 300
    trained = tokenizers.Tokenizer.from_file(str(tmp_path / "new" / "tokenizer.json"))
    assert trained.get_vocab_size() == 300
    assert [trained.id_to_token(index) for index in range(5)] == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    # Bytes that the corpus lacks have ids too: nothing is unknown.
    ids, _ = Tokenizer(tmp_path / "new" / "tokenizer.json", 512)("ξ ж \x7f")
    assert SPECIAL_TOKENS.index("<unk>") not in ids
    assert train_tokenizer(["aa"], 5000, tmp_path / "small.json") == 262
    assert train_tokenizer([], 261, tmp_path / "bytes.json") == 261
    with pytest.raises(ConfigError, match="vocabulary of 260 tokens, expected at least 261"):
        train_tokenizer(CORPUS, 260, tmp_path / "none.json")
    with pytest.raises(TextError, match="surrogate"):
        train_tokenizer(["fine", "\udfff"], 300, tmp_path / "none.json")
    assert not list(tmp_path.glob("*none*"))


def test_training_is_deterministic(tmp_path: Path) -> None:
    # Another process has other hash seeds.
    code = f"from mtab_train.tokenizer import train_tokenizer; train_tokenizer({CORPUS!r}, 400, 'b.json')"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    train_tokenizer(CORPUS, 400, tmp_path / "a.json")
    train_tokenizer(iter(CORPUS), 400, tmp_path / "c.json")
    first = (tmp_path / "a.json").read_bytes()
    assert (tmp_path / "b.json").read_bytes() == first
    assert (tmp_path / "c.json").read_bytes() == first
