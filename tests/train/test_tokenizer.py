"""Tokenizers: learned from texts, and taken from a checkpoint."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors
from transformers import BertTokenizer, PreTrainedTokenizerFast

from mtab.errors import ConfigError, TextError
from mtab.text import Tokenizer
from mtab_train.tokenizer import SPECIAL_TOKENS, save_tokenizer, train_tokenizer

CORPUS = [
    "I never said that!",
    "You said you would never, ever say that.",
    "Oh my God, oh my God. She's here, isn't she?",
    "That's the best thing I've heard all year; 1994 was worse.",
    "Das weiß ich doch nicht — naïve façade, 日本語, 😀😀.",
] * 3


def test_a_trained_vocabulary(tmp_path: Path) -> None:
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


WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "never",
    "said",
    "say",
    "##ing",
    "i",
    "that",
    "!",
    "so",
    "Ich",
]
BERT = {"vocab_size": len(WORDS), "pad_token_id": 0}
TEXTS = ["I never said that!", "SAYING so", "[CLS] ich ...", " \n", "\u00cf never"]


def checkpoint(folder: Path, lower: bool = True, **values: Any) -> str:
    """A BERT's configuration and ``vocab.txt``, as they were published before there was a tokenizer.json."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **BERT, **values}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    return str(folder)


@pytest.mark.parametrize("lower", [True, False])
def test_a_vocabulary_of_wordpieces_is_enough(tmp_path: Path, lower: bool) -> None:
    """Against `tokenizers`' own BERT tokenizer, through the file that every runtime reads."""
    path = tmp_path / "tokenizer.json"
    assert save_tokenizer(checkpoint(tmp_path / "bert", lower), BERT, path) == len(WORDS)
    published = tokenizers.BertWordPieceTokenizer(str(tmp_path / "bert" / "vocab.txt"), lowercase=lower)
    published._tokenizer.encode_special_tokens = True
    tokenizer = Tokenizer(path, 512)
    for text in TEXTS:
        assert tokenizer(text)[0].tolist() == published.encode(text).ids, text
    known = tokenizer("never saying that!")[0].tolist()
    assert known == [2, 5, 7, 8, 10, 11, 3]
    assert 13 not in tokenizer("ICH")[0]


def test_the_lengths_of_a_checkpoint_are_left_behind(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "bert")
    backend = BertTokenizer.from_pretrained(folder).backend_tokenizer
    backend.enable_truncation(4)
    backend.enable_padding(length=4)
    backend.save(f"{folder}/tokenizer.json")
    save_tokenizer(folder, BERT, tmp_path / "tokenizer.json")
    saved = json.loads((tmp_path / "tokenizer.json").read_text())
    assert (saved["truncation"], saved["padding"]) == (None, None)
    assert len(Tokenizer(tmp_path / "tokenizer.json", 512)("never saying that!")[0]) == 7


def test_a_tokenizer_of_unigrams_fits_xlm_roberta(tmp_path: Path) -> None:
    pieces = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [("▁nie", -1.0), ("wie", -2.0), ("m", -3.0), ("▁", -4.0)]
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    folder = tmp_path / "xlm"
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>").save_pretrained(
        folder
    )
    config = {"model_type": "xlm-roberta", "vocab_size": 8, "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config))
    save_tokenizer(str(folder), config, tmp_path / "tokenizer.json")
    ids = Tokenizer(tmp_path / "tokenizer.json", 512)("nie wiem")[0].tolist()
    assert ids == [0, 4, 7, 5, 6, 2]


def without_template(folder: str) -> None:
    backend = BertTokenizer.from_pretrained(folder).backend_tokenizer
    backend.post_processor = processors.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]").save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "config", "message"),
    [
        (None, {"vocab_size": 12}, "its tokenizer has id 13, expected at most 11 for its model"),
        (None, {"pad_token_id": 1}, "its tokenizer pads with id 0, expected 1 as its model"),
        (without_template, {}, "its tokenizer puts no special tokens around a text, expected those of"),
        (lambda folder: Path(folder, "vocab.txt").unlink(), {}, "a tokenizer of 5 tokens, expected one with"),
        (
            lambda folder: Path(folder, "tokenizer.json").write_text("{"),
            {},
            "has no tokenizer that can be read",
        ),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(
    tmp_path: Path, spoil: Callable[[str], object] | None, config: dict, message: str
) -> None:
    folder = checkpoint(tmp_path / "bert")
    if spoil is not None:
        spoil(folder)
    with pytest.raises(ConfigError, match=message) as error:
        save_tokenizer(folder, BERT | config, tmp_path / "tokenizer.json")
    assert str(error.value).startswith(folder)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "tokenizer.json").exists()
