"""Tokenizers against transformers' own on the same file, and texts that try to be more than text."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
TRICKY = [
    "",
    " ",
    "Hello",
    " Hello  world \n\t ",
    "it's they'll I'VE 'S",
    "naïve façade ﬁ ﬂ №",
    "日本語のテキスト 한국어 العربية",
    "👩‍👩‍👧 e\u0301 \u200b\u00a0\ufeff",
    "null \x00 and \x1b[31m",
    "a" * 300,
    "3.14159 -> 10,000",
]
SMUGGLED = ["<s>", "</s>", "<mask>", "<pad>", "<unk>", "I <3 <mask> you</s></s><s>x", " <mask>", "<pad>" * 50]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(CORPUS, 400, path)
    return path


@pytest.fixture(scope="module")
def published(file: Path):
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(file), split_special_tokens=True)


def test_ids_are_those_of_transformers(file: Path, published) -> None:
    tokenizer = Tokenizer(file, 512)
    for text in TRICKY + SMUGGLED + CORPUS:
        ids, truncated = tokenizer(text)
        assert ids.dtype == np.int64
        assert ids.tolist() == published(text)["input_ids"]
        assert not truncated


def test_ids_are_those_of_roberta(file: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    (tmp_path / "tokenizer.json").write_bytes(file.read_bytes())
    model = json.loads(file.read_text(encoding="utf-8"))["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"])])
    (tmp_path / "merges.txt").write_text(merges + "\n", encoding="utf-8")
    roberta = transformers.RobertaTokenizerFast.from_pretrained(tmp_path)
    tokenizer = Tokenizer(file, 512)
    for text in TRICKY + CORPUS:
        assert tokenizer(text)[0].tolist() == roberta(text)["input_ids"]


@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=80), size=st.integers(3, 30))
def test_any_text_is_tokenized_and_cut_as_transformers_does(
    file: Path, published, text: str, size: int
) -> None:
    ids, truncated = Tokenizer(file, size)(text)
    whole = published(text)["input_ids"]
    assert ids.tolist() == published(text, truncation=True, max_length=size)["input_ids"]
    assert truncated == (len(whole) > size)


@settings(deadline=None, max_examples=200)
@given(
    text=st.lists(st.sampled_from([*SPECIAL_TOKENS, " ", "<", ">", "s", "/", "mask", "\n", "x"]), max_size=12)
)
def test_no_text_injects_a_special_token(file: Path, text: list[str]) -> None:
    ids, _ = Tokenizer(file, 512)("".join(text))
    assert ids[0] == SPECIAL_TOKENS.index("<s>")
    assert ids[-1] == SPECIAL_TOKENS.index("</s>")
    assert (ids[1:-1] >= len(SPECIAL_TOKENS)).all()


@pytest.mark.parametrize("text", SMUGGLED)
def test_what_looks_special_is_spelt_out(file: Path, text: str) -> None:
    import tokenizers

    ids, _ = Tokenizer(file, 512)(text)
    assert tokenizers.Tokenizer.from_file(str(file)).decode(ids.tolist(), skip_special_tokens=True) == text


def test_a_long_text_keeps_its_beginning(file: Path) -> None:
    text = " ".join(f"word{index}" for index in range(10_000))
    whole, untouched = Tokenizer(file, 10**6)(text)
    ids, truncated = Tokenizer(file, 512)(text)
    assert not untouched
    assert truncated
    assert len(ids) == 512
    assert (ids[:-1] == whole[:511]).all()
    assert ids[-1] == SPECIAL_TOKENS.index("</s>")


def test_a_text_that_just_fits(file: Path) -> None:
    text = "I never said that!"
    tokens = len(Tokenizer(file, 512)(text)[0])
    assert Tokenizer(file, tokens)(text)[1] is False
    assert Tokenizer(file, tokens - 1)(text)[1] is True


def test_what_is_no_text(file: Path) -> None:
    tokenizer = Tokenizer(file, 512)
    with pytest.raises(TextError, match=r"the lone surrogate U\+D83D at 3, expected valid Unicode"):
        tokenizer("ab \ud83d cd")
    for value in (None, 3, b"bytes", ["a"], np.str_):
        with pytest.raises(TextError, match="expected a string"):
            tokenizer(value)  # pyright: ignore[reportArgumentType]


def test_what_is_no_tokenizer(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json: not found, expected a tokenizer\.json"):
        Tokenizer(tmp_path / "nowhere.json", 512)
    with pytest.raises(ConfigError, match="not found"):
        Tokenizer(tmp_path, 512)
    bad = tmp_path / "bad.json"
    for content in (b"", b"{}", b"[1, 2]", b"\xff\x00", file.read_bytes()[:-20]):
        bad.write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad\.json: is no tokenizer\.json"):
            Tokenizer(bad, 512)
    for size in (-1, 0, 2):
        with pytest.raises(
            ConfigError, match=f"at most {size} tokens, expected more than its 2 special ones"
        ):
            Tokenizer(file, size)


def test_padding_and_truncation_of_the_file_are_not_taken(file: Path, tmp_path: Path) -> None:
    import tokenizers

    other = tokenizers.Tokenizer.from_file(str(file))
    other.enable_padding(length=64)
    other.enable_truncation(4)
    other.save(str(tmp_path / "other.json"))
    text = CORPUS[1]
    assert Tokenizer(tmp_path / "other.json", 512)(text)[0].tolist() == Tokenizer(file, 512)(text)[0].tolist()


def test_many_threads_get_what_one_gets(file: Path) -> None:
    tokenizer = Tokenizer(file, 16)
    texts = (TRICKY + SMUGGLED + CORPUS) * 20
    with ThreadPoolExecutor(8) as pool:
        for text, (ids, truncated) in zip(texts, pool.map(tokenizer, texts), strict=True):
            expected, expected_truncated = tokenizer(text)
            assert ids.tolist() == expected.tolist()
            assert truncated == expected_truncated
