"""docs/report-schema.md names every key that a report's dataclasses have."""

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path

from mtab_bench.report import SCHEMA_VERSION, Report

SCHEMA = Path(__file__).parents[2] / "docs" / "report-schema.md"


def keys(kind: object, seen: set[object]) -> Iterator[str]:
    """The names of all fields of a dataclass, and of those within."""
    if kind in seen:
        return
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        seen.add(kind)
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            yield field.name
            yield from keys(hints[field.name], seen)
    for argument in typing.get_args(kind):
        yield from keys(argument, seen)


def test_every_key_is_described() -> None:
    text = SCHEMA.read_text(encoding="utf-8")
    found = list(keys(Report, set()))
    assert len(found) > 100
    assert [name for name in found if f"`{name}`" not in text and f"`{name}[]`" not in text] == []
    assert f"`schema_version` is **{SCHEMA_VERSION}**" in text
