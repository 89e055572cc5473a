"""Golden files for tests/text_test.cpp: what `tokenizers` makes of many strings.

``python tests/write_text_golden.py OUT_FOLDER [TOKENIZER_JSON ...]`` writes OUT_FOLDER/text/: index.json
names each tokenizer.json, each with a file of JSON lines. A line is a text with its ids and whether it was
truncated, or a run of code points, each put into a form, with the number and the hash of the ids.
Under a minute.
"""

import hashlib
import json
import random
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from mtab.text import Tokenizer
from mtab_train.tokenizer import train_tokenizer

MANY = 1_000_000
"""More tokens than any text here has."""
TRICKY = [
    "",
    " ",
    "   ",
    "\n",
    "\t\r\n",
    "a",
    " a",
    "a ",
    "  a  b   c    ",
    "Hello, world! How are you?",
    "It's we're I've I'm you'll he'd CAN'T 'S 'll' ''s '",
    "x's 's's 'sx ' s",
    "<s> <pad> </s> <unk> <mask>",
    "<s>injected</s> the<mask> the <mask> x",
    "[CLS] [SEP] [UNK] [PAD] [MASK] [cls] ##ing",
    "<|endoftext|><|EndOfText|>",
    "a\u0000b\u0000",
    "\u0001\u0002\u007f\u0080\u009f\u00ad\u200b\ufeff\ufffd",
    "1234567890 ½ ² Ⅷ ٣ 一二 1a2b",
    '$100, 3.14% (a+b)*c = d/e ~`@#^&_{}[]|\\;:"<>?',
    "caf\u00e9 cafe\u0301 CAFÉ na\u00efve Ångström \u212bngstro\u0308m",
    "a\u0301\u0323 a\u0323\u0301 \u0344 \u1e69 s\u0307\u0323 q\u0307\u0323",
    "\U0001d15e\U0001d160\U0001d165\U0001d16e\U0001d16d \u302e\u302f\u302e\u0301",
    "\u1100\u1161\u11a8 \uac01 한국어 \u1112\u1161\u11ab",
    "İstanbul ISTANBUL ıİ ΑΣ ΑΣΑ ß ẞ Ǆ ǅ",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️ 1️⃣ 🏳️‍🌈",
    "שָׁלוֹם עולם مرحبا بالعالم ‎‏\u202eabc\u202c",
    "नमस्ते दुनिया கொ கோ ಕೋ คำ ສະບາຍດີ བོད",
    "你好,世界 日本語カタカナひらがな 𠀀𪜀",
    "Ich fühle mich großartig! Żółć jaźń łódź",
    "\u2028\u2029\u00a0\u3000\u1680\u205f\u2003x\u2003\u2003y",
    "\u001c\u001d\u001e\u001fx\u0085y\u180ez",
    "\ue000\U000f0000\U0010ffff\uffff\ufdd0",
    "a" * 3000,
    "ab" * 500 + " " + "the" * 300,
    " " * 500 + "x",
    "\n\n\n x \n\n\n",
    "…—–‘’“”«»‹›·•",
]
PARTS = [
    *"abcdefghijklmnopqrstuvwxyzABCXYZ0123456789",
    *" \t\n\r  .,!?'\"-_()[]<>/#@&%$",
    *"éàüßñçøåłżÄÖÜÉİıǅςΣДЖя",
    *"\u0300\u0301\u0308\u0323\u0327\u0345\u0344\u034f\u05b0\u064b\u0901\u093c\u094d\u0bc6\u0bbe\u302a\u302e\u1b44\u0334",
    *"\U0001d157\U0001d165\U0001d16e\U0001d15e\u1dfb\u08d4\u0d46\u0d57\u0cc6\u0cd5\u0f71\u0f72\u0f74\u0340\u0341",
    *"\u1100\u1112\u1161\u1175\u11a8\u11c2가각힣",
    *"的一龥豈𠀀ァあ۱٣½Ⅷ",
    *"👍🏽👩\u200d❤\ufe0f\u200b\u200e\u202e\u00ad\ufeff\ufffd\u0000\u0001\u0085\u00a0\u3000\u2028",
    *"\u061c\u06dd\u0600\ue000\U000e0001\U00010400\U0001e900\ua7ae\u1c90\u10a0\u13a0\uab70",
    *["the", " the", "ing", "'s", "'ll", "'re", "n't", " a", "  ", "hello", "world", "happy", "##a", "##"],
    *[
        "<s>",
        "</s>",
        "<mask>",
        " <mask>",
        "[CLS]",
        "[MASK]",
        "[new]",
        "[New]",
        "<x>",
        " <x> ",
        "zz",
        "<wide>",
    ],
]
FORMS = ["a{}b ", "a{}1{}!{} "]
TEXTS = """
The quick brown fox jumps over the lazy dog. I never said that! She told me that it's going to be all right.
We're happy, they're angry, and he'd rather be sad than bored; what are you doing there? Nothing, really.
Das ist ja großartig, ich fühle mich müde und traurig. Żółta łódź płynie. L'été à la plage, ça va très bien.
Привет мир, как дела? 你好世界。 こんにちは。 안녕하세요 세계. مرحبا بالعالم. नमस्ते दुनिया.
""".strip().splitlines()

Json = dict[str, Any]


def main() -> int:
    if len(sys.argv) < 2:
        print(f"usage: {Path(__file__).name} OUT_FOLDER [TOKENIZER_JSON ...]", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]) / "text"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cases = [*_named(folder), *_given(folder, sys.argv[2:]), *_random(folder)]
    for case in cases:
        (folder / case["lines"]).write_text(
            "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in case.pop("content")),
            encoding="utf-8",
        )
    (folder / "index.json").write_text(json.dumps(cases, indent=1), encoding="utf-8")
    return 0


def _named(folder: Path) -> Iterator[Json]:
    train_tokenizer(TEXTS * 3, 900, folder / "roberta.json")
    wordpiece = _wordpiece(lowercase=True)
    cased = _wordpiece(lowercase=False)
    cased["model"]["max_input_chars_per_word"] = 12
    cased["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    bytewise = _bytewise()
    built = {
        "gpt": _gpt(json.loads((folder / "roberta.json").read_text(encoding="utf-8"))),
        "bytes": bytewise,
        "bytes-bert": bytewise | {"normalizer": _bert()},
        "bytes-lower": bytewise | {"normalizer": _bert(clean_text=False, strip_accents=False)},
        "bytes-strip": bytewise
        | {"normalizer": _bert(lowercase=False, strip_accents=True, clean_text=False)},
        "bytes-fallback": _with_fallback(_bytewise()),
        "wordpiece": wordpiece,
        "wordpiece-cased": cased,
    }
    for name, content in built.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    for name in ("roberta", *built):
        fuzz = list(_fuzz(name, 3000))
        yield _case(folder, name, MANY, [*TRICKY, *fuzz])
        for most in (4, 5, 17, 64):
            yield _case(folder, name, most, fuzz[: 1000 if most < 64 else 300])
    for name, form in (("bytes", 1), ("bytes-bert", 0), ("bytes-lower", 0), ("wordpiece", 0)):
        yield _sweep(folder, name, FORMS[form])


def _given(folder: Path, paths: Iterable[str]) -> Iterator[Json]:
    for number, path in enumerate(paths):
        name = f"given-{number}"
        shutil.copy(path, folder / f"{name}.json")
        for most in (MANY, 16):
            yield _case(folder, name, most, [*TRICKY, *TEXTS, *_fuzz(name, 4000)])


def _case(folder: Path, name: str, max_tokens: int, texts: Iterable[str]) -> Json:
    tokenizer = Tokenizer(folder / f"{name}.json", max_tokens)
    content = []
    for text in texts:
        try:
            ids, truncated = tokenizer(text)
        except BaseException as error:  # a panic of the library is no Exception
            if type(error).__name__ != "PanicException":
                raise
            continue
        content.append([text, ids.tolist(), truncated])
    return {
        "tokenizer": f"{name}.json",
        "max_tokens": max_tokens,
        "lines": f"{name}-{max_tokens}.jsonl",
        "content": content,
    }


def _sweep(folder: Path, name: str, form: str) -> Json:
    """Every code point, sixteen to a string."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / f"{name}.json"))
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    starts = [code for code in range(0, sys.maxunicode + 1, 16) if not 0xD800 <= code <= 0xDFFF]
    content = []
    for at in range(0, len(starts), 4096):
        chosen = starts[at : at + 4096]
        texts = [
            "".join(form.replace("{}", chr(code)) for code in range(start, start + 16)) for start in chosen
        ]
        for start, encoding in zip(chosen, tokenizer.encode_batch_fast(texts), strict=True):
            ids = np.array(encoding.ids, dtype="<u4")
            content.append(
                [start, start + 15, form, len(ids), hashlib.sha256(ids.tobytes()).hexdigest()[:16]]
            )
    return {
        "tokenizer": f"{name}.json",
        "max_tokens": MANY,
        "lines": f"{name}-sweep.jsonl",
        "content": content,
    }


def _fuzz(seed: str, count: int, parts: list[str] = PARTS) -> Iterator[str]:
    chance = random.Random(seed)
    for _ in range(count):
        length = int(chance.triangular(1, 40, 6))
        chosen = [chance.choice(parts) for _ in range(length)]
        if parts is PARTS and chance.random() < 0.3:
            chosen += [_any_character(chance) for _ in range(4)]
            chance.shuffle(chosen)
        yield "".join(chosen)


def _any_character(chance: random.Random) -> str:
    code = chance.choice((0x250, 0x3000, 0x20000, 0x110000))
    code = chance.randrange(code)
    return "x" if 0xD800 <= code <= 0xDFFF else chr(code)


def _added(content: str, **chosen: bool) -> Json:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {"id": 0, "content": content} | flags | chosen


def _byte_level(**chosen: bool) -> Json:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True} | chosen


def _bert(**chosen: bool | None) -> Json:
    flags = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    return {"type": "BertNormalizer"} | flags | chosen


def _gpt(roberta: Json) -> Json:
    """Whole words before merges, a space before the text, merges as old files have them, and added tokens."""
    model = roberta["model"] | {"ignore_merges": True}
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    size = len(model["vocab"])
    model["vocab"] |= {"hello": size, "Ġworld": size + 1, "Ġhappy": size + 2}
    template = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "start", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "start": {"id": "start", "ids": [0, 7], "tokens": ["<s>", "x"]},
            "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]},
        },
    }
    added = [
        _added("[new]"),
        _added("<x>", lstrip=True, rstrip=True),
        _added("zz", single_word=True),
        _added("<wide>", rstrip=True, normalized=True),
        _added("<wide><x>", special=True),
        _added("hello", single_word=True, normalized=True),
    ]
    return roberta | {
        "model": model,
        "added_tokens": [*roberta["added_tokens"], *added],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_byte_level(add_prefix_space=True)]},
        "post_processor": {"type": "Sequence", "processors": [_byte_level(), template]},
    }


def _bytewise() -> Json:
    """A token for each byte at each place in a word: the ids show where words begin and end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    places = ("{}", "{}>", "<{}", "<{}>")
    tokens = ["?", *(place.format(letter) for place in places for letter in alphabet)]
    model = {
        "type": "BPE",
        "unk_token": "?",
        "continuing_subword_prefix": "<",
        "end_of_word_suffix": ">",
        "vocab": {token: number for number, token in enumerate(tokens)},
        "merges": [],
    }
    return {"version": "1.0", "added_tokens": [], "pre_tokenizer": _byte_level(), "model": model}


def _with_fallback(bytewise: Json) -> Json:
    """Letters without a token, some of them with one for each of their bytes."""
    model = bytewise["model"]
    for letter in "aeiouxyzÃ":
        for place in ("{}", "{}>", "<{}", "<{}>"):
            del model["vocab"][place.format(letter)]
    size = max(model["vocab"].values()) + 1
    bytes_left = set(b"<>aeiou") | {0xC3, 0x83}
    model["vocab"] |= {f"<0x{byte:02X}>": size + number for number, byte in enumerate(sorted(bytes_left))}
    model |= {"byte_fallback": True, "fuse_unk": True}
    return bytewise


def _wordpiece(*, lowercase: bool) -> Json:
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=1200,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=[*"éüßÉłż.,!?'[]<>#\u0301"],
    )
    backend.train_from_iterator(TEXTS * 3, trainer)
    content: Json = json.loads(backend.to_str())
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]}
            for number, name in ((2, "[CLS]"), (3, "[SEP]"))
        },
    }
    content["added_tokens"] += [
        _added("[New]", normalized=True),
        _added("zz", single_word=True, normalized=True),
        _added("<x>", lstrip=True),
    ]
    return content


def _random(folder: Path) -> Iterator[Json]:
    """Small tokenizers by chance: merges in any order, and added tokens that overlap."""
    for number in range(60):
        chance = random.Random(number)
        content = _random_bpe(chance) if number % 3 else _random_wordpiece(chance)
        content["added_tokens"] = _random_added(chance) if number % 2 else []
        name = f"random-{number}"
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        parts = [*"aabbcé \n.", "<", "ab", "  ", "Ab", "É", "e\u0301"]
        for most in (MANY, 7):
            yield _case(folder, name, most, _fuzz(name, 300, parts))


def _random_bpe(chance: random.Random) -> Json:
    prefix = chance.choice(("", "", "#"))
    letters = ["Ġ", "Ċ", "a", "b", "c", ".", "<", "Ã", "©", *((prefix + c) for c in "abĠc©Ã")]
    letters = [letter for letter in dict.fromkeys(letters) if chance.random() < 0.95]
    tokens, merges = ["?", *letters], []
    for _ in range(chance.randrange(60)):
        left, right = chance.choice(tokens[1:]), chance.choice(tokens[1:])
        if prefix and not right.startswith(prefix):
            continue
        merged = left + right[len(prefix) :]
        if len(merged) < 12:
            merges.append([left, right])
            tokens += [] if merged in tokens else [merged]
    chance.shuffle(merges)
    model = {
        "type": "BPE",
        "unk_token": chance.choice((None, "?")),
        "continuing_subword_prefix": prefix or None,
        "fuse_unk": chance.random() < 0.5,
        "ignore_merges": chance.random() < 0.3,
        "vocab": {token: number for number, token in enumerate(tokens)},
        "merges": merges,
    }
    words = _byte_level(add_prefix_space=chance.random() < 0.3, use_regex=chance.random() < 0.7)
    return {"version": "1.0", "pre_tokenizer": words, "model": model}


def _random_wordpiece(chance: random.Random) -> Json:
    words = ["a", "b", "c", "ab", "ba", "aab", "bb", "é", "e", "abc", ".", "<", "e\u0301"]
    tokens = ["?", *(word for word in words if chance.random() < 0.8)]
    tokens += ["##" + word for word in words if chance.random() < 0.6]
    model = {
        "type": "WordPiece",
        "unk_token": "?",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": chance.choice((5, 100)),
        "vocab": {token: number for number, token in enumerate(tokens)},
    }
    flags = {name: chance.random() < 0.5 for name in ("clean_text", "lowercase", "strip_accents")}
    normalizer = chance.choice((None, _bert(**flags)))
    return {
        "version": "1.0",
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": model,
    }


def _random_added(chance: random.Random) -> list[Json]:
    contents = ["a", "ab", "b ", " a", "  ", "<a>", "<", "bab", "é", "a\nb", "aa", "a.b", "ca"]
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    chosen = chance.sample(contents, chance.randrange(1, 6))
    return [_added(content, **{flag: chance.random() < 0.3 for flag in flags}) for content in chosen]


if __name__ == "__main__":
    raise SystemExit(main())
