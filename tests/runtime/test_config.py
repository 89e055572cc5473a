"""Configurations: what is written is read again, and every wrong field is named."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.config import from_dict, load_config, to_dict
from mtab.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class Inner:
    size: int
    name: str = "inner"

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size is {self.size}, expected 0 or more")


@dataclasses.dataclass(frozen=True, slots=True)
class Outer:
    flag: bool
    count: int
    rate: float
    title: str
    mode: Literal["fast", "slow", 1]
    inner: Inner
    maybe: float | None
    names: tuple[str, ...]
    pair: tuple[int, str]
    table: dict[str, Inner]
    anything: dict[str, Any]
    spare: tuple[Inner, ...] = ()


GOOD: dict[str, Any] = {
    "flag": True,
    "count": 3,
    "rate": 0.5,
    "title": "t",
    "mode": "fast",
    "inner": {"size": 1},
    "maybe": None,
    "names": ["a"],
    "pair": [1, "x"],
    "table": {"k": {"size": 2}},
    "anything": {"deep": [1, {"x": None}]},
}

text = st.text(max_size=5)
inner = st.builds(Inner, st.integers(0, 9), text)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda values: st.lists(values, max_size=2) | st.dictionaries(text, values, max_size=2),
    max_leaves=5,
)
outer = st.builds(
    Outer,
    flag=st.booleans(),
    count=st.integers(),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    title=text,
    mode=st.sampled_from(["fast", "slow", 1]),
    inner=inner,
    maybe=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    names=st.lists(text, max_size=3).map(tuple),
    pair=st.tuples(st.integers(), text),
    table=st.dictionaries(text, inner, max_size=2),
    anything=st.dictionaries(text, json_values, max_size=2),
    spare=st.lists(inner, max_size=2).map(tuple),
)


def refused(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        from_dict(Outer, GOOD | changes, "some/file.json")
    message = str(caught.value)
    assert message.startswith("some/file.json: ")
    assert "\n" not in message
    assert len(message) < 250
    return message


@settings(deadline=None, max_examples=60)
@given(outer)
def test_what_is_saved_is_read_again(value: Outer) -> None:
    assert from_dict(Outer, json.loads(json.dumps(to_dict(value), allow_nan=False)), "x") == value


def test_types_are_those_of_the_fields() -> None:
    read = from_dict(Outer, GOOD | {"rate": 2}, "x")
    assert (read.rate, type(read.rate)) == (2.0, float)
    assert read.names == ("a",)
    assert read.pair == (1, "x")
    assert read.inner == Inner(1)
    assert read.table == {"k": Inner(2)}
    assert read.anything == {"deep": [1, {"x": None}]}
    assert read.spare == ()
    assert from_dict(Outer, GOOD | {"maybe": 1}, "x").maybe == 1.0


@pytest.mark.parametrize("name", [name for name in get_type_hints(Outer) if name != "spare"])
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^f: field '{name}' is missing$"):
        from_dict(Outer, {key: value for key, value in GOOD.items() if key != name}, "f")


@pytest.mark.parametrize("value", [object(), {1: 2}, {3}], ids=["object", "dict", "set"])
@pytest.mark.parametrize("name", [name for name in get_type_hints(Outer) if name != "anything"])
def test_what_no_field_takes_is_refused_for_each(name: str, value: object) -> None:
    if name not in ("inner", "table") or not isinstance(value, dict):
        assert f"field '{name}' is " in refused(**{name: value})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"flag": 1}, "field 'flag' is 1 (int), expected bool"),
        ({"count": True}, "field 'count' is True (bool), expected int"),
        ({"count": 3.0}, "field 'count' is 3.0 (float), expected int"),
        ({"count": None}, "field 'count' is None (NoneType), expected int"),
        ({"rate": True}, "field 'rate' is True (bool), expected float"),
        ({"rate": "0.5"}, "field 'rate' is '0.5' (str), expected float"),
        ({"rate": float("nan")}, "field 'rate' is nan (float), expected a finite float"),
        ({"rate": json.loads("1e999")}, "field 'rate' is inf (float), expected a finite float"),
        ({"rate": 10**400}, "(int), expected a finite float"),
        ({"maybe": float("-inf")}, "field 'maybe' is -inf (float), expected a finite float"),
        ({"maybe": "no"}, "field 'maybe' is 'no' (str), expected float"),
        ({"title": 7}, "field 'title' is 7 (int), expected str"),
        ({"title": ["a\nb"]}, r"field 'title' is ['a\nb'] (list), expected str"),
        ({"mode": "medium"}, "field 'mode' is 'medium', expected one of 'fast', 'slow', 1"),
        ({"mode": True}, "field 'mode' is True, expected one of 'fast', 'slow', 1"),
        ({"mode": ["fast"]}, "field 'mode' is ['fast'], expected one of 'fast', 'slow', 1"),
        ({"names": "abc"}, "field 'names' is 'abc' (str), expected tuple"),
        ({"names": ["a", 1]}, "field 'names[1]' is 1 (int), expected str"),
        ({"pair": [1]}, "field 'pair' is [1] (list), expected 2 items"),
        ({"pair": [1, "x", 2]}, "field 'pair' is [1, 'x', 2] (list), expected 2 items"),
        ({"pair": ["x", 1]}, "field 'pair[0]' is 'x' (str), expected int"),
        ({"inner": 1}, "field 'inner' is 1 (int), expected an object (Inner)"),
        ({"inner": {}}, "field 'inner.size' is missing"),
        ({"inner": {"size": 1, "sise": 2}}, "unknown field 'inner.sise'; known: size, name"),
        ({"inner": {"size": -1}}, "some/file.json: inner: size is -1, expected 0 or more"),
        ({"table": {"k": {"size": "1"}}}, "field 'table.k.size' is '1' (str), expected int"),
        ({"table": []}, "field 'table' is [] (list), expected dict"),
        ({"table": {"k": {"size": -2}}}, "some/file.json: table.k: size is -2"),
        ({"spare": [{"size": 1}, {"size": None}]}, "field 'spare[1].size' is None (NoneType), expected int"),
        ({"colour": 1}, "unknown field 'colour'; known: flag, count, rate"),
        ({"title": list(range(10**5))}, "(list), expected str"),
        ({"title": {"a" * 10**5: "b" * 10**5}}, "(dict), expected str"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], expected: str) -> None:
    assert expected in refused(**changes)


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_what_is_no_object(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^f: field 'at the top' is .*, expected an object"):
        from_dict(Outer, value, "f")


def test_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "inner.json"
    path.write_text('{"size": 4}')
    assert load_config(Inner, path) == Inner(4)
    path.write_text('{"size": "4"}')
    with pytest.raises(ConfigError, match=f"^{path}: field 'size'"):
        load_config(Inner, path)
    path.unlink()
    with pytest.raises(ConfigError, match=f"^{path}: not found, expected a JSON file"):
        load_config(Inner, path)
