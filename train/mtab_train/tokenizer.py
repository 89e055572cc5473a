"""A tokenizer for a text encoder that is trained from scratch."""

from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers

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
