"""Fields of a bundle's JSON files that are missing, wrong, unknown, or at odds with each other."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtab.bundle import BundleConfig, Checkpoint, FileEntry, GraphEntry, Manifest
from mtab.preprocess import PreprocessorConfig

from .bundles import Change, refusal, reseal

CLASSES: dict[str, type] = {
    "config.json": BundleConfig,
    "manifest.json": Manifest,
    "preprocessor_config.json": PreprocessorConfig,
}
WRONG = [[{}]]  # no field takes a list of lists of objects


def fields(cls: type, required: bool = False) -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(cls)
        if not required
        or (field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING)
    ]


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name, cls in CLASSES.items() for field in fields(cls, required=True)],
)
def test_a_missing_field(copied: Path, change: Change, name: str, field: str) -> None:
    change(copied, name, lambda values: values.pop(field))
    assert refusal(copied) == f"{copied / name}: field {field!r} is missing"


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, cls in CLASSES.items() for field in fields(cls)]
)
def test_a_wrong_type(copied: Path, change: Change, name: str, field: str) -> None:
    # A bundle may have no graph of reasons.
    for wrong in (WRONG,) if field == "reasons" else (WRONG, None):
        change(copied, name, lambda values, wrong=wrong: values.update({field: wrong}))
        message = refusal(copied)
        assert message.startswith(f"{copied / name}: field '{field}")
        assert ", expected " in message


@pytest.mark.parametrize("name", CLASSES)
def test_an_unknown_field(copied: Path, change: Change, name: str) -> None:
    change(copied, name, lambda values: values.update(colour="red"))
    assert refusal(copied).startswith(f"{copied / name}: unknown field 'colour'; known: ")


@pytest.mark.parametrize(
    ("inside", "cls"),
    [
        (("files", "config.json"), FileEntry),
        (("graphs", 0), GraphEntry),
        (("checkpoint",), Checkpoint),
    ],
)
def test_fields_deeper_in_the_manifest(
    copied: Path, change: Change, inside: tuple[str | int, ...], cls: type
) -> None:
    path = copied / "manifest.json"
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in inside).removeprefix(".")
    original = path.read_text()

    def edited(edit: Callable[[dict], object]) -> str:
        def apply(values: dict) -> None:
            for key in inside:
                values = values[key]
            edit(values)

        path.write_text(original)
        change(copied, "manifest.json", apply)
        return refusal(copied)

    for field in fields(cls, required=True):
        assert edited(lambda values, f=field: values.pop(f)) == f"{path}: field '{where}.{field}' is missing"
        assert f"field '{where}.{field}" in edited(lambda values, f=field: values.update({f: WRONG}))
    assert f"unknown field '{where}.more'" in edited(lambda values: values.update(more=1))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("value", [[], "x", None, 3])
def test_what_is_no_object(copied: Path, change: Change, name: str, value: Any) -> None:
    (copied / name).write_text(json.dumps(value))
    if name != "manifest.json":
        reseal(copied, change)
    assert refusal(copied).startswith(f"{copied / name}: field 'at the top' is ")


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"id2label": {}}, "id2label has the keys none, expected 0, 1, ..."),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label has the keys 0, 2, expected 0, 1"),
        ({"id2label": {"high": "0", "low": "1"}}, "id2label has the keys high, low, expected 0, 1"),
        ({"id2label": {"0": "a", "1": "a"}}, "id2label names a, a, expected different labels"),
        ({"id2label": {"0": "high"}}, "probabilities float32 [batch, 2]"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "expected logits float32 [batch, 3]"),
        ({"embedding_size": 7}, "expected logits float32 [batch, 2]"),
        ({"model_type": "bert"}, "field 'model_type' is 'bert', expected one of 'mul-tab'"),
        ({"modalities": []}, "modalities are [], expected audio, text or both"),
        ({"modalities": ["text", "audio"]}, "modalities are ['text', 'audio'], expected audio, text or both"),
        ({"modalities": ["audio", "audio"]}, "modalities are ['audio', 'audio']"),
        ({"modalities": ["video"]}, "field 'modalities[0]' is 'video', expected one of 'audio', 'text'"),
        ({"supported_modalities": []}, "modalities ['audio', 'text'] are not in supported_modalities"),
        (
            {"supported_modalities": [["audio"]]},
            "modalities ['audio', 'text'] are not in supported_modalities",
        ),
        ({"supported_modalities": [[], ["audio", "text"]]}, "supported_modalities hold []"),
        ({"supported_modalities": [["text", "audio"]]}, "supported_modalities hold ['text', 'audio']"),
        (
            {"modalities": ["audio"], "supported_modalities": [["audio"], ["text"]]},
            "supported_modalities hold ['text'], expected some of ['audio']",
        ),
        (
            {"modalities": ["audio"], "supported_modalities": [["audio"]], "hidden_sizes": {"audio": 16}},
            "modalities are ['audio', 'text'], expected ['audio'] as in config.json",
        ),
    ],
)
def test_a_config_at_odds_with_itself_or_the_graph(
    copied: Path, change: Change, edit: dict[str, Any], expected: str
) -> None:
    change(copied, "config.json", lambda values: values.update(edit))
    assert expected in refusal(copied)


def test_a_graph_of_other_modalities(copied: Path, change: Change) -> None:
    for name, edit in {
        "config.json": {
            "modalities": ["audio"],
            "supported_modalities": [["audio"]],
            "hidden_sizes": {"audio": 16},
        },
        "preprocessor_config.json": {"modalities": ["audio"]},
    }.items():
        change(copied, name, lambda values, edit=edit: values.update(edit))
    message = refusal(copied)
    audio = "input_values float32 [batch, samples], audio_lengths int64 [batch]"
    text = "input_ids int64 [batch, tokens], text_lengths int64 [batch]"
    assert message == f"{copied / 'model.onnx'}: takes {audio}, {text}, expected {audio}"
