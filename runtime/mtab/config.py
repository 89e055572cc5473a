"""Configurations: frozen dataclasses read from, and saved as, JSON. Validated here and nowhere else."""

import dataclasses
import math
import reprlib
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from mtab.errors import ConfigError
from mtab.files import read_json

T = TypeVar("T")


def from_dict(cls: type[T], value: Any, source: str | Path) -> T:
    """Make the dataclass ``cls`` from parsed JSON.

    Fields may be str, int, float, bool, Any, a `Literal`, another dataclass, and Optional, tuple and dict of
    these. An integer is taken for a float, but never a bool for a number.

    Raises `ConfigError`, naming ``source`` and the field, for a missing, an unknown and a wrong-typed field,
    and for a number that is not finite. What ``__post_init__`` raises of values that contradict each other, a
    ``ValueError`` or `ConfigError`, gets the name too.
    """
    return _convert(cls, value, str(source), "")


def load_config(cls: type[T], path: Path | str) -> T:
    """Read the dataclass ``cls`` from a JSON file; `ConfigError`, naming the file, as `from_dict`."""
    return from_dict(cls, read_json(path), path)


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass as plain JSON values (tuples become lists); `from_dict` makes it again."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _convert(kind: Any, value: Any, source: str, where: str) -> Any:
    """``value`` as the type ``kind``; ``where`` is the field's name, with those around it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _convert_dataclass(kind, value, source, where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        choices = [argument for argument in arguments if argument is not type(None)]
        if len(choices) == 1:
            return _convert(choices[0], value, source, where)
    elif origin is Literal:
        # By type too: True equals 1.
        if any(type(value) is type(argument) and value == argument for argument in arguments):
            return value
        raise _wrong(source, where, reprlib.repr(value), "one of " + ", ".join(map(repr, arguments)))
    elif origin is tuple and isinstance(value, (list, tuple)):
        if arguments[1:] == (Ellipsis,):
            arguments = arguments[:1] * len(value)
        if len(arguments) != len(value):
            raise _wrong(source, where, _describe(value), f"{len(arguments)} items")
        pairs = zip(arguments, value, strict=True)
        return tuple(_convert(kind, item, source, f"{where}[{i}]") for i, (kind, item) in enumerate(pairs))
    elif origin is dict and isinstance(value, dict):
        return {key: _convert(arguments[1], item, source, f"{where}.{key}") for key, item in value.items()}
    elif kind is float and type(value) in (int, float):
        return _finite(value, source, where)
    elif kind in (bool, int, str) and type(value) is kind:
        return value
    raise _wrong(source, where, _describe(value), getattr(kind, "__name__", None) or str(kind))


def _convert_dataclass(kind: Any, value: Any, source: str, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(source, where, _describe(value), f"an object ({kind.__name__})")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    prefix = f"{where}." if where else ""
    if unknown := sorted(set(value) - set(fields)):
        raise ConfigError(f"{source}: unknown field {prefix + unknown[0]!r}; known: {', '.join(fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise ConfigError(f"{source}: field {prefix + name!r} is missing")
    converted = {name: _convert(hints[name], item, source, prefix + name) for name, item in value.items()}
    try:
        return kind(**converted)
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{source}: {where + ': ' if where else ''}{error}") from None


def _finite(value: float, source: str, where: str) -> float:
    # JSON has no infinity, but Python reads 1e999 as one, and an integer may be beyond any float.
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong(source, where, _describe(value), "a finite float")
    return number


def _wrong(source: str, where: str, found: str, expected: str) -> ConfigError:
    return ConfigError(f"{source}: field {where or 'at the top'!r} is {found}, expected {expected}")


def _describe(value: Any) -> str:
    return f"{reprlib.repr(value)} ({type(value).__name__})"
