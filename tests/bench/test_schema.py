"""The documentation names every key that a report's dataclasses have."""

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtab_bench.paper import results
from mtab_bench.paper.results import Paper
from mtab_bench.report import SCHEMA_VERSION, Report

DOCS = Path(__file__).parents[2] / "docs"


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


@pytest.mark.parametrize(
    ("page", "kind", "version", "at_least"),
    [("report-schema.md", Report, SCHEMA_VERSION, 100), ("paper.md", Paper, results.SCHEMA_VERSION, 40)],
)
def test_every_key_is_described(page: str, kind: type, version: int, at_least: int) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = list(keys(kind, set()))
    assert len(found) > at_least
    assert [name for name in found if f"`{name}`" not in text and f"`{name}[]`" not in text] == []
    assert f"`schema_version` is **{version}**" in text
