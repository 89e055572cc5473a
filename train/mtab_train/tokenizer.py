"""The tokenizer of a text encoder: its checkpoint's own, or one that is learned from scratch."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from mtab.errors import ConfigError
from mtab.files import atomic_file
from mtab.text import checked_text

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""RoBERTa's, in the order of their ids."""


def train_tokenizer(texts: Iterable[str], vocab_size: int, path: str | Path) -> int:
    """Learn a byte-level BPE with RoBERTa's special tokens, write it to ``path``, return its vocabulary size.

    The size is smaller than ``vocab_size`` where the texts hold too few pairs to merge. The same texts give
    the same file. Raises `ConfigError` if ``vocab_size`` has no room for 256 bytes and 5 special tokens, and
    `TextError` as `mtab.text.Tokenizer`.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(SPECIAL_TOKENS) + len(alphabet)
    if vocab_size < smallest:
        raise ConfigError(f"vocabulary of {vocab_size} tokens, expected at least {smallest}")
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    # As in RoBERTa, the mask takes the space before it.
    special = [AddedToken(t, lstrip=t == "<mask>", normalized=False, special=True) for t in SPECIAL_TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(map(checked_text, texts), trainer)
    end, start = ((token, SPECIAL_TOKENS.index(token)) for token in ("</s>", "<s>"))
    backend.post_processor = processors.RobertaProcessing(end, start, add_prefix_space=False)
    with atomic_file(path) as partial:
        backend.save(str(partial))
    return backend.get_vocab_size()


def save_tokenizer(source: str, config: dict[str, Any], path: str | Path) -> int:
    """Write a checkpoint's tokenizer (hub id or folder) to ``path``, return its vocabulary size.

    A checkpoint that has no ``tokenizer.json`` is converted by transformers, BERT's ``vocab.txt`` say. Raises
    `ConfigError` if there is none, or it does not fit the encoder that ``config`` describes.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # the library raises whatever a value happens to break
        raise ConfigError(f"{source}: has no tokenizer that can be read ({_one_line(error)})") from None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ConfigError(f"{source}: its tokenizer has no tokenizer.json, expected a fast one")
    vocabulary = backend.get_vocab()
    # Where a checkpoint holds none, transformers makes one of special tokens alone.
    if len(vocabulary) <= len(tokenizer.all_special_ids):
        raise ConfigError(f"{source}: a tokenizer of {len(vocabulary)} tokens, expected one with words")
    if (largest := max(vocabulary.values())) >= config["vocab_size"]:
        most = config["vocab_size"] - 1
        raise ConfigError(f"{source}: its tokenizer has id {largest}, expected at most {most} for its model")
    if (pad := tokenizer.pad_token_id) != (expected := config["pad_token_id"]):
        raise ConfigError(f"{source}: its tokenizer pads with id {pad}, expected {expected} as its model")
    if backend.num_special_tokens_to_add(is_pair=False) < 2:
        raise ConfigError(
            f"{source}: its tokenizer puts no special tokens around a text, expected those of its model"
        )
    # A checkpoint's own lengths, of training say, are none of ours.
    backend.no_truncation()
    backend.no_padding()
    with atomic_file(path) as partial:
        backend.save(str(partial))
    return len(vocabulary)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
