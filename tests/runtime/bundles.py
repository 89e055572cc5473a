"""How a bundle is refused, its files, and their hashes made right again."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

import mtab
from mtab.bundle import file_entries
from mtab.errors import MtabError

FILES = (
    *("README.md", "config.json", "model.onnx", "model.onnx.data", "preprocessor_config.json"),
    *("reasons.onnx", "reference.json", "tokenizer.json", "training_clips.json"),
)
Change = Callable[..., None]


def refusal(bundle: Path, verify: bool = True) -> str:
    with pytest.raises(MtabError) as caught:
        mtab.load(bundle, threads=1, verify=verify)
    message = str(caught.value)
    assert "\n" not in message
    assert str(bundle) in message
    return message


def reseal(bundle: Path, change: Change) -> None:
    files = {name: dataclasses.asdict(entry) for name, entry in file_entries(bundle).items()}
    change(bundle, "manifest.json", lambda values: values.update(files=files))
